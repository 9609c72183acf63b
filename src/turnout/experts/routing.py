"""Which expert a frame takes: given (supervised), learned (switch, omni), or both (hybrid); and the
`Routing` that layers return, which objective and inspection read.

Switch: arXiv 2101.03961. Omni-router: arXiv 2507.05724. S-MoE: arXiv 2508.10009. Hybrid is this
project's own: guidance picks a group, a learned router one expert of the group.
"""

from contextlib import nullcontext
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


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


class Router(nn.Module):
    """A learned linear map from a hidden frame to probabilities over the experts of its group.

    One Router shared by layers is Omni-router's; one for each layer is Switch's.
    """

    def __init__(
        self,
        d_model: int,
        experts_per_group: int,
        num_groups: int = 1,
        *,
        bias: bool = True,
        jitter: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_groups = num_groups
        self.experts_per_group = experts_per_group
        self.jitter = jitter
        self.linear = nn.Linear(d_model, num_groups * experts_per_group, bias=bias)
        # Of normed frames, logits of about unit variance: no expert is preferred at first.
        nn.init.normal_(self.linear.weight, std=d_model**-0.5)

    def forward(
        self,
        hidden: Float[Tensor, "batch frames d_model"],
        group: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch frames experts"]:
        """float32 probabilities over all experts: a softmax inside each utterance's group, zero
        outside it. In training, Gaussian noise of `jitter` is added to the logits."""
        # Routers stay in float32 (selective precision, Switch).
        device = hidden.device.type
        autocast = torch.is_autocast_enabled(device)
        with torch.autocast(device, enabled=False) if autocast else nullcontext():
            if (only := self._only_group(group)) is not None:
                return self._of_group(hidden.float(), only)
            logits = self.linear(hidden.float())
            if self.training and self.jitter > 0:
                logits = logits + self.jitter * torch.randn_like(logits)
            if self.num_groups == 1:
                return among_experts(logits)
            # One linear map for all groups, masked after it: a map for each would be a gather that
            # does not export.
            owner = torch.arange(logits.shape[-1], device=logits.device) // self.experts_per_group
            outside = (owner.unsqueeze(0) != group.unsqueeze(1)).unsqueeze(1)
            return among_experts(logits.masked_fill(outside, float("-inf")))

    def _only_group(self, group: Int[Tensor, " batch"]) -> int | None:
        """The group of every utterance where it is the same: such a batch equals that of the model
        of this group alone to the last bit. Not in training, nor in a graph, as for experts."""
        if self.num_groups == 1 or self.training or torch.compiler.is_compiling() or not len(group):
            return None
        return int(group[0]) if bool((group == group[0]).all()) else None

    def _of_group(
        self, hidden: Float[Tensor, "batch frames d_model"], group: int
    ) -> Float[Tensor, "batch frames experts"]:
        rows = slice(group * self.experts_per_group, (group + 1) * self.experts_per_group)
        bias = None if self.linear.bias is None else self.linear.bias[rows]
        logits = nn.functional.linear(hidden, self.linear.weight[rows], bias)
        found = logits.new_zeros((*logits.shape[:-1], self.linear.out_features))
        found[..., rows] = among_experts(logits)
        return found


def among_experts(
    logits: Float[Tensor, "batch frames experts"],
) -> Float[Tensor, "batch frames experts"]:
    """Softmax over the experts.

    On a CPU with the experts outermost in memory: along a last dimension of a few entries PyTorch
    takes one at a time (docs/speed.md).
    """
    if torch.compiler.is_compiling() or logits.device.type != "cpu":
        return logits.softmax(dim=-1)
    return logits.movedim(-1, 0).contiguous().softmax(dim=0).movedim(0, -1)


class Route(NamedTuple):
    """What the caller of a layer knows about the way its frames go."""

    guide: Int[Tensor, " batch"]
    """The expert (supervised) or group (hybrid) of each utterance; zeros where nothing guides."""
    router: Router | None = None
    """The learned router of this layer, perhaps shared with others."""


class Supervised(nn.Module):
    """S-MoE: the guide is the expert, the gate is 1, nothing is learned."""

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.num_experts = num_experts

    def forward(
        self,
        hidden: Float[Tensor, "batch frames d_model"],  # noqa: ARG002 - the rules' one signature
        frame_mask: Bool[Tensor, "batch frames"],
        route: Route,
    ) -> Routing:
        """Every frame of an utterance goes to the expert that `route.guide` names."""
        index = route.guide.unsqueeze(1).expand(frame_mask.shape)
        one_hot = nn.functional.one_hot(index, self.num_experts).to(torch.float32)
        gate = torch.ones_like(index, dtype=torch.float32)
        return Routing(index, gate, one_hot, frame_mask)


class Learned(nn.Module):
    """Switch, omni and hybrid: the most probable expert of `route.router`, kept as the gate.

    `gate="probability"` multiplies by p, Switch's equation 2: renormalising it to 1 would leave
    the router without a gradient. `gate="straight_through"` multiplies by 1 + p - stop(p): value
    1, gradient of p, so that equal experts compute what the dense feed-forward did.
    """

    def __init__(self, gate: Literal["probability", "straight_through"] = "probability") -> None:
        super().__init__()
        self.gate = gate

    def forward(
        self,
        hidden: Float[Tensor, "batch frames d_model"],
        frame_mask: Bool[Tensor, "batch frames"],
        route: Route,
    ) -> Routing:
        """Top-1 of each frame's probabilities."""
        assert route.router is not None, "a learned feed-forward was called without a router"
        probabilities = route.router(hidden, route.guide)
        gate, index = probabilities.max(dim=-1)
        if self.gate == "straight_through":
            gate = 1 + gate - gate.detach()
        return Routing(index, gate, probabilities, frame_mask)


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
    # A group without frames has a share of 0, not of 0 / 0.
    share = grouped / total.clamp(min=1)
    mean = probabilities.view(-1, group_size) / total.clamp(min=1)
    per_group = group_size * (share * mean).sum(dim=1)
    weight = total.squeeze(1) / frames.sum().clamp(min=1)
    return (per_group * weight).sum()
