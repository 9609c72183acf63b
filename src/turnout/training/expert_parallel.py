"""A model whose experts are dealt to the ranks: frames go to whoever holds their expert, and back.

A rank takes part in every feed-forward as often as the others, whatever its own frames want: each
is a pair of messages that all of them wait for, in the forward pass and in the backward pass. The
gradient of an expert is that of all ranks' frames, and no sum over ranks is due any more.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from turnout.config import ModelConfig
from turnout.config.routing import expert_places
from turnout.errors import ConfigError
from turnout.experts.bank import ExpertBank
from turnout.training.distributed import Ranks


def check_experts(model: ModelConfig, ranks: int) -> None:
    """Raise ConfigError where so many ranks can share the experts of no layer."""
    stacks = {"encoder": model.encoder, "decoder": model.decoder}
    most: dict[str, int] = {}
    for name, stack in stacks.items():
        experts = [model.experts_of(stack.routing, layer) for layer in range(stack.num_layers)]
        if any(expert_places(count, ranks) > 1 for count in experts):
            return
        most |= {name: max(experts)} if experts else {}
    found = " and ".join(f"{count} a layer of the {name}" for name, count in most.items())
    raise ConfigError(
        f"parallel is 'experts', and {ranks} ranks cannot share the experts of any layer evenly "
        f"(there are {found}): the number of experts and that of ranks need a common divisor; "
        "change one of them, or set parallel to sharded or replicated"
    )


def spread_experts(model: nn.Module, ranks: Ranks) -> None:
    """Leave this rank its share of every layer's experts; layers whose experts these ranks cannot
    share evenly stay whole on each, and are summed as all the rest."""
    for bank in [module for module in model.modules() if isinstance(module, ExpertBank)]:
        places = expert_places(len(bank.experts), ranks.size)
        if places > 1:
            bank.__class__ = SpreadBank
            assert isinstance(bank, SpreadBank)
            bank.spread(places, ranks)


class SpreadBank(ExpertBank):
    """An ExpertBank of which this rank holds a share; made of one by `spread_experts`.

    Other ranks' experts keep their names and shapes here, without memory. Of more ranks than there
    are shares, the first have all of them, the next all of them once more, and so on.
    """

    def spread(self, places: int, ranks: Ranks) -> None:
        """Leave this rank the experts of its place among so many."""
        self.ranks = ranks
        self.place = ranks.rank % places
        self.share = len(self.experts) // places
        first = ranks.rank - self.place
        self.group = range(first, first + places)
        """Ranks that have all experts together, in the order of their shares: this one's frames go
        to these."""
        self.holders = range(self.place, ranks.size, places)
        """Ranks that hold the same experts as this one."""
        for index in range(len(self.experts)):
            if index not in self.here:
                self.experts[index].to("meta")

    @property
    def here(self) -> range:
        """The experts that this rank holds."""
        return range(self.place * self.share, (self.place + 1) * self.share)

    @property
    def counts(self) -> bool:
        """Whether this rank is the first to hold them."""
        return self.holders[0] == self.ranks.rank

    def plain(
        self,
        hidden: Float[Tensor, "batch frames d_model"],
        frame_mask: Bool[Tensor, "batch frames"],
        expert: int = 0,
        gate: Float[Tensor, "batch frames"] | None = None,
    ) -> Float[Tensor, "batch frames d_model"]:
        """The same where one expert takes every frame: that of this rank's frames alone."""
        chosen = torch.full(frame_mask.shape, expert, device=hidden.device)
        return self.sorted(hidden, chosen, frame_mask, gate)

    def groups(self, hidden: Float[Tensor, "batch frames d_model"]) -> bool:  # noqa: ARG002
        """Never: who sends frames has to know how many."""
        return False

    def answers(
        self, frames: Float[Tensor, "rows d_model"], taken: list[int]
    ) -> Float[Tensor, "rows d_model"]:
        """What the experts make of frames in their order, so many of each, wherever they are."""
        kind = frames.device.type
        if torch.is_autocast_enabled(kind):
            # As the expert's first product would: half as much is sent.
            frames = frames.to(torch.get_autocast_dtype(kind))
        wanted = self._asked_of(torch.tensor(taken, device=frames.device))
        places = range(len(self.group))
        sent = [sum(taken[place * self.share : (place + 1) * self.share]) for place in places]
        going, coming = self._of_ranks(sent), self._of_ranks([sum(row) for row in wanted])
        arrived = Exchange.apply(frames, self.ranks, going, coming)
        answered = self._answered(arrived, wanted)
        trained = any(parameter.requires_grad for parameter in self.parameters())
        if torch.is_grad_enabled() and trained and not answered.requires_grad:
            # Another rank's experts are trained, and its backward pass waits for this one's.
            answered.requires_grad_()
        return Exchange.apply(answered, self.ranks, coming, going)

    def _asked_of(self, taken: Int[Tensor, " experts"]) -> list[list[int]]:
        """Of each rank of the group, how many frames it has for each expert of this one."""
        each = self._of_ranks([self.share] * len(self.group))
        return self.ranks.exchange(taken, each, each).view(-1, self.share).tolist()

    def _of_ranks(self, counts: Sequence[int]) -> list[int]:
        """For all ranks, from what is for those of the group."""
        of = dict(zip(self.group, counts, strict=True))
        return [of.get(rank, 0) for rank in range(self.ranks.size)]

    def _answered(
        self, frames: Float[Tensor, "rows d_model"], wanted: list[list[int]]
    ) -> Float[Tensor, "rows d_model"]:
        """What this rank's experts make of the frames that came: by rank, and then by expert."""
        pieces = frames.split([count for row in wanted for count in row])
        # An expert sees the frames of all ranks at once, as it does in one process.
        outputs = [
            self.experts[expert](torch.cat(pieces[place :: self.share])).split(
                [row[place] for row in wanted]
            )
            for place, expert in enumerate(self.here)
        ]
        return torch.cat([output[rank] for rank in range(len(wanted)) for output in outputs])

    def sum_gradients(self) -> None:
        """Add to the gradients of this rank's experts those of its copies on other ranks; zeros
        where there are none."""
        own = [p for p in self.parameters() if p.requires_grad and not p.is_meta]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in own]
        for parameter, gradient in zip(own, gradients, strict=True):
            parameter.grad = self.ranks.sum_among(gradient, self.holders)

    def sum_over_experts(self, own: Tensor) -> Tensor:
        """The sum over all experts, from that over this rank's."""
        return self.ranks.sum_among(own, self.group)


class Exchange(torch.autograd.Function):
    """Rows for other ranks, and theirs for this one; gradients go the way back."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, ranks: Ranks, going: Sequence[int], coming: Sequence[int]
    ) -> Tensor:
        """So many for each rank, in rank order."""
        ctx.back = ranks, coming, going
        return ranks.exchange(rows, going, coming)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Those of what came, to where it came from."""
        ranks, going, coming = ctx.back
        return ranks.exchange(gradients[0], going, coming), None, None, None
