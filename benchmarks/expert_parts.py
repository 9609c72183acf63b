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
ROWS = 16
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
    bank = bank_of(EXPERTS)

    def way(ask: Callable[[nn.Module, Tensor], Tensor], *, train: bool) -> Way:
        def act_of(number: int) -> Act:
            generator = torch.Generator().manual_seed(number)
            owner = torch.randint(EXPERTS, (valid,), generator=generator)
            counts = torch.bincount(owner, minlength=EXPERTS).tolist()

            def layer(given: layers.Frames) -> Tensor:
                pairs = zip(bank.experts, given.hidden[0].split(counts), strict=True)
                return torch.cat([ask(*pair) for pair in pairs]).float().unsqueeze(0)

            given = layers.batch(number, 1, valid)
            return layers.prepared((layer, bank), given, train=train, bfloat16=True)

        return act_of

    return [
        Part(
            f"bf16, rows of {EXPERTS} experts made up to {ROWS}s, "
            + ("forward + backward" if train else "forward"),
            False,
            way(lambda expert, rows: expert(rows), train=train),
            way(made_up, train=train),
        )
        for train in (False, True)
    ]


def made_up(expert: nn.Module, rows: Tensor) -> Tensor:
    """expert(rows), with zeros behind them up to a multiple of ROWS."""
    missing = -len(rows) % ROWS
    return expert(nn.functional.pad(rows, (0, 0, 0, missing)))[: len(rows)]


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
