"""What a caller asks of a recording, in words, checked before anything is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from numbers import Integral, Real
from types import NoneType
from typing import Any, Literal, TypedDict

from turnout.audio.waveform import MAX_DURATION_SECONDS
from turnout.config import ModelConfig
from turnout.config.plain import nearest
from turnout.decoding.plan import check_request, check_translation
from turnout.decoding.request import DecodingOptions, Request
from turnout.errors import GuidanceError, UsageError, shown
from turnout.guidance import Bandwidth, Task

TaskName = Literal["transcribe", "translate", "both"]
TASKS: dict[str, tuple[Task, ...]] = {
    "transcribe": (Task.TRANSCRIBE,),
    "translate": (Task.TRANSLATE,),
    "both": (Task.TRANSCRIBE, Task.TRANSLATE),
}
AUTO = "auto"


class Options(TypedDict, total=False):
    """The keyword arguments of `Transcriber.transcribe`; `Wishes` says what they mean."""

    task: TaskName
    language: str | None
    target_language: str | None
    bandwidth: str | None
    beam_size: int
    word_timestamps: bool
    max_duration: float
    channel: int | None
    batch_size: int


WORD = "a word or None"
WHOLE = "a whole number"
ACCEPTED: dict[str, tuple[tuple[type, ...], str]] = {
    "task": ((str,), "a word"),
    "language": ((str, NoneType), WORD),
    "target_language": ((str, NoneType), WORD),
    "bandwidth": ((str, NoneType), WORD),
    "beam_size": ((Integral,), WHOLE),
    "word_timestamps": ((bool,), "True or False"),
    "max_duration": ((Real,), "a number of seconds"),
    "channel": ((Integral, NoneType), f"{WHOLE} or None"),
    "batch_size": ((Integral,), WHOLE),
}
"""Option -> the types it may have, and those in words."""


def check_kind(name: str, value: object, kinds: tuple[type, ...], accepted: str) -> None:
    """Raise UsageError where the value is of no type that is accepted; True is no number."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise UsageError(f"{name} is {shown(value)}: it must be {accepted}")


def spelled(language: str | None, known: Sequence[str]) -> str | None:
    """The one known language that differs from this one in capitals alone, if any."""
    if language is None or language in known:
        return language
    same = [name for name in known if name.casefold() == language.casefold()]
    return same[0] if len(same) == 1 else language


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The arguments of `Transcriber.transcribe`; None and 'auto' are to be found out."""

    task: str = "transcribe"
    """'transcribe', 'translate' or 'both'."""
    language: str | None = None
    """Spoken."""
    target_language: str | None = None
    """Of the translation; by default the only one that the model has for the spoken language."""
    bandwidth: str | None = None
    """'narrowband' or 'wideband'."""
    beam_size: int = 1
    """Hypotheses kept while decoding; 1 is greedy."""
    word_timestamps: bool = False
    """Whether the transcript's words get times."""
    max_duration: float = MAX_DURATION_SECONDS
    """Seconds of decoded audio that a recording may have."""
    channel: int | None = None
    """The one that is heard, from 0; all of them, mixed, by default."""
    batch_size: int = 8
    """Stretches of audio that are decoded at once."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Wishes":
        """From keyword arguments; raises UsageError for a name that none of them has."""
        for name in options:
            if name not in ACCEPTED:
                raise UsageError(f"unknown option {shown(name)}{nearest(name, ACCEPTED)}")
        return cls(**options)

    def __post_init__(self) -> None:
        for name, (kinds, accepted) in ACCEPTED.items():
            check_kind(name, getattr(self, name), kinds, accepted)
        if self.task not in TASKS:
            raise GuidanceError(f"no task '{self.task}': choose one of {', '.join(TASKS)}")
        known = (None, AUTO, *Bandwidth)
        if self.bandwidth not in known:
            choices = ", ".join((AUTO, *Bandwidth))
            raise GuidanceError(f"no bandwidth '{self.bandwidth}': choose one of {choices}")
        if not 0 < self.max_duration < inf:
            raise UsageError(
                f"max_duration is {self.max_duration}: it must be above 0 seconds, and finite"
            )
        if self.batch_size < 1:
            raise UsageError(f"batch_size is {self.batch_size}: it must be at least 1")

        if self.channel is not None and self.channel < 0:
            raise UsageError(f"channel is {self.channel}: channels are counted from 0")
        _ = self.decoding

    @property
    def decoding(self) -> DecodingOptions:
        """How hypotheses are searched for."""
        return DecodingOptions(beam_size=self.beam_size, word_timestamps=self.word_timestamps)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What is decoded, in order."""
        return TASKS[self.task]

    @property
    def said_bandwidth(self) -> Bandwidth | None:
        """None where it is to be measured."""
        return None if self.bandwidth in (None, AUTO) else Bandwidth(self.bandwidth)

    @property
    def said_language(self) -> str | None:
        """None where it is to be found."""
        return None if self.language == AUTO else self.language

    def for_model(self, config: ModelConfig) -> "Wishes":
        """The same with languages spelled as this model spells them.

        Raises GuidanceError where it can never do what is asked.
        """
        vocabulary = config.vocabulary
        wishes = replace(
            self,
            language=spelled(self.language, (AUTO, *vocabulary.languages)),
            target_language=spelled(self.target_language, vocabulary.all_languages),
        )
        request = wishes.request(Bandwidth.WIDEBAND, wishes.said_language)
        check_request(request, config)
        if wishes.target_language is not None and Task.TRANSLATE not in wishes.tasks:
            check_translation(replace(request, language=None), config)
        return wishes

    def request(self, bandwidth: Bandwidth, language: str | None) -> Request:
        """The request of a stretch, with what has been found since."""
        return Request(
            tasks=self.tasks,
            bandwidth=bandwidth,
            language=language,
            target_language=self.target_language,
        )
