"""Which expert every frame took: a value that layers return, objective and inspection read."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Routing(NamedTuple):
    """The decisions of one routed feed-forward. A NamedTuple, since torch.export takes no
    unregistered dataclass."""

    expert_index: Int[Tensor, "batch frames"]
    """Expert of each frame, counted over all groups; meaningless where the mask is False."""
    gate: Float[Tensor, "batch frames"]
    """What the expert's output is multiplied by."""
    probabilities: Float[Tensor, "batch frames experts"]
    """float32, over all experts; zero outside a frame's group; one-hot where nothing is learned."""
    frame_mask: Bool[Tensor, "batch frames"]
    """True where there is a frame."""


def frames_per_expert(routing: Routing) -> Float[Tensor, " experts"]:
    """How many valid frames each expert took."""
    experts = routing.probabilities.shape[-1]
    one_hot = torch.nn.functional.one_hot(routing.expert_index, experts)
    return (one_hot * routing.frame_mask.unsqueeze(-1)).sum(dim=(0, 1)).float()


def probability_per_expert(routing: Routing) -> Float[Tensor, " experts"]:
    """Sum of each expert's probability over the valid frames; carries the gradient."""
    return (routing.probabilities * routing.frame_mask.unsqueeze(-1)).sum(dim=(0, 1))


def balance_loss(
    frames: Float[Tensor, " experts"],
    probabilities: Float[Tensor, " experts"],
    group_size: int,
) -> Float[Tensor, ""]:
    """Switch's load-balance loss N * sum_i f_i P_i (arXiv 2101.03961, equations 4 to 6; alpha is
    the caller's), over each group of `group_size` consecutive experts with that group's frames
    alone, averaged over groups weighted by their frames; 1 when balanced, 0 without frames.

    `frames` and `probabilities` are sums over valid frames, so that ranks can add theirs first:
    f times P is not linear.
    """
    grouped = frames.view(-1, group_size)
    total = grouped.sum(dim=1, keepdim=True)
    share = grouped / total.clamp(min=1)
    mean = probabilities.view(-1, group_size) / total.clamp(min=1)
    per_group = group_size * (share * mean).sum(dim=1)
    weight = total.squeeze(1) / frames.sum().clamp(min=1)
    return (per_group * weight).sum()
