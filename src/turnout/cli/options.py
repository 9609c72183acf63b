"""What the arguments of several verbs share, and what is checked of them before any work."""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from cyclopts import App, Parameter, Token
from cyclopts.argument import ArgumentCollection

from turnout.cli.terminal import note
from turnout.errors import StorageError, TurnoutError, UsageError

if TYPE_CHECKING:
    from turnout.transcription.transcriber import Transcriber


def recording_of(_kind: type, tokens: Sequence[Token]) -> Path:
    """A recording's path; an empty one would be the current folder."""
    if not tokens[0].value:
        raise UsageError("the name of a recording is empty: give its path")
    return Path(tokens[0].value)


def as_typed(value: Any) -> str | None:
    """A default as one would type it; None, which help leaves out, for what is empty."""
    if isinstance(value, list | tuple):
        return " ".join(filter(None, map(as_typed, value))) or None
    if isinstance(value, Enum):
        return value.name.lower().replace("_", "-")  # as the choices are shown
    return None if value is None else str(value) or '""'


PLAIN = Parameter(negative_iterable=(), show_default=as_typed)
"""Of all options: without the first every list gets an option `--empty-...`."""
T = TypeVar("T")
RECORDINGS = "Recordings: WAV, FLAC, OGG, MP3, AIFF, ... '-' is stdin."
RecordingPath = Annotated[
    Path, Parameter(name="AUDIO", help=RECORDINGS, required=True, converter=recording_of)
]
"""One of `*audio`: unlike a list, it may stand behind options too."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, on what."""

    model: str | None = None
    """Folder, name (whisper-base) or hf://owner/name[@revision]; by default the model that ships.
    What is not there is fetched, once."""
    adapter: tuple[str, ...] = ()
    """Folder of an adapter of that model, or the name of one that ships; may be given again."""
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
    # Here, not above: ONNX Runtime takes longer to import than help to answer.
    from turnout.transcription.transcriber import load

    return load(
        options.model,
        adapters=options.adapter,
        backend=options.backend,
        device=options.device,
        threads=options.threads,
        say=note,
    )


def refuse_fractions(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Raise UsageError where an option that counts something is given a fraction, which the parser
    would round without a word."""
    for argument in arguments:
        if not counts(argument.hint):
            continue
        for token in argument.tokens:
            # What is no number at all is the parser's to refuse.
            with suppress(ValueError):
                if "." in token.value and not float(token.value).is_integer():
                    raise UsageError(f"{argument.name} is {token.value}: it must be a whole number")


def given(arguments: ArgumentCollection, name: str) -> str | None:
    """The option's last value so far."""
    found = (argument.tokens for argument in arguments if argument.name == name)
    return next((tokens[-1].value for tokens in found if tokens), None)


def counts(hint: Any) -> bool:
    """Whether whole numbers are the only numbers of a type."""
    # Two levels deep, for `int | None` and `tuple[tuple[float, int], ...]` alike.
    kinds = {kind for inner in get_args(hint) for kind in (inner, *get_args(inner))} or {hint}
    return int in kinds and float not in kinds


def check_targets(
    audio: Sequence[Path], folder: Path, endings: Sequence[str], more: Sequence[str] = ()
) -> None:
    """Raise UsageError where `folder`, or one above it, is a file, where two recordings would be
    written to one file, or where a recording would be written over: before any work is lost.

    A recording is written to its stem with each of `endings`, all of them together to `more`.
    """
    if not endings:
        return
    place = existing(folder)
    if not place.is_dir():
        raise UsageError(f"{place} is a file: a folder is needed")
    if too_long(folder / "-"):
        raise UsageError(f"{folder}: is too long for the file system: choose a shorter folder")
    owners: dict[Path, Path] = {}
    for path in audio:
        for ending in endings:
            target = folder / f"{path.stem}{ending}"
            if target in owners:
                raise UsageError(
                    f"{owners[target]} and {path} would both be written to {target}: "
                    "rename one, or run them apart"
                )
            owners[target] = path
    recordings = set(identities(audio))
    for target in (*owners, *(folder / name for name in more)):
        if any(found in recordings for found in identities([target])):
            raise UsageError(
                f"{target} is one of the recordings and would be written over: choose another "
                "folder with -o"
            )


def unnameable(
    audio: Sequence[Path], folder: Path, endings: Sequence[str]
) -> dict[Path, StorageError]:
    """The recordings of whose files one would have a name that is too long, each with its error:
    found before it is decoded, while the others go on."""
    return {
        path: StorageError(
            f"{path}: the name of its '{ending}' file would be too long for the file system: "
            "rename the recording, or choose a shorter folder with -o"
        )
        for path in audio
        for ending in endings
        if too_long(folder / f"{path.stem}{ending}")
    }


def without(refused: Mapping[Path, StorageError], audio: Sequence[Path]) -> list[Path]:
    """The recordings that are taken."""
    return [path for path in audio if path not in refused]


def with_refused(
    audio: Sequence[Path], refused: Mapping[Path, StorageError], results: Iterable[T | TurnoutError]
) -> Iterator[T | TurnoutError]:
    """The results, with the errors in their places, in the order of the recordings."""
    found = iter(results)
    for path in audio:
        yield refused[path] if path in refused else next(found)
    yield from found  # no result more, but perhaps what ended them


def existing(path: Path) -> Path:
    """The path, or what there is of it."""
    # Unlike pathlib's, it takes a name that is too long for one that is not there.
    return next((place for place in (path, *path.parents) if os.path.exists(place)), Path())  # noqa: PTH110


def too_long(path: Path) -> bool:
    """Whether the file system takes no such name, or its partial file's, even once what lacks of
    the folders above it is there."""
    place = existing(path)
    parts = path.relative_to(place).parts
    from turnout.files import partial_of  # help and bad words need no files

    return any(map(refuses_length, (path, partial_of(path), *(place / part for part in parts))))


def refuses_length(path: Path) -> bool:
    """Whether the file system, which is asked, finds a name or a path too long."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def identities(paths: Sequence[Path]) -> Iterator[tuple[int, int]]:
    """What tells files apart, whatever they are called; of those that there are."""
    for path in paths:
        # A name that cannot be looked up is said to be none where it is opened.
        with suppress(OSError, ValueError):
            found = path.stat()
            yield found.st_dev, found.st_ino
