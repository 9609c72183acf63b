"""`python -m turnout`, and the command `turnout`."""

import os
import sys

# Not `signal`, whose enumerations take longer to make than a quick Ctrl-C to come.
from _signal import (  # type: ignore[reportMissingImports]
    SIGINT,
    default_int_handler,
    getsignal,
    signal,
)

INTERRUPTED = 130


def main() -> int:
    """The command; its imports take a moment, in which it may be interrupted too."""
    # Whoever started it with Ctrl-C ignored, as a shell does in the background, wants it so.
    heeds = getsignal(SIGINT) is default_int_handler
    try:
        if heeds:
            signal(SIGINT, leave)
        from turnout.cli import main as command  # noqa: PLC0415

        if heeds:
            signal(SIGINT, default_int_handler)
        return command()
    except BaseException as error:
        if not is_interruption(error):
            raise
        return INTERRUPTED


def leave(_signal: int, _frame: object) -> None:
    """End at once: an exception may come out of an import, or of Python's own end, as another, or
    with a traceback. Nothing is half done there."""
    os._exit(INTERRUPTED)


def is_interruption(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: a C module that it stops gives an ImportError instead."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


if __name__ == "__main__":
    sys.exit(main())
