"""Options that several verbs share, as dataclasses whose docstrings are the help."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, Token

from turnout.errors import UsageError

if TYPE_CHECKING:
    from turnout.transcription.transcriber import Transcriber
    from turnout.transcription.wishes import Options


def recording_of(_kind: type, tokens: Sequence[Token]) -> Path:
    """A recording's path; an empty one would be the current folder."""
    if not tokens[0].value:
        raise UsageError("the name of a recording is empty: give its path")
    return Path(tokens[0].value)


RECORDINGS = "Recordings: WAV, FLAC, OGG, MP3, AIFF, ..."
Recording = Annotated[
    Path, Parameter(name="AUDIO", help=RECORDINGS, required=True, converter=recording_of)
]
"""One of `*audio`: unlike a list, it may stand behind options too."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, on what."""

    model: str | None = None
    """Model folder or name; by default the model that ships."""
    backend: Literal["auto", "onnx", "torch"] = "auto"
    """'auto': ONNX Runtime, or PyTorch where the folder has no graphs."""
    device: str = "auto"
    """'auto', 'cpu' or 'cuda'."""
    threads: int | None = None
    """CPU threads; by default as many as there are cores."""

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads is {self.threads}: it must be at least 1")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class HearingOptions:
    """What is known of the recordings and how they are decoded; what is left out is found."""

    language: str = "auto"
    """Spoken language, such as 'ar'; 'auto' finds it."""
    bandwidth: Literal["auto", "narrowband", "wideband"] = "auto"
    """'auto' measures it."""
    beam_size: int = 1
    """Hypotheses kept while decoding; 1 is greedy."""
    batch_size: int = 8
    """Stretches of audio decoded at once."""
    max_duration: float = 14400.0
    """Longest recording taken, in seconds of decoded audio."""
    channel: int | None = None
    """The one that is heard, from 0; all of them, mixed, by default."""

    def __post_init__(self) -> None:
        for name in ("beam_size", "batch_size"):
            value = getattr(self, name)
            if value < 1:
                option = name.replace("_", "-")
                raise UsageError(f"--{option} is {value}: it must be at least 1")
        if self.channel is not None and self.channel < 0:
            raise UsageError(f"--channel is {self.channel}: channels are counted from 0")
        if not 0 < self.max_duration < inf:
            raise UsageError(
                f"--max-duration is {self.max_duration:g}: it must be above 0 seconds, and finite"
            )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SpeechOptions(HearingOptions):
    """The same, where there may be a translation."""

    target_language: str | None = None
    """Language of the translation; by default the only one that the model has."""


MODEL = ModelOptions()
HEARING = HearingOptions()
SPEECH = SpeechOptions()


def transcriber_of(options: ModelOptions) -> "Transcriber":
    """The model that is asked for, ready."""
    from turnout.transcription.load import load

    return load(
        options.model, backend=options.backend, device=options.device, threads=options.threads
    )


def words_of(speech: HearingOptions) -> "Options":
    """The options as `Transcriber.transcribe` takes them."""
    options: Options = {
        "language": speech.language,
        "bandwidth": speech.bandwidth,
        "beam_size": speech.beam_size,
        "batch_size": speech.batch_size,
        "max_duration": speech.max_duration,
        "channel": speech.channel,
    }
    if isinstance(speech, SpeechOptions):
        options["target_language"] = speech.target_language
    return options
