"""What a caller asks of a recording, in words, checked before anything is read."""

from dataclasses import dataclass
from math import inf
from typing import Literal, TypedDict

from turnout.audio.waveform import MAX_DURATION_SECONDS
from turnout.config import ModelConfig
from turnout.decoding.plan import check_request
from turnout.decoding.request import DecodingOptions, Request
from turnout.errors import GuidanceError, UsageError
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

    def __post_init__(self) -> None:
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

    def check(self, config: ModelConfig) -> None:
        """Raise GuidanceError where this model can never do what is asked."""
        check_request(self.request(Bandwidth.WIDEBAND, self.said_language), config)

    def request(self, bandwidth: Bandwidth, language: str | None) -> Request:
        """The request of a stretch, with what has been found since."""
        return Request(
            tasks=self.tasks,
            bandwidth=bandwidth,
            language=language,
            target_language=self.target_language,
        )
