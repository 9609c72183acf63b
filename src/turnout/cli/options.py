"""Options that several verbs share, as dataclasses whose docstrings are the help."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, Token

from turnout.errors import UsageError

if TYPE_CHECKING:
    from turnout.transcription.transcriber import Transcriber


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


MODEL = ModelOptions()


def transcriber_of(options: ModelOptions) -> "Transcriber":
    """The model that is asked for, ready."""
    from turnout.transcription.transcriber import load

    return load(
        options.model, backend=options.backend, device=options.device, threads=options.threads
    )
