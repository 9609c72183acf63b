"""What is known of a recording before its first frame, and which expert that selects.

Supervised routing (S-MoE, arXiv 2508.10009) has no learned gate: the bandwidth, the task or a
language *is* the choice of expert. This module knows nothing of audio, tensors or models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod

from turnout.errors import GuidanceError


class Bandwidth(StrEnum):
    """Where the speech's spectrum ends: 4 kHz (telephone) or beyond."""

    NARROWBAND = "narrowband"
    WIDEBAND = "wideband"


class Task(StrEnum):
    """What the decoder writes: the words spoken, or their translation."""

    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


class Window(StrEnum):
    """How much the encoder of a model with padded windows hears: the whole window, or no more than
    there is of the recording."""

    PADDED = "padded"
    SPEECH = "speech"


class Guide(StrEnum):
    """A property of a request that can select an expert."""

    BANDWIDTH = "bandwidth"
    TASK = "task"
    LANGUAGE = "language"
    TARGET_LANGUAGE = "target_language"
    DOMAIN = "domain"
    WINDOW = "window"


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """What one utterance, or one decoder row of it, is known or asked to be; None is unknown."""

    bandwidth: Bandwidth | None = None
    task: Task | None = None
    language: str | None = None
    target_language: str | None = None
    domain: str | None = None
    window: Window | None = None

    def value(self, guide: Guide) -> str | None:
        """The value of one guide, as the plain string that `ExpertMap` lists, or None."""
        found = getattr(self, guide.value)
        # Bandwidth, Task and Window are enumerations, the others are words.
        return None if found is None else str(found)


ANY = "*"
"""In an expert's values: whatever the guide says."""
BASE = "base"
"""The expert of all that have none of their own."""
FINDABLE = (Guide.LANGUAGE, Guide.TARGET_LANGUAGE)
"""Guides that may be unknown until somebody has listened."""


@dataclass(frozen=True)
class ExpertMap:
    """Guidance -> expert (or group) index.

    The product of the guides' values, first guide slowest; or, where `own` lists some, the base
    (index 0) for everybody but those that `own` names, of which the first that fits is taken.
    """

    guides: tuple[Guide, ...]
    choices: tuple[tuple[str, ...], ...]
    """For each guide, its values in order."""
    own: tuple[tuple[str, ...], ...] = ()
    """For each expert beside the base a value, or `ANY`, of every guide."""

    @classmethod
    def of(
        cls,
        guides: Sequence[Guide],
        *,
        languages: Sequence[str],
        target_languages: Sequence[str],
        domains: Sequence[str] = (),
        own: Sequence[str] = (),
    ) -> "ExpertMap":
        """The map of a model with these languages and domains; `target_languages` includes the
        spoken ones, `own` has the names of experts, such as 'es' or 'narrowband+translate'."""
        table: Mapping[Guide, tuple[str, ...]] = {
            Guide.BANDWIDTH: tuple(Bandwidth),
            Guide.TASK: tuple(Task),
            Guide.LANGUAGE: tuple(languages),
            Guide.TARGET_LANGUAGE: tuple(target_languages),
            Guide.DOMAIN: tuple(domains),
            Guide.WINDOW: tuple(Window),
        }
        values = tuple(tuple(name.split("+")) for name in own)
        return cls(tuple(guides), tuple(table[guide] for guide in guides), values)

    @property
    def num_groups(self) -> int:
        """How many indices there are (1 where nothing guides)."""
        return 1 + len(self.own) if self.own else prod(len(values) for values in self.choices)

    def index(self, guidance: Guidance) -> int:
        """The index that this guidance selects. Where there is a base, a language that is not known
        yet is nobody's own: it is for the base to find.

        Raises GuidanceError, naming the choices, where a value is missing or unknown.
        """
        if self.own:
            found = [
                None
                if guide in FINDABLE and guidance.value(guide) is None
                else known_value(guidance, guide, values)
                for guide, values in zip(self.guides, self.choices, strict=True)
            ]
            fitting = (place for place, own in enumerate(self.own, start=1) if fits(own, found))
            return next(fitting, 0)
        index = 0
        for guide, values in zip(self.guides, self.choices, strict=True):
            # Digits of a number, each guide with a base of its own; `values` takes them apart.
            index = index * len(values) + values.index(known_value(guidance, guide, values))
        return index

    def indices(self, guidance: Sequence[Guidance]) -> list[int]:
        """The index of each; zeros where nothing guides. Raises GuidanceError."""
        return [self.index(known) for known in guidance]

    def values(self, index: int) -> tuple[str, ...]:
        """What guides to an index: of each guide a value, or `ANY`; the base's are all `ANY`."""
        if self.own:
            return self.own[index - 1] if index else (ANY,) * len(self.guides)
        words: list[str] = []
        for values in reversed(self.choices):
            index, position = divmod(index, len(values))
            words.append(values[position])
        return tuple(reversed(words))

    def name(self, index: int) -> str:
        """The words behind an index, such as 'narrowband', 'narrowband+translate' or 'base'."""
        if self.own and not index:
            return BASE
        return "+".join(self.values(index)) or "all"


def fits(own: Sequence[str], found: Sequence[str | None]) -> bool:
    """Whether an expert's values are those that were found; what was not found fits `ANY` alone."""
    return all(value in (ANY, given) for value, given in zip(own, found, strict=True))


def known_value(guidance: Guidance, guide: Guide, values: Sequence[str]) -> str:
    """What guidance says of a guide; raises GuidanceError where that is nothing, or none of
    `values`."""
    value = guidance.value(guide)
    if value is None or value not in values:
        given = "was not given" if value is None else f"'{value}' is unknown to this model"
        raise GuidanceError(
            f"the {guide.value.replace('_', ' ')} selects this model's experts and "
            f"{given}: choose one of {', '.join(values)}"
        )
    return value


def bandwidth_indices(guidance: Sequence[Guidance], *, needed: bool) -> list[int]:
    """The position of each one's bandwidth in `Bandwidth`, for a model that has a token for it;
    zeros where it is not `needed`.

    Raises GuidanceError, naming the choices, where one is missing.
    """
    if not needed:
        return [0] * len(guidance)
    choices = list(Bandwidth)
    if any(known.bandwidth is None for known in guidance):
        raise GuidanceError(
            f"this model needs the bandwidth of every utterance: one of {', '.join(choices)}"
        )
    return [choices.index(known.bandwidth) for known in guidance if known.bandwidth]
