"""The command line's door: words in, exit status out, one line for every mistake."""

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, UnusedCliTokensError

from turnout.cli.app import build_app
from turnout.cli.extra import require_extra
from turnout.cli.terminal import complain, forgive_encoding, open_closed_streams
from turnout.errors import TurnoutError, UsageError

INTERRUPTED = 130
BROKEN_PIPE = 141
STDIN = "/dev/stdin"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. 0: done; 1: some inputs failed, or the work could not go on; 2: unusable
    arguments; 130: interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    open_closed_streams()
    forgive_encoding()
    try:
        status = _run(build_app(), named_stdin(words))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; Python's own flush at exit must not find the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return status


def named_stdin(words: list[str]) -> list[str]:
    """The words of `transcribe` with `-`, which the parser takes for an option, as a path."""
    if words[:1] != ["transcribe"]:
        return words
    return [STDIN if word == "-" else word for word in words]


def _run(app: App, words: list[str]) -> int:
    try:
        require_extra(words)
        result = app(words, print_error=False, exit_on_error=False, result_action="return_value")
    except TurnoutError as error:
        return _fail(str(error), error.exit_status)
    except CycloptsError as error:
        return _fail(_words_of(error), UsageError.exit_status)
    except BrokenPipeError:
        raise
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        return _fail(f"{name}{error.strerror or error}", TurnoutError.exit_status)
    except MemoryError:
        return _fail("out of memory: a smaller --batch-size needs less", TurnoutError.exit_status)
    return result if isinstance(result, int) else 0


def _fail(message: str, status: int) -> int:
    complain(f"error: {message}")
    return status


def _words_of(error: CycloptsError) -> str:
    """The parser's message as one line, with the option and the file that it comes from."""
    error.verbose = False
    if isinstance(error, UnusedCliTokensError):
        return f"unexpected: {' '.join(error.unused_tokens or ())} (see --help)"
    message = " ".join(str(error).split())
    if error.argument is None:
        return message
    tokens = error.argument.tokens
    source = next((token.source for token in tokens if token.source not in ("", "cli")), "")
    if message.startswith("Incorrect number"):
        message = f"{error.argument.name}: {message}"
    return f"{message} (in {source})" if source and source not in message else message
