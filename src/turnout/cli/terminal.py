"""What the command line says: text to stdout, errors and progress to stderr, files whole or not.

Knows no verb.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from turnout.errors import StorageError

if TYPE_CHECKING:
    from rich.console import RenderableType

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


def one_line(text: str) -> str:
    """The text with control characters escaped: a file's name must not write to the terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "replace").decode()
        for letter in text
    )


def forgive_encoding() -> None:
    """Let letters that the terminal cannot show become escapes, not errors."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all, folders included; raises StorageError."""
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
