"""A dense model and its adapters -> a supervised model: whose expert is taken when, and what a
path's tensors are.

Encoder and decoder are chosen apart. Of the experts that change one of them and fit an utterance,
the one with the most conditions is taken, and alone: experts of one stack are never added up. Of
equally many the adapter that was named first has it, and two with the same conditions are refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from turnout.adapters.folder import Expert
from turnout.adapters.stored import Tensors
from turnout.config import ModelConfig, RoutingConfig
from turnout.errors import ConfigError, ModelFolderError, UsageError
from turnout.guidance import ANY, ExpertMap, Guidance, Guide, Task

Stack = Literal["encoder", "decoder"]
STACKS: tuple[Stack, ...] = ("encoder", "decoder")
CROSSING = re.compile(r"decoder\.blocks\.\d+\.cross_attention\.(key|value)\.")
"""Tensors that are used while the encoder runs: what the decoder attends to is worked out there,
once for all of its rows."""


def stack_of(tensor: str) -> Stack:
    """Which of the two a tensor is used in."""
    inside = tensor.startswith("decoder.") and not CROSSING.match(tensor)
    return "decoder" if inside else "encoder"


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """A dense model and the experts of its adapters."""

    dense: ModelConfig
    config: ModelConfig
    """The supervised model that they are together, by which experts are numbered: 0 is the base."""
    encoder: tuple[Expert, ...]
    """From number 1."""
    decoder: tuple[Expert, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters', each once."""
        return tuple(dict.fromkeys(one.adapter for one in (*self.encoder, *self.decoder)))

    def path(self, stack: Stack, number: int, base: Tensors) -> Tensors:
        """The tensors for a stack's path, those that its expert changes in float32, the others as
        they are; what the other stack is made of is not for this path."""
        if not number:
            return base
        return Changed(base, getattr(self, stack)[number - 1])

    def number(self, stack: Stack, guidance: Guidance) -> int:
        """The path that this guidance selects; raises GuidanceError."""
        return self.config.expert_map(getattr(self.config, stack).routing).index(guidance)


class Changed(Mapping[str, NDArray[Any]]):
    """A base's tensors with those of one expert in their places, worked out when they are asked
    for."""

    def __init__(self, base: Tensors, expert: Expert) -> None:
        self._base = base
        self._expert = expert

    def __getitem__(self, name: str) -> NDArray[Any]:
        change = self._expert.changes.get(name)
        if change is None:
            return self._base[name]
        values = change.applied(self._base[name])
        if not np.isfinite(values).all():
            raise ModelFolderError(
                f"adapter '{self._expert.adapter}': expert '{self._expert.name}' makes numbers of "
                f"{name} that are not finite: leave it out"
            )
        return values

    def __contains__(self, name: object) -> bool:
        return name in self._base  # nothing is worked out

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)


def dense_weights(base: Tensors, adapted: Adapted, guidance: Guidance) -> dict[str, NDArray[Any]]:
    """The tensors of the one dense model that serves this guidance, as they are stored in the base
    but for those that its experts change, which are float32. Raises GuidanceError."""
    paths = {stack: adapted.path(stack, adapted.number(stack, guidance), base) for stack in STACKS}
    return {name: paths[stack_of(name)][name] for name in base}


def adapted(config: ModelConfig, experts: Sequence[Expert]) -> Adapted:
    """A dense model of this shape with these experts, which fit its tensors.

    Raises UsageError for a model that is routed itself, for conditions that it cannot meet, and
    where two experts are for the same.
    """
    check_dense(config)
    for expert in experts:
        check_conditions(expert, config)
    domains = [expert.when[Guide.DOMAIN] for expert in experts if Guide.DOMAIN in expert.when]
    own = {stack: ordered(experts, stack) for stack in STACKS}
    try:
        whole = replace(config, domains=tuple(dict.fromkeys((*config.domains, *domains))))
        for stack in STACKS:
            routing = routing_of(own[stack], stack)
            whole = replace(whole, **{stack: replace(getattr(whole, stack), routing=routing)})
    except ConfigError as error:
        raise UsageError(f"these adapters cannot be put together: {error}") from error
    return Adapted(dense=config, config=whole, encoder=own["encoder"], decoder=own["decoder"])


def check_dense(config: ModelConfig) -> None:
    """Raise UsageError for a model that is routed itself."""
    routed = next((s for s in STACKS if getattr(config, s).routing.kind != "dense"), None)
    if routed is not None:
        raise UsageError(
            f"the model's {routed} has experts of its own ("
            f"{getattr(config, routed).routing.kind}): adapters are for dense models, such as "
            "'turnout specialise' cuts out of it"
        )


def ordered(experts: Sequence[Expert], stack: Stack) -> tuple[Expert, ...]:
    """The experts that change a stack, those with the most conditions first; raises UsageError
    where two have the same."""
    own = [one for one in experts if any(stack_of(name) == stack for name in one.changes)]
    order = sorted(own, key=lambda one: -len(one.when))
    for _, same in groupby(sorted(own, key=conditions), key=conditions):
        first, *others = same
        if others:
            raise UsageError(
                f"the adapters '{first.adapter}' and '{others[0].adapter}' both have an expert of "
                f"the {stack} for {conditions(first)}: leave one of them out"
            )
    return tuple(order)


def conditions(expert: Expert) -> str:
    """What it is for, in words."""
    return ", ".join(f"{guide} {expert.when[guide]}" for guide in Guide if guide in expert.when)


def routing_of(experts: Sequence[Expert], stack: Stack) -> RoutingConfig:
    """The routing that chooses between the base and these, in the layers that one of them changes:
    in all where what is changed lies in none. Raises ConfigError."""
    if not experts:
        return RoutingConfig()
    guides = tuple(guide for guide in Guide if any(guide in one.when for one in experts))
    names = tuple("+".join(one.when.get(guide, ANY) for guide in guides) for one in experts)
    block = re.compile(rf"{stack}\.blocks\.(\d+)\.")
    found = (block.match(name) for one in experts for name in one.changes)
    layers = tuple(sorted({int(match[1]) for match in found if match})) or None
    return RoutingConfig(kind="supervised", guided_by=guides, experts_for=names, layers=layers)


def check_conditions(expert: Expert, config: ModelConfig) -> None:
    """Raise UsageError where the model can never meet what an expert is for, or always does."""
    place = f"adapter '{expert.adapter}': expert '{expert.name}' is for the"
    vocabulary = config.vocabulary
    choices = ExpertMap.of(
        tuple(Guide),
        languages=vocabulary.languages,
        target_languages=vocabulary.all_languages,
    ).choices
    known = dict(zip(Guide, choices, strict=True))
    if not vocabulary.translations:
        known[Guide.TASK] = (Task.TRANSCRIBE,)
    for guide, value in expert.when.items():
        words = f"{guide.replace('_', ' ')} '{value}'"
        if guide is not Guide.DOMAIN and value not in known[guide]:
            raise UsageError(f"{place} {words}, and the model has {listed(known[guide])}")
        if guide is Guide.WINDOW and config.features.padding != "window":
            raise UsageError(f"{place} {words}, and the model's windows are never padded")
        if guide is Guide.DOMAIN and value == config.domains[0]:
            raise UsageError(f"{place} {words}, which is everybody's: it needs a name of its own")


def listed(values: Sequence[str]) -> str:
    """A few by their names, many by their number."""
    return ", ".join(values) if len(values) <= 8 else f"{len(values)} others"
