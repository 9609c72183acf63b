"""The one signature of every feed-forward, dense or sparse."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from turnout.experts.bank import ExpertBank
from turnout.experts.routing import Learned, Route, Routing, Supervised


class FeedForward(nn.Module):
    """Experts behind a rule that picks one for each frame; dense where there is no rule."""

    def __init__(self, bank: ExpertBank, rule: Supervised | Learned | None = None) -> None:
        super().__init__()
        self.bank = bank
        self.rule = rule

    def forward(
        self,
        hidden: Float[Tensor, "batch frames d_model"],
        frame_mask: Bool[Tensor, "batch frames"],
        route: Route,
    ) -> tuple[Float[Tensor, "batch frames d_model"], Routing | None]:
        """The mixed frames, zero where the mask is False, and the decisions (None when dense)."""
        if self.rule is None:
            # Through the bank as well: dense and routed then see the same rows, padding left out,
            # so that one expert equals dense to the last bit.
            index = torch.zeros_like(frame_mask, dtype=torch.int64)
            return self.bank(hidden, index, frame_mask), None
        routing = self.rule(hidden, frame_mask, route)
        gate = routing.gate if isinstance(self.rule, Learned) else None
        return self.bank(hidden, routing.expert_index, frame_mask, gate), routing
