"""What the command line says: text to stdout, errors and progress to stderr, files whole or not.

Knows no verb.
"""

import codecs
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from turnout.errors import TurnoutError, one_line
from turnout.progress import progress

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")
WIDE = 220
"""Columns of a table that is written to a file or a pipe."""
ESCAPED = "turnout.escaped"
ANY_LETTERS = "é\u0641\u4e2d\U0001f600"
"""Such as hardly any encoding but Unicode's has together."""


def say(text: str) -> None:
    """A line on stdout."""
    sys.stdout.write(one_line(text) + "\n")


def say_text(head: str, text: str) -> None:
    """A recording's text on stdout, in one line; marks that only direct letters are part of it."""
    from turnout.text.writers import row  # what has no text to say starts sooner

    sys.stdout.write(one_line(head) + row(text) + "\n")


def show(renderable: "RenderableType") -> None:
    """A table on stdout; where that is no terminal, wide enough that nothing is cut or folded."""
    from rich.console import Console
    from rich.segment import Segment, Segments

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    # Its words come from corpora, and are escaped once they have their places: only line ends stay.
    parts = console.render(renderable, console.options.update(highlight=False))
    safe = [
        Segment("\n".join(map(one_line, part.text.split("\n"))), part.style)
        for part in parts
        if not part.control
    ]
    console.print(Segments(safe), end="", soft_wrap=True)


def note(text: str) -> None:
    """A line of progress on stderr."""
    sys.stderr.write(one_line(text) + "\n")


def complain(text: str) -> None:
    """A line on stderr that says what went wrong, or nearly."""
    note(f"turnout: {text}")


def warn(path: Path, warnings: Iterable[str]) -> None:
    """A line on stderr for each thing that is amiss with a recording that was taken."""
    for warning in warnings:
        complain(f"warning: {path}: {warning}")


def write_each(
    audio: Sequence[Path],
    results: Iterable[T | TurnoutError],
    what: str,
    write: Callable[[Path, T], None],
) -> int:
    """Write what each recording gave, complain of those that failed, and return the exit status:
    0 without failures; 1 where some inputs failed; 2 where all did, for how they were asked."""
    failures: list[TurnoutError] = []
    with hushed_libraries():
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


def open_closed_streams() -> None:
    """Let what goes to a stream that was closed (`>&-`) go nowhere.

    Python has None in its place, and the next file that is opened would take its number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def settle_encoding() -> None:
    """Let no letter be an error: what is piped or redirected is UTF-8, as files are; a terminal
    shows escapes for letters that its encoding lacks, which is said once."""
    missing: list[str] = []

    def escaped(error: UnicodeError) -> tuple[str | bytes, int]:
        if not missing:
            missing.append(sys.stdout.encoding)
            complain(
                f"warning: letters that this terminal's encoding, {sys.stdout.encoding}, lacks are "
                "shown as escapes: write files with -o, or set PYTHONIOENCODING=utf-8"
            )
        return codecs.backslashreplace_errors(error)

    codecs.register_error(ESCAPED, escaped)
    logging.lastResort.setFormatter(OneLine())  # type: ignore[union-attr]
    for stream, errors in ((sys.stdout, ESCAPED), (sys.stderr, "backslashreplace")):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is None:  # a caller put something in its place
            continue
        reconfigure(errors=errors)
        if stream is sys.stdout and not stream.isatty() and lacks_letters(stream.encoding):
            reconfigure(encoding="utf-8")


class OneLine(logging.Formatter):
    """Lines of the log, which may name files."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return one_line(super().format(record))


def lacks_letters(encoding: str) -> bool:
    """Whether there are letters that it cannot write."""
    try:
        ANY_LETTERS.encode(encoding)
    except UnicodeEncodeError:
        return True
    return False


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """What tells whether Ctrl-C was pressed, so that what is there can be kept; pressed once more,
    it interrupts at once."""
    import signal

    pressed: list[int] = []

    def remember(number: int, _frame: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    # Who ignores it, as a shell does in the background, or heeds it himself, goes on doing so.
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
