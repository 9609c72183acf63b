"""The layers that benchmarks/experts_cuda.py times, and how far each is from the static loop."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import expert_layers as layers
import torch
from torch import Tensor, nn

from turnout.experts.bank import ExpertBank, masked
from turnout.experts.routing import Learned, Route, Router

BATCHES = 3
SLOW = ("sort, split, loop", "Switch block of transformers")
"""Peers that take a launch or more for each expert: turnout's sorted loop stands for them, but for
this many experts."""
SLOW_AT = 8
APART = 1e-2
"""How far turnout may be from float32, as a share of the norm; its gradients five times as far."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Of a feed-forward and its batch."""

    width: int
    inner: int
    valid: int
    experts: tuple[int, ...]


class TheirGroups(nn.Module):
    """The grouped products of transformers' own models, asked as their expert layers ask."""

    def __init__(self, bank: ExpertBank, router: Router) -> None:
        super().__init__()
        from transformers.integrations import moe  # noqa: PLC0415 - may not be installed

        self.ask: Callable[..., Tensor] = moe.grouped_mm_experts_forward
        self.router = router
        experts: list[Any] = list(bank.experts)
        self.up = nn.Parameter(torch.stack([e.up.weight.detach() for e in experts]))
        self.down = nn.Parameter(torch.stack([e.down.weight.detach() for e in experts]))

    def forward(self, rows: Tensor) -> Tensor:
        """One frame a row; weights are cast by hand, as autocast does not reach them."""
        p, chosen = layers.first_choice(self.router, rows)
        asked = SimpleNamespace(
            num_experts=len(self.up),
            up_proj=self.up.to(torch.bfloat16),
            down_proj=self.down.to(torch.bfloat16),
            act_fn=nn.functional.silu,
            has_gate=False,
            has_bias=False,
            has_post_expert_norm=False,
            is_transposed=False,
            is_concatenated=True,
            _is_expert_parallel=False,
        )
        low = rows.to(torch.bfloat16)
        return self.ask(asked, low, chosen.unsqueeze(1), p.unsqueeze(1))


def through(bank: ExpertBank, router: Router, way: Callable[..., Tensor]) -> layers.Made:
    """turnout's router and one way through its bank."""
    rule = Learned()

    def layer(given: layers.Frames) -> Tensor:
        found = rule(given.hidden, given.mask, Route(given.guide, router))
        return way(given.hidden, found.expert_index, given.mask, found.gate)

    return layer, nn.ModuleList([bank, router])


def systems(
    size: Size, experts: int, device: torch.device
) -> tuple[dict[str, layers.Made], dict[str, str]]:
    """What is compared, and why a peer is missing; "truth" is the static loop."""
    torch.manual_seed(experts)
    with torch.device(device):
        dense, bank = (
            layers.without_biases(ExpertBank(n, size.width, size.inner, "silu"))
            for n in (1, experts)
        )
        router = Router(size.width, experts)
        nn.init.zeros_(router.linear.bias)
        twin = layers.own(dense, None, None)
        computed = (lambda given: masked(dense.experts[0], given.hidden, given.mask)), dense
        made: dict[str, layers.Made] = {
            "dense": twin,
            "again": twin,
            "dense, padding computed": computed,
            "turnout": through(bank, router, bank.grouped),
            "turnout, sorted loop": through(bank, router, bank.sorted),
        }
        missing: dict[str, str] = {}
        peers = layers.PEERS | {"grouped products of transformers": their_groups}
        for name, make in peers.items():
            if name in SLOW and experts != SLOW_AT:
                continue
            try:
                made[name] = make(bank, router)
            except Exception as error:  # versions differ, and none may end the others' run
                missing[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return made | {"truth": through(bank, router, bank.dispatched)}, missing


def their_groups(bank: ExpertBank, router: Router) -> layers.Made:
    """transformers' grouped products. Raises ImportError where they are not installed."""
    layer = TheirGroups(bank, router)
    return layers.packed(layer), layer


def batches(size: Size, device: torch.device) -> list[layers.Frames]:
    """Of unlike lengths, with what lies in padding as it comes."""
    found = []
    for number in range(BATCHES):
        lengths = torch.Generator().manual_seed(number)
        mask = layers.valid_in(lengths, layers.UTTERANCES, size.valid).to(device)
        generator = torch.Generator(device).manual_seed(number)
        shape = (*mask.shape, size.width)
        hidden, upstream = (
            torch.randn(shape, generator=generator, device=device) for _ in range(2)
        )
        guide = torch.zeros(len(mask), dtype=torch.int64, device=device)
        found.append(layers.Frames(hidden, mask, guide, upstream))
    return found


def answered(made: layers.Made, given: layers.Frames, *, low: bool) -> list[Tensor]:
    """The output and the gradients of frames and parameters."""
    layer, module = made
    module.zero_grad(set_to_none=True)
    leaf = given.hidden.clone().requires_grad_()
    with torch.autocast(leaf.device.type, torch.bfloat16, enabled=low):
        output = layer(given._replace(hidden=leaf))
    output.backward(given.upstream)
    named = [leaf.grad, *(parameter.grad for parameter in module.parameters())]
    return [output.detach(), *(grad for grad in named if grad is not None)]


def apart(found: Tensor, expected: Tensor) -> float:
    """As a share of the norm; infinite where something is not finite."""
    off = float((found.float() - expected).norm() / expected.norm().clamp(min=1e-12))
    return off if math.isfinite(off) else math.inf


def held_against_truth(made: dict[str, layers.Made], given: layers.Frames) -> dict[str, Any]:
    """How far each is from the static loop in float32; turnout with NaN in the padding, gradients
    too, of which the largest distance is told."""
    truth = answered(made.pop("truth"), given, low=False)
    found: dict[str, Any] = {}
    for name in [name for name in made if not name.startswith(("dense", "again"))]:
        try:
            tensors = answered(made[name], given, low=True)
            found[name] = {"output": apart(tensors[0], truth[0])}
        except Exception as error:  # a peer that fails is told, and left out
            made.pop(name)
            found[name] = {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
            continue
        if name.startswith("turnout"):
            pairs = zip(tensors[1:], truth[1:], strict=True)
            found[name]["gradients"] = max(apart(one, other) for one, other in pairs)
    if "turnout" in made:
        found["turnout"] |= padded_with_nan(made["turnout"][1], given)
    return found


def padded_with_nan(held: Any, given: layers.Frames) -> dict[str, Any]:
    """Whether turnout's output and gradients stay finite with NaN in the padding, and those of an
    expert without frames zero. Its router is not asked: a softmax of NaN has no gradient."""
    bank, router = held
    bank.zero_grad(set_to_none=True)
    broken = given.hidden.masked_fill(~given.mask.unsqueeze(-1), float("nan")).requires_grad_()
    index = router.linear(given.hidden).argmax(dim=-1).clamp(max=len(bank.experts) - 2)
    with torch.autocast(broken.device.type, torch.bfloat16):
        output = bank.grouped(broken, index, given.mask)
    output.backward(given.upstream)
    tensors = [output, broken.grad, *(parameter.grad for parameter in bank.parameters())]
    idle = [parameter.grad for parameter in bank.experts[-1].parameters()]
    return {
        "finite beside NaN": all(bool(torch.isfinite(tensor).all()) for tensor in tensors),
        "zero without frames": not any(bool(tensor.any()) for tensor in idle),
    }


def wrong(alike: dict[str, Any]) -> list[str]:
    """Ways of turnout that are too far from the truth."""
    return [
        name
        for name, told in alike.items()
        if name.startswith("turnout")
        and not (
            told.get("output", 1.0) <= APART
            and told.get("gradients", 1.0) <= 5 * APART
            and told.get("finite beside NaN", True)
            and told.get("zero without frames", True)
        )
    ]
