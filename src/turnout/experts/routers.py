"""How frames find their expert: given (supervised), learned (switch, omni), or both (hybrid).

Switch: arXiv 2101.03961. Omni-router: arXiv 2507.05724. S-MoE: arXiv 2508.10009. Hybrid is this
project's own: guidance picks a group, a learned router one expert of the group.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from turnout.experts.routing import Routing


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which autocast is off: routers stay in float32 (selective precision, Switch)."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


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
        nn.init.normal_(self.linear.weight, std=d_model**-0.5)

    def forward(
        self,
        hidden: Float[Tensor, "batch frames d_model"],
        group: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch frames experts"]:
        """float32 probabilities over all experts: a softmax inside each utterance's group, zero
        outside it. In training, Gaussian noise of `jitter` is added to the logits."""
        with without_autocast(hidden.device):
            logits = self.linear(hidden.float())
            if self.training and self.jitter > 0:
                logits = logits + self.jitter * torch.randn_like(logits)
            if self.num_groups == 1:
                return logits.softmax(dim=-1)
            owner = torch.arange(logits.shape[-1], device=logits.device) // self.experts_per_group
            outside = (owner.unsqueeze(0) != group.unsqueeze(1)).unsqueeze(1)
            return logits.masked_fill(outside, float("-inf")).softmax(dim=-1)


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
