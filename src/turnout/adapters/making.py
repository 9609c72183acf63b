"""Two models -> an adapter: the difference of what was trained from what it was trained from.

The trained one is dense, and everything that differs is one expert for the conditions that are
given; or supervised, as upcycling makes it, and each of its experts that differs from the base's
feed-forward is one, for what guides to it. In NumPy alone.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.adapters.change import DOWN, UP, Change, LowRank, Whole
from turnout.adapters.compose import STACKS
from turnout.adapters.facts import NAME
from turnout.adapters.folder import Expert
from turnout.adapters.stored import Tensors
from turnout.config import ModelConfig, RoutingConfig
from turnout.config.plain import to_plain
from turnout.errors import UsageError, shown
from turnout.guidance import ANY, Guide

EXPERT = re.compile(r"(encoder|decoder)\.blocks\.(\d+)\..*\.experts\.(\d+)\..*")
UNHEARD = ("dropout", "domains", "routing")
"""Keys of a configuration that change nothing of what a dense model computes."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """How much of a tensor's difference an adapter holds."""

    expert: str
    tensor: str
    rank: int | None
    """None where the tensor is whole."""
    share: float
    """Of the sum of its squares."""


@dataclass(frozen=True)
class Made:
    """An adapter's experts, and what was kept of each difference."""

    experts: tuple[Expert, ...]
    kept: tuple[Kept, ...]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model of which an adapter is made: its shape, tensors and tokenizer."""

    name: str
    """In errors."""
    config: ModelConfig
    tensors: Tensors
    tokenizer: bytes


@dataclass(frozen=True, kw_only=True)
class Making:
    """How an adapter is made."""

    name: str
    when: Mapping[Guide, str]
    """What a dense model's difference is for."""
    rank: int | None = None
    """Of the differences; None keeps tensors whole."""
    half: bool = False
    """Whether numbers are rounded to float16."""


def difference(base: Model, trained: Model, making: Making) -> Made:
    """The adapter of `base` that makes it `trained`. Tensors equal to the base's are left out.

    Raises UsageError where something differs that no expert can hold, and where nothing does.
    """
    check_same_shape(base, trained)
    check_when(trained, making)
    experts: list[Expert] = []
    kept: list[Kept] = []
    for name, when, tensors in differing(base, trained, making):
        changes: dict[str, Change] = {}
        for tensor, values in tensors.items():
            check_finite(Whole(values), tensor, trained.name)  # before its parts are worked out
            changes[tensor], share = change_of(base.tensors[tensor], values, making)
            rank = making.rank if isinstance(changes[tensor], LowRank) else None
            kept.append(Kept(expert=name, tensor=tensor, rank=rank, share=share))
            check_finite(changes[tensor], tensor, trained.name)
        experts.append(Expert(name=name, adapter=making.name, when=when, changes=changes))
    if not experts:
        raise UsageError(
            f"{trained.name} does not differ from {base.name}: there is nothing to keep"
        )
    return Made(tuple(experts), tuple(kept))


def check_same_shape(base: Model, trained: Model) -> None:
    """Raise UsageError, naming the first difference, where two models differ in more than their
    weights and the routing of the second."""
    if routed(base):
        raise UsageError(f"{base.name} is no dense model: an adapter's base must be one")
    kinds = {stack: getattr(trained.config, stack).routing.kind for stack in STACKS}
    wrong = next((s for s in STACKS if kinds[s] not in ("dense", "supervised")), None)
    if wrong is not None:
        raise UsageError(
            f"{trained.name} has a learned router in its {wrong} ({kinds[wrong]}): adapters hold "
            "dense models, and experts that guidance chooses"
        )
    one, other = flat(to_plain(base.config)), flat(to_plain(trained.config))
    key = next((key for key in one if one[key] != other.get(key)), None)
    if key is not None:
        raise UsageError(
            f"{trained.name} differs from {base.name} in {key} ({shown(other.get(key))}, not "
            f"{shown(one[key])}), which no expert can hold"
        )
    if base.tokenizer != trained.tokenizer:
        raise UsageError(
            f"{trained.name} has another tokenizer than {base.name}, which no expert can hold"
        )


def routed(model: Model) -> bool:
    """Whether a model has experts."""
    return any(getattr(model.config, stack).routing.kind != "dense" for stack in STACKS)


def check_when(trained: Model, making: Making) -> None:
    """Raise UsageError where conditions are given that the experts of a model say themselves."""
    if making.when and routed(trained):
        raise UsageError(
            f"{trained.name} has experts, which say themselves what they are for: leave out --when"
        )


def flat(plain: Any, place: str = "") -> dict[str, Any]:
    """A configuration's values by the way to them, but for those that are not heard."""
    if not isinstance(plain, Mapping):
        return {place: plain}
    found: dict[str, Any] = {}
    for key, value in plain.items():
        if key not in UNHEARD:
            found |= flat(value, f"{place}.{key}" if place else key)
    return found


def differing(
    base: Model, trained: Model, making: Making
) -> list[tuple[str, Mapping[Guide, str], dict[str, NDArray[Any]]]]:
    """Name, conditions and tensors, by the base's names, of each expert that differs."""
    found: dict[tuple[tuple[Guide, str], ...], dict[str, NDArray[Any]]] = {}
    for name, values in trained.tensors.items():
        own, when = owner(name, trained.config)
        if own not in base.tensors:
            raise UsageError(f"{trained.name} has a tensor {name}, and {base.name} none for it")
        if base.tensors[own].shape != values.shape:
            raise UsageError(f"{trained.name} has {name} in another shape than {base.name}")
        if same(base.tensors[own], values):
            continue
        if when is None:
            when = making.when
            if not making.when:
                only = "only experts' tensors can be kept"
                advice = only if routed(trained) else "say what for: --when GUIDE=VALUE"
                raise UsageError(
                    f"{trained.name} differs from {base.name} in {name}, which is no expert's: "
                    f"{advice}"
                )
        found.setdefault(tuple((g, when[g]) for g in Guide if g in when), {})[own] = values
    missing = next((name for name in base.tensors if name not in trained.tensors), None)
    if missing is not None:
        raise UsageError(f"{trained.name} lacks the tensor {missing}, which {base.name} has")
    conditions = [dict(when) for when in found]
    return list(zip(names_of(conditions), conditions, found.values(), strict=True))


def names_of(conditions: Sequence[Mapping[Guide, str]]) -> list[str]:
    """A name for each expert that no other has: the values that it is for; with the guides where
    two would be called the same, and a number where a value cannot be part of a name."""
    plain = ["-".join(when.values()) for when in conditions]
    guided = ["-".join(f"{g}-{value}" for g, value in when.items()) for when in conditions]
    for names in (plain, guided):
        if len(set(names)) == len(names) and all(map(NAME.fullmatch, names)):
            return names
    return [f"expert-{number}" for number in range(1, len(conditions) + 1)]


def owner(name: str, config: ModelConfig) -> tuple[str, Mapping[Guide, str] | None]:
    """The base's tensor that one of a model is a copy of, and what guides to it; None where it is
    everybody's."""
    found = EXPERT.fullmatch(name)
    if found is None:
        return name, None
    stack, layer, expert = found[1], int(found[2]), int(found[3])
    routing: RoutingConfig = getattr(config, stack).routing
    if not routing.routes(layer):
        return name, None
    choices = config.expert_map(routing)
    pairs = zip(choices.guides, choices.values(expert), strict=True)
    when = {guide: value for guide, value in pairs if value != ANY}
    place = found.start(3)
    return f"{name[:place]}0{name[found.end(3) :]}", when or None


def same(base: NDArray[Any], values: NDArray[Any]) -> bool:
    """Whether what was trained is the base: a base that is stored in more digits is rounded first,
    which a copy of it was, too; a model with more digits than its base has learned them."""
    with np.errstate(over="ignore"):
        rounded = base.astype(values.dtype) if wider(base, values) else base
        return np.array_equal(rounded, values)


def wider(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether one is stored in more digits."""
    return one.dtype.itemsize > other.dtype.itemsize


def change_of(base: NDArray[Any], values: NDArray[Any], making: Making) -> tuple[Change, float]:
    """A tensor's change, and the share of its difference that it holds."""
    rounded = stored_as(making)
    rank = making.rank
    if rank is None or values.ndim != 2 or rank * sum(values.shape) >= values.size:
        return Whole(rounded(values)), 1.0
    wanted = values.astype(np.float32) - base.astype(np.float32)
    left, strengths, right = np.linalg.svd(wanted, full_matrices=False)
    # Half of each strength to either side: both halves keep to the middle of float16's range.
    roots = np.sqrt(strengths[:rank])
    share = float(np.square(strengths[:rank]).sum() / np.square(strengths).sum())
    return LowRank(rounded(left[:, :rank] * roots), rounded(roots[:, None] * right[:rank])), share


def stored_as(making: Making) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """What rounds numbers to those that are stored."""

    def rounded(values: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(over="ignore"):  # told by `check_finite`
            return np.ascontiguousarray(values, "<f2" if making.half else "<f4")

    return rounded


def check_finite(change: Change, tensor: str, place: str) -> None:
    """Raise UsageError where numbers cannot be kept."""
    if not all(np.isfinite(part).all() for part in parts_of(tensor, change).values()):
        raise UsageError(
            f"{place}: {tensor} has values that are not finite, or that float16 cannot hold: look "
            "at its training, or leave out --half"
        )


def parts_of(tensor: str, change: Change) -> dict[str, NDArray[Any]]:
    """What is stored of a change, by name."""
    if isinstance(change, Whole):
        return {tensor: change.values}
    return {tensor + UP: change.up, tensor + DOWN: change.down}
