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
            return self.bank.plain(hidden, frame_mask), None
        routing = self.rule(hidden, frame_mask, route)
        if isinstance(self.rule, Learned):
            return self.bank(hidden, routing.expert_index, frame_mask, routing.gate), routing
        expert = self._only_expert(route)
        if expert is not None:
            return self.bank.plain(hidden, frame_mask, expert), routing
        return self.bank(hidden, routing.expert_index, frame_mask), routing

    def _only_expert(self, route: Route) -> int | None:
        """The expert of every utterance where it is the same: such a batch equals that of the
        dense model of this path to the last bit.

        Not in training, where each expert is to have a gradient and dropout draws for the frames
        of one expert after the other; nor in a graph, which takes whatever batch comes.
        """
        guide = route.guide
        if self.training or torch.compiler.is_compiling() or not len(guide):
            return None
        return int(guide[0]) if bool((guide == guide[0]).all()) else None
