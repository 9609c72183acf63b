"""What the command line says: text to stdout, errors and progress to stderr, files whole or not.

Knows no verb.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from turnout.errors import TurnoutError
from turnout.progress import progress

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")
WIDE = 220
"""Columns of a table that is written to a file or a pipe."""


def say(text: str) -> None:
    """A line on stdout."""
    sys.stdout.write(text + "\n")


def show(renderable: "RenderableType") -> None:
    """A table on stdout; where that is no terminal, wide enough that nothing is cut or folded."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print(renderable, highlight=False)


def note(text: str) -> None:
    """A line of progress on stderr."""
    sys.stderr.write(one_line(text) + "\n")


def complain(text: str) -> None:
    """A line on stderr that says what went wrong, or nearly."""
    note(f"turnout: {text}")


def write_each(
    audio: Sequence[Path],
    results: Iterable[T | TurnoutError],
    what: str,
    write: Callable[[Path, T], None],
) -> int:
    """Write what each recording gave, complain of those that failed, and return the exit status:
    0 without failures; 1 where some inputs failed; 2 where all did, for how they were asked."""
    failures: list[TurnoutError] = []
    for path, result in zip(audio, progress(results, what, len(audio)), strict=True):
        try:
            if isinstance(result, TurnoutError):
                raise result
            write(path, result)
        except TurnoutError as error:
            # What could not be written names its own file; a recording's name may be missing.
            named = error is not result or str(path) in str(error)
            complain(f"error: {error}" if named else f"error: {path}: {error}")
            failures.append(error)
    if failures and len(failures) == len(audio):
        return max(error.exit_status for error in failures)
    return int(bool(failures))


def one_line(text: str) -> str:
    """The text with control characters escaped: a file's name must not write to the terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "replace").decode()
        for letter in text
    )


def open_closed_streams() -> None:
    """Let what goes to a stream that was closed (`>&-`) go nowhere.

    Python has None in its place, and the next file that is opened would take its number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def forgive_encoding() -> None:
    """Let letters that the terminal cannot show become escapes, not errors."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


@contextmanager
def hushed_libraries() -> Iterator[None]:
    """Drop what libraries write to the process's stderr; what Python writes is still shown.

    An MP3 decoder complains there of every damaged frame, beside the one line that turnout says.
    """
    original = sys.stderr
    try:
        own = original.fileno() == 2
    except (AttributeError, OSError):
        own = False
    if not own:  # a caller put something in its place
        yield
        return
    original.flush()
    shown = os.fdopen(os.dup(2), "w", 1, original.encoding, original.errors)
    with shown, Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = shown
        try:
            yield
        finally:
            sys.stderr = original
            shown.flush()
            os.dup2(shown.fileno(), 2)
