"""The layers that benchmarks/experts.py holds beside each other, and the frames they are given.

All compute one function: biases are zero, for the peers have none, and peers that want their
weights in another form get copies of ours.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from turnout.experts.bank import ExpertBank
from turnout.experts.feed_forward import FeedForward
from turnout.experts.routing import Learned, Route, Router, Supervised

WIDTH, INNER = 256, 1024
UTTERANCES, VALID = 16, 1920
CAPACITY = 2**20
"""More frames than any batch has: nothing is dropped here."""
BACKWARD = 2
"""Matrix products of the backward pass for each of the forward pass."""


class Frames(NamedTuple):
    """What a layer is called with."""

    hidden: Tensor
    mask: Tensor
    guide: Tensor
    upstream: Tensor
    """The gradient of what comes out."""


Layer = Callable[[Frames], Tensor]
Made = tuple[Layer, nn.Module]
"""A layer, and the module whose gradients are dropped between its runs."""


def valid_in(generator: torch.Generator, utterances: int, valid: int) -> Tensor:
    """The mask of utterances of unlike lengths with so many valid frames in all."""
    shares = torch.rand(utterances, generator=generator) + 1
    lengths = (shares / shares.sum() * valid).long()
    lengths[0] += valid - lengths.sum()
    return torch.arange(int(lengths.max())) < lengths.unsqueeze(1)


def batch(number: int, utterances: int, valid: int) -> Frames:
    """Such utterances, on two tasks in turn."""
    generator = torch.Generator().manual_seed(number)
    mask = valid_in(generator, utterances, valid)
    hidden, upstream = (torch.randn(*mask.shape, WIDTH, generator=generator) for _ in range(2))
    return Frames(hidden, mask, torch.arange(utterances) % 2, upstream)


def evenly_padded(number: int, length: int, share: float) -> Frames:
    """A batch of which this share is padding; its lengths rise evenly to `length`."""
    generator = torch.Generator().manual_seed(number)
    shape = (UTTERANCES, length, WIDTH)
    hidden, upstream = (torch.randn(shape, generator=generator) for _ in range(2))
    lengths = torch.linspace(1 - 2 * share, 1, UTTERANCES) * length
    mask = torch.arange(length) < lengths.unsqueeze(1)
    return Frames(hidden, mask, torch.arange(UTTERANCES) % 2, upstream)


def prepared(
    made: Made, given: Frames, *, train: bool, bfloat16: bool = False
) -> Callable[[], object]:
    """What is timed of a layer; the gradients of its last run are dropped before."""
    layer, module = made
    module.train(train)
    module.zero_grad(set_to_none=True)
    leaf = given.hidden.clone().requires_grad_(train)

    def act() -> object:
        with (
            torch.set_grad_enabled(train),
            torch.autocast(leaf.device.type, torch.bfloat16, enabled=bfloat16),
        ):
            found = layer(given._replace(hidden=leaf))
        return found.backward(given.upstream) if train else found

    return act


def operations(valid: int, *, train: bool) -> float:
    """Of the experts' matrix products alone."""
    return 4.0 * valid * WIDTH * INNER * (1 + BACKWARD * train)


def without_biases(bank: ExpertBank) -> ExpertBank:
    """The same bank, its biases zero."""
    for name, parameter in bank.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    return bank


def own(bank: ExpertBank, router: Router | None, rule: Supervised | Learned | None) -> Made:
    """turnout's, routed or dense."""
    layer = FeedForward(bank, rule)
    held = nn.ModuleList([layer] if router is None else [layer, router])
    return lambda given: layer(given.hidden, given.mask, Route(given.guide, router))[0], held


def static_loop(bank: ExpertBank, router: Router) -> Made:
    """turnout's slow twin, which exports: rows are sought and put back expert by expert."""
    rule = Learned()

    def layer(given: Frames) -> Tensor:
        found = rule(given.hidden, given.mask, Route(given.guide, router))
        return bank.dispatched(given.hidden, found.expert_index, given.mask, found.gate)

    return layer, nn.ModuleList([bank, router])


def packed(layer: Callable[[Tensor], Tensor]) -> Layer:
    """A layer of rows, given the valid frames alone."""

    def padded(given: Frames) -> Tensor:
        mixed = torch.zeros_like(given.hidden)
        mixed[given.mask] = layer(given.hidden[given.mask]).to(mixed.dtype)
        return mixed

    return padded


def first_choice(router: Router, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The highest probability of each row and whose it is, in float32 whatever the products are."""
    with torch.autocast(rows.device.type, enabled=False):
        p, chosen = router.linear(rows).float().softmax(dim=-1).max(dim=-1)
    return p, chosen


def sort_and_loop(bank: ExpertBank, router: Router) -> Made:
    """The public way in its plainest form: sort by expert, split, loop, put back, times p."""

    def layer(rows: Tensor) -> Tensor:
        p, chosen = first_choice(router, rows)
        order = chosen.argsort()
        parts = rows[order].split(torch.bincount(chosen, minlength=len(bank.experts)).tolist())
        found = torch.cat([expert(part) for expert, part in zip(bank.experts, parts, strict=True)])
        mixed = torch.empty_like(found)
        mixed[order] = found
        return mixed * p.unsqueeze(-1)

    return packed(layer), nn.ModuleList([bank, router])


class Stacked(nn.Module):
    """Mixtral's way: weights of all experts in one tensor, products by `F.grouped_mm`."""

    def __init__(self, bank: ExpertBank, router: Router) -> None:
        super().__init__()
        self.router = router
        experts: list[Any] = list(bank.experts)
        self.up = nn.Parameter(torch.stack([e.up.weight.detach().t() for e in experts]))
        self.down = nn.Parameter(torch.stack([e.down.weight.detach().t() for e in experts]))

    def forward(self, rows: Tensor) -> Tensor:
        """One frame a row. Autocast does not reach grouped products: they are cast by hand."""
        p, chosen = first_choice(self.router, rows)
        order = chosen.argsort()
        ends = torch.bincount(chosen, minlength=len(self.up)).cumsum(0).to(torch.int32)
        precision = torch.bfloat16 if torch.is_autocast_enabled(rows.device.type) else rows.dtype
        up, down = self.up.to(precision), self.down.to(precision)
        inner = functional.silu(functional.grouped_mm(rows[order].to(precision), up, offs=ends))
        found = functional.grouped_mm(inner, down, offs=ends)
        mixed = torch.empty_like(found)
        mixed[order] = found
        return mixed * p.unsqueeze(-1)


def grouped(bank: ExpertBank, router: Router) -> Made:
    """Raises AttributeError where this PyTorch has no grouped products."""
    if not hasattr(functional, "grouped_mm"):
        raise AttributeError(f"PyTorch {torch.__version__} has no F.grouped_mm")
    layer = Stacked(bank, router)
    return packed(layer), layer


def switch_block(bank: ExpertBank, router: Router) -> Made:
    """Hugging Face's. Raises ImportError where it is not installed."""
    from transformers import SwitchTransformersConfig  # noqa: PLC0415 - may not be installed
    from transformers.models.switch_transformers import (  # noqa: PLC0415
        modeling_switch_transformers as theirs,
    )

    experts: list[Any] = list(bank.experts)
    config = SwitchTransformersConfig(
        d_model=experts[0].up.in_features,
        d_ff=experts[0].up.out_features,
        num_experts=len(experts),
        expert_capacity=CAPACITY,
        router_bias=False,
        router_jitter_noise=0.0,
        dropout_rate=0.0,
        dense_act_fn="silu",
    )
    block: Any = theirs.SwitchTransformersSparseMLP(config)
    with torch.no_grad():
        block.router.classifier.weight.copy_(router.linear.weight)
        for expert, other in zip(experts, block.experts.values(), strict=True):
            other.wi.weight.copy_(expert.up.weight)
            other.wo.weight.copy_(expert.down.weight)

    def layer(rows: Tensor) -> Tensor:
        found = block(rows.unsqueeze(0))
        return (found[0] if isinstance(found, tuple) else found).squeeze(0)

    return packed(layer), block


PEERS: dict[str, Callable[[ExpertBank, Router], Made]] = {
    "sort, split, loop": sort_and_loop,
    "Switch block of transformers": switch_block,
    "F.grouped_mm": grouped,
}


def learned(
    experts: int, width: int = WIDTH, inner: int = INNER
) -> tuple[dict[str, Made], dict[str, str]]:
    """The dense twin twice, turnout, its static loop and the peers; why a peer is missing."""
    torch.manual_seed(experts)
    dense, bank = (without_biases(ExpertBank(n, width, inner, "silu")) for n in (1, experts))
    router = Router(width, experts)
    nn.init.zeros_(router.linear.bias)
    made = {
        "dense": own(dense, None, None),
        "again": own(dense, None, None),
        "turnout": own(bank, router, Learned()),
        "static loop": static_loop(bank, router),
    }
    missing: dict[str, str] = {}
    for name, make in PEERS.items():
        try:
            made[name] = make(bank, router)
        except (ImportError, AttributeError) as error:
            missing[name] = str(error)
    return made, missing


def supervised(experts: int) -> tuple[dict[str, Made], dict[str, str]]:
    """The dense twin twice, and turnout with a batch of mixed tasks."""
    torch.manual_seed(experts)
    dense, bank = (without_biases(ExpertBank(n, WIDTH, INNER, "silu")) for n in (1, experts))
    twin = own(dense, None, None)
    return {"dense": twin, "again": twin, "turnout": own(bank, None, Supervised(experts))}, {}


def check_alike(made: dict[str, Made], given: Frames) -> None:
    """Raises SystemExit where a peer computes anything else than turnout."""
    routed = {name: layer for name, (layer, _) in made.items() if name not in ("dense", "again")}
    with torch.no_grad():
        expected = routed.pop("turnout")(given)
        for name, layer in routed.items():
            apart = float((layer(given) - expected).abs().max())
            if not apart <= 1e-4 * math.sqrt(float(expected.square().mean())) + 1e-5:
                raise SystemExit(f"'{name}' computes something else than turnout: {apart:.2g} off")
