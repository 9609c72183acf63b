"""Keeps what C libraries write to stderr from the user."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def hushed_libraries() -> Iterator[None]:
    """Drop what libraries write to the process's stderr; what Python writes is still shown.

    An MP3 decoder complains there of every damaged frame, beside the one line that turnout says.
    """
    original = sys.stderr
    if not _is_of_process(original):
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


def _is_of_process(stream: TextIO) -> bool:
    """Whether this is the process's own stderr, not what a caller put in its place."""
    try:
        return stream.fileno() == 2
    except (AttributeError, OSError):
        return False
