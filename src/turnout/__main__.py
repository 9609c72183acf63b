"""`python -m turnout`, and the command `turnout`."""

import sys

INTERRUPTED = 130


def main() -> int:
    """The command; its imports take a moment, in which it may be interrupted too."""
    try:
        from turnout.cli import main as command  # noqa: PLC0415

        return command()
    except BaseException as error:
        if not is_interruption(error):
            raise
        return INTERRUPTED


def is_interruption(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: a C module that it stops gives an ImportError instead."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


if __name__ == "__main__":
    sys.exit(main())
