"""What is asked of a recording: by the command line, by Python and by a server alike."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import inf
from typing import Any, Literal

from turnout.config.bounds import at_least, require, share
from turnout.config.plain import check_types, nearest
from turnout.errors import UsageError, shown
from turnout.guidance import Bandwidth, Task

TaskName = Literal["transcribe", "translate", "both"]
MAX_DURATION_SECONDS = 14_400.0
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class TranscriptionOptions:
    """How recordings are transcribed; what is 'auto' (or None) is found out."""

    task: TaskName = "transcribe"
    """'both' reads each recording once and writes transcript and translation."""
    language: str | None = AUTO
    """Spoken language, such as 'ar' or 'Arabic'; 'auto' finds it."""
    target_language: str | None = None
    """Language of the translation; by default the only one that the model has."""
    bandwidth: Literal["auto", "narrowband", "wideband"] | None = AUTO
    """'auto' measures it."""
    domain: str | None = None
    """Which of the model's domains the recordings are of; by default its first."""
    window: Literal["padded", "speech"] = "padded"
    """Of models that hear windows of one length, such as Whisper's: 'padded' with silence up to it,
    or no longer than the 'speech', which is faster, and less accurate where nothing learned it."""
    beam_size: int = 1
    """Hypotheses kept while decoding; 1 is greedy."""
    word_timestamps: bool = False
    """Give the transcript's words times."""
    initial_prompt: str | None = None
    """Text that stands before what every window says, such as names that it may hold; for models
    with a token for it, which Whisper's have."""
    condition_on_previous_text: bool = False
    """Let each window read what was written of those before it, for models with a token for it:
    one window is decoded at a time then, and what went wrong once may go on."""
    temperature: float = 0.0
    """Of the first attempt, 0 to 1; above 0, texts are sampled, the same ones each time. This and
    what follows is for Whisper's models: others make one attempt, which CTC guards."""
    temperature_increment_on_fallback: float | None = 0.2
    """What is added, up to 1, where an attempt is refused; None or 0 leaves it at one attempt."""
    best_of: int = 5
    """Texts sampled at a temperature above 0, of which the most probable is taken."""
    compression_ratio_threshold: float | None = 2.4
    """Texts that zlib makes smaller by more than this are refused: they repeat themselves."""
    logprob_threshold: float | None = -1.0
    """Texts whose mean log-probability is below this are refused."""
    no_speech_threshold: float | None = 0.6
    """Where no speech is more probable than this, a text that is refused for its log-probability
    counts as silence; the surer no speech is, the more probable a text must be."""
    max_duration: float = MAX_DURATION_SECONDS
    """Longest recording taken, in seconds of decoded audio."""
    channel: int | None = None
    """The one that is heard, from 0; all of them, mixed, by default."""
    track: int | None = None
    """The audio track that is heard where a file has several, from 0; by default the one that the
    file says is its default."""
    batch_size: int = 8
    """Segments of audio decoded at once."""

    def __post_init__(self) -> None:
        # Python's callers reach this without a parser before them, so types are checked too.
        check_types(self)
        at_least(1, self, "", "beam_size", "batch_size", "best_of")
        share(self, "", "temperature")
        step = self.temperature_increment_on_fallback
        require(
            step is None or 0 <= step < inf,
            f"temperature_increment_on_fallback is {step}: it must be 0 or above, or None",
        )
        at_least(0, self, "", "channel", "track")
        require(
            0 < self.max_duration < inf,
            f"max_duration is {self.max_duration:g}: it must be above 0 seconds, and finite",
        )

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What is decoded, in order."""
        return tuple(Task) if self.task == "both" else (Task(self.task),)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Of the attempts, in order."""
        step = self.temperature_increment_on_fallback
        if not step:
            return (self.temperature,)
        count = 1 + int((1 - self.temperature) / step + 1e-6)
        return tuple(round(self.temperature + i * step, 6) for i in range(count))

    @property
    def stated_language(self) -> str | None:
        """None where it is to be found."""
        return None if self.language == AUTO else self.language

    @property
    def stated_bandwidth(self) -> Bandwidth | None:
        """None where it is to be measured."""
        return None if self.bandwidth in (None, AUTO) else Bandwidth(self.bandwidth)


def options_of(options: TranscriptionOptions, changes: Mapping[str, Any]) -> TranscriptionOptions:
    """The options with these in place of their own.

    Raises UsageError for a name that none of them has, and ConfigError for a bad value.
    """
    if not isinstance(options, TranscriptionOptions):
        raise UsageError(
            f"options is {shown(options)}: it must be TranscriptionOptions; single ones are given "
            'by name, as in task="both"'
        )
    known = {field.name: field for field in fields(TranscriptionOptions)}
    for name in changes:
        if name not in known:
            raise UsageError(f"unknown option {shown(name)}{nearest(name, known)}")
    return replace(options, **changes)
