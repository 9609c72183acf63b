"""The command: its verbs, words in, exit status out, one line for every mistake.

Each verb's file is imported when the verb is used, so that help answers at once.
"""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from cyclopts import App, CycloptsError, UnusedCliTokensError

from turnout.cli.options import PLAIN, refuse_fractions
from turnout.cli.terminal import complain, open_closed_streams, settle_encoding
from turnout.errors import Cancelled, MissingExtra, TurnoutError, UsageError

VERBS = {
    "transcribe": "Write down what is said in recordings, or its translation.",
    "prepare": "Turn a corpus into cuts to train on, and say what it holds.",
    "synthesize": "Speak sentences through many voices into a corpus.",
    "shard": "Put cuts into tar shards that are read as a stream, from anywhere.",
    "label": "Write labels for speech that has none, to train on, and say what was dropped.",
    "plan": "Say what a training run will take: memory, steps, days, traffic, disk.",
    "train": "Train a model; stopped and started again, a run goes on.",
    "evaluate": "Score a model: WER, CER, BLEU, chrF by bandwidth, task, language.",
    "inspect": "Show which expert each frame of a recording took.",
    "convert": "Turn a Whisper checkpoint into a model folder.",
    "upcycle": "Turn a dense model into one with experts that does just the same.",
    "specialise": "Cut one path out of a model with experts: small, and equal to the bit.",
    "adapter": "Write what was trained as its difference from the model that it began with.",
    "models": "List the models that ship and those in the cache, or remove one.",
    "export": "Write a model folder's ONNX graphs, checked against PyTorch.",
    "serve": "Serve models over HTTP, as OpenAI's audio API, with a page for people.",
}
"""Verb (a function of the file of its name, or of `corpora`) -> its line in the help."""
# The others need an extra.
RUNTIME_VERBS = (
    "transcribe", "shard", "plan", "convert", "upcycle", "specialise", "adapter", "models",
)  # fmt: skip
APPS = ("plan", "train", "upcycle")
"""Apps of their own, since they alone read more than the command line."""
WORKSHOP_MODULES = (
    "torch", "lightning_fabric", "lhotse", "jiwer", "sacrebleu", "pyarrow",
    "whisper_normalizer", "matplotlib", "tensorboard", "onnxscript", "jaxtyping",
)  # fmt: skip
SERVER_MODULES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "websockets")
EXTRAS = {"serve": ("serve", SERVER_MODULES)}
"""Of verbs that need another extra than `train`."""
INTERRUPTED = 130
BROKEN_PIPE = 141
STDIN = "/dev/stdin"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. 0: done; 1: some inputs failed, or the work could not go on; 2: unusable
    arguments; 130: interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    open_closed_streams()
    settle_encoding()
    try:
        return _flushed(_run(build_app(), named_stdin(words)))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone
        _drop_output()
        return BROKEN_PIPE


def _flushed(status: int) -> int:
    """The exit status of a verb that ended with `status`, once what it printed is written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:  # the disk is full
        _drop_output()
        if not status:  # else it has been said
            complain(f"error: {error.strerror or error}")
        return status or TurnoutError.exit_status
    return status


def _drop_output() -> None:
    """Python's own flush at exit must not find what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_app() -> App:
    """The command with all its verbs."""
    app = App(
        name="turnout",
        help="Speech to text with routed experts.",
        help_format="plaintext",
        config=refuse_fractions,
        suppress_keyboard_interrupt=False,
        default_parameter=PLAIN,
    )
    for position, (verb, line) in enumerate(VERBS.items()):
        # A name is imported on use.
        file = "corpora" if verb in ("prepare", "synthesize") else verb
        name = f"turnout.cli.{file}:{'app' if verb in APPS else verb}"
        app.command(name, name=verb, help=line, sort_key=position)
    return app


def require_extra(words: Sequence[str]) -> None:
    """Raise MissingExtra where `words` ask for a verb whose packages are not installed.

    Asked before a verb's arguments are looked at; nothing is imported, and help never needs it.
    """
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb not in VERBS or verb in RUNTIME_VERBS or {"--help", "-h"}.intersection(words):
        return
    extra, modules = EXTRAS.get(verb, ("train", WORKSHOP_MODULES))
    if any(find_spec(module) is None for module in modules):
        raise MissingExtra(f"'turnout {verb}'", extra)


def named_stdin(words: list[str]) -> list[str]:
    """The words of a verb that hears, with `-`, which the parser takes for an option, as a path."""
    if words[:1] not in (["transcribe"], ["inspect"]):
        return words
    return [STDIN if word == "-" else word for word in words]


def _run(app: App, words: list[str]) -> int:
    try:
        require_extra(words)
        result = app(words, print_error=False, exit_on_error=False, result_action="return_value")
        return result if isinstance(result, int) else 0
    except Cancelled:  # by Ctrl-C: what was heard is there
        return INTERRUPTED
    except TurnoutError as error:
        message, status = str(error), error.exit_status
    except CycloptsError as error:
        message, status = _words_of(error), UsageError.exit_status
    except BrokenPipeError:
        raise
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        message, status = f"{name}{error.strerror or error}", TurnoutError.exit_status
    except MemoryError:
        message = "out of memory: smaller batches need less (--batch-size, data.batch_seconds)"
        status = TurnoutError.exit_status
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
