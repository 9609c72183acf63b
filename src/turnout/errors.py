"""Everything turnout raises on purpose.

::

    TurnoutError
    ├── UsageError             unusable arguments: a word, an option, a combination (exit status 2)
    │   ├── ConfigError        a configuration that cannot be: unknown key, bad value, changed since
    │   ├── GuidanceError      a task or language the model does not have, or that must be said
    │   └── MissingExtra       the verb or file needs a package that is not installed
    ├── AudioError             one recording cannot be taken (the others go on; exit status 1)
    │   └── AudioTooLong       it decodes to more than the allowed duration
    ├── ManifestError          a line of a manifest is wrong: file, line and field are named
    │   └── MissingManifest    it is not there: a UsageError as well (exit status 2)
    ├── ModelFolderError       a model folder is incomplete, damaged or of another version
    │   └── MissingModel       it is not there: a UsageError as well (exit status 2)
    ├── FetchError             a model cannot be had from the Hugging Face hub
    ├── ShardError             a shard, or what lies in it, cannot be used (the others go on)
    ├── CheckpointError        no usable checkpoint, or one of another run
    ├── TrainingError          a run cannot go on: no data, or a loss that is not finite
    ├── RunStopped             a run was asked to stop and saved itself (exit status 128 + signal)
    ├── ExportError            the graphs do not give what the model gives
    ├── StorageError           a file cannot be written: no space, no permission
    ├── Cancelled              the caller asked for the work to stop
    └── ServingError           a server cannot take a request, or not finish it
        ├── UnknownModel       none of that name is served: a UsageError as well
        ├── ModelUnavailable   one that is served cannot be loaded: the operator's to mend
        ├── Busy               no place is free: later there will be
        ├── Stopping           the server is being stopped
        ├── TookTooLong        a request did not come to its end in the time allowed
        └── EngineError        a request made the model fail, or the process that reads it

Every message is one line that says what was given, what is accepted, and what to do.
"""

from collections.abc import Mapping
from copyreg import __newobj__  # type: ignore[attr-defined]
from typing import Any

LONGEST_SHOWN = 80
"""Characters of a value in a message: a small file may hold a very long one."""


def shown(value: object) -> str:
    """A value of the user's as a message shows it, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, lists without end
        return f"a very long {type(value).__name__}"
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def repeated(lines: Mapping[str, int], what: str) -> list[str]:
    """Lines, each once; behind those that hold for several of `what` it is said how many."""
    return [line if count == 1 else f"{line} ({count:,} {what})" for line, count in lines.items()]


def amount(count: int, what: str) -> str:
    """'1 utterance', '2,000 utterances'."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def one_line(text: str) -> str:
    """The text with what a terminal would obey, or not show, escaped: a file's name may hold line
    ends, colours, and marks that turn the order of letters round."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "replace").decode()
        for letter in text
    )


class TurnoutError(Exception):
    """Base of all errors that turnout raises on purpose; `exit_status` is the command line's."""

    exit_status = 1

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle would call the class with the finished message, where some classes want its parts:
        # this makes the object without calling it, as pickle itself does of other objects.
        return __newobj__, (type(self), *self.args), self.__dict__


class UsageError(TurnoutError):
    """The arguments cannot be used as given."""

    exit_status = 2


class ConfigError(UsageError):
    """A configuration holds an unknown key, an impossible value, or changed since the run began."""


class GuidanceError(UsageError):
    """A task, language or bandwidth that the model does not have, or that has to be said."""


class MissingExtra(UsageError):
    """A package of one of turnout's extras is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': pip install 'turnout[{extra}]'")
        self.what = what
        self.extra = extra


class AudioError(TurnoutError):
    """One recording cannot be taken; the message begins with its name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class AudioTooLong(AudioError):
    """A recording decodes to more audio than is allowed."""


class ManifestError(TurnoutError):
    """A line of a manifest cannot be used; the message cites file, line and field."""

    def __init__(self, file: str, line: int | None, field: str | None, reason: str) -> None:
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: field '{field}': {reason}" if field else f"{place}: {reason}")
        self.file = file
        self.line = line
        self.field = field
        self.reason = reason


class MissingManifest(ManifestError, UsageError):
    """A manifest, cuts or a grammar that was named is not there."""


class ModelFolderError(TurnoutError):
    """A model folder is missing, incomplete, damaged or of a version this turnout cannot read."""


class MissingModel(ModelFolderError, UsageError):
    """No model has the name, and no folder the path, that was given."""


class FetchError(TurnoutError):
    """A model is not in the cache, and cannot be had from the Hugging Face hub."""


class ShardError(TurnoutError):
    """A manifest of shards, a shard or utterances in it cannot be used; `lost` says how many, and
    `silent` whether the store would give no more of the shard either."""

    def __init__(self, message: str, lost: int = 0, *, silent: bool = False) -> None:
        super().__init__(message)
        self.lost = lost
        self.silent = silent


class CheckpointError(TurnoutError):
    """There is no usable checkpoint, or it belongs to another run."""


class TrainingError(TurnoutError):
    """A run cannot go on."""


class RunStopped(TurnoutError):
    """A run was asked to stop and saved a checkpoint; the same command goes on from there."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal_number


class ExportError(TurnoutError):
    """Exported graphs do not give the model's own log-probabilities."""


class StorageError(TurnoutError):
    """A file cannot be written: no space left, no permission."""


class Cancelled(TurnoutError):
    """The caller asked for the work to stop."""


class ServingError(TurnoutError):
    """A server cannot take a request, or not finish it."""


class UnknownModel(ServingError, UsageError):
    """No model of that name is served here."""


class ModelUnavailable(ServingError):
    """A model that is served cannot be loaded, whoever asks for it: the operator's to mend."""


class Busy(ServingError):
    """No place is free; `retry_after` says in how many seconds one may be."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Stopping(ServingError):
    """The server is being stopped: it takes nothing new, and could not finish this."""


class TookTooLong(ServingError):
    """A request did not come to its end in the time that is allowed."""


class EngineError(ServingError):
    """A request made the model fail, which the operator finds in the log."""
