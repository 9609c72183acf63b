"""What was tried for the speed of experts, one thing at a time: how it was, and how it would be."""

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

import expert_layers as layers
import torch
from torch import Tensor, nn

from turnout.config import OptimizerConfig
from turnout.experts.bank import ExpertBank, masked
from turnout.experts.routing import Learned, Router, among_experts
from turnout.training.optimizer import build_optimizer

EXPERTS = 8
ROUNDED = 8
"""Rows of an expert are made up to so many: oneDNN prepares a product for each number of rows."""
PADDED = (0.03, 0.12, 0.25)
Act = Callable[[], object]
Way = Callable[[int], Act]
"""What is to be timed in a round."""


class Part(NamedTuple):
    """One thing that was tried."""

    name: str
    kept: bool
    """Whether turnout does it."""
    before: Way
    after: Way


class RoundedUp(nn.Module):
    """An expert that is given zeros behind its rows, up to a round number, and drops them again."""

    def __init__(self, expert: nn.Module) -> None:
        super().__init__()
        self.expert = expert

    def forward(self, rows: Tensor) -> Tensor:
        """One frame a row."""
        more = -len(rows) % ROUNDED
        return self.expert(nn.functional.pad(rows, (0, 0, 0, more)))[: len(rows)]


def bank_of(experts: int) -> ExpertBank:
    """Of the width that is measured everywhere."""
    return ExpertBank(experts, layers.WIDTH, layers.INNER, "silu")


def through(made: layers.Made, valid: int, *, train: bool, bfloat16: bool = False) -> Way:
    """A layer on the frames of each round."""

    def way(number: int) -> Act:
        given = layers.batch(number, layers.UTTERANCES, valid)
        return layers.prepared(made, given, train=train, bfloat16=bfloat16)

    return way


def padding_parts(valid: int) -> list[Part]:
    """Dense: padding computed and masked, or left out of what is computed."""
    bank = bank_of(1)
    found = []
    for share in PADDED:
        for train in (False, True):
            length = valid // layers.UTTERANCES

            def way(
                ahead: Callable[[Tensor, Tensor], Tensor],
                share: float = share,
                train: bool = train,
                length: int = length,
            ) -> Way:
                def act_of(number: int) -> Act:
                    given = layers.evenly_padded(number, length, share)
                    made = (lambda given: ahead(given.hidden, given.mask)), bank
                    return layers.prepared(made, given, train=train)

                return act_of

            which = "forward + backward" if train else "forward"
            before = way(lambda hidden, mask: masked(bank.experts[0], hidden, mask))
            name = f"padding left out, {share:.0%} of the frames, {which}"
            found.append(Part(name, True, before, way(bank.plain)))
    return found


def rounding_parts(valid: int) -> list[Part]:
    """bfloat16: the rows of each expert as they come, or made up to a round number."""
    bank, rounded = bank_of(EXPERTS), bank_of(EXPERTS)
    router = Router(layers.WIDTH, EXPERTS)
    rounded.experts = nn.ModuleList(RoundedUp(expert) for expert in bank.experts)
    found = []
    for train in (False, True):
        ways = [
            through(layers.own(one, router, Learned()), valid, train=train, bfloat16=True)
            for one in (bank, rounded)
        ]
        which = "forward + backward" if train else "forward"
        found.append(Part(f"bf16, rows made up to {ROUNDED}s, {which}", False, *ways))
    return found


def softmax_part(valid: int) -> Part:
    """Probabilities of 8 experts and their gradient."""

    def way(softmax: Callable[[Tensor], Tensor]) -> Way:
        def act_of(number: int) -> Act:
            torch.manual_seed(number)
            logits = torch.randn(layers.UTTERANCES, valid // layers.UTTERANCES, EXPERTS)
            leaf, upstream = logits.requires_grad_(), torch.randn(logits.shape)
            return lambda: softmax(leaf).backward(upstream)

        return act_of

    name = f"softmax over {EXPERTS} experts with these outermost"
    return Part(name, True, way(lambda logits: logits.softmax(dim=-1)), way(among_experts))


def optimizer_part() -> Part:
    """AdamW's step for the experts of one layer."""

    def way(optimizer: torch.optim.Optimizer) -> Way:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.full_like(parameter, 1e-3)
        return lambda _: optimizer.step

    default = torch.optim.AdamW(bank_of(EXPERTS).parameters())
    own = build_optimizer(bank_of(EXPERTS), OptimizerConfig())
    return Part("AdamW in one pass", True, way(default), way(own))


@contextmanager
def filling(*, wanted: bool) -> Any:
    """As training on a CPU runs, with new memory written first or not."""
    fillings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), fillings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    fillings.fill_uninitialized_memory = wanted
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        fillings.fill_uninitialized_memory = before[1]


def filling_part(valid: int) -> Part:
    """What `torch.use_deterministic_algorithms` writes into memory that is about to be written."""
    made = layers.own(bank_of(EXPERTS), Router(layers.WIDTH, EXPERTS), Learned())
    whole = through(made, valid, train=True)

    def way(*, wanted: bool) -> Way:
        def act_of(number: int) -> Act:
            act = whole(number)

            def inside() -> None:
                with filling(wanted=wanted):
                    act()

            return inside

        return act_of

    return Part(
        "new memory not filled, forward + backward", False, way(wanted=True), way(wanted=False)
    )


def parts(valid: int) -> list[Part]:
    """All that was tried and has a figure."""
    torch.manual_seed(0)
    others = [softmax_part(valid), optimizer_part(), filling_part(valid)]
    return [*padding_parts(valid), *rounding_parts(valid), *others]
