"""The tree of errors: all of it crosses processes, as a worker of many recordings needs."""

import copy
import pickle
from collections.abc import Iterator

import pytest

from turnout import errors
from turnout.errors import AudioError, Busy, ManifestError, MissingExtra, RunStopped, TurnoutError

ARGUMENTS: dict[type[TurnoutError], tuple[object, ...]] = {
    MissingExtra: ("'turnout train'", "train"),
    AudioError: ("a.wav", "no samples at all"),
    ManifestError: ("a.jsonl", 3, "text", "is 5: a word is needed"),
    RunStopped: ("stopped at step 5", 15),
    Busy: ("no place is free", 7),
    TurnoutError: ("it broke",),
}
"""Of the constructors; a class without its own takes its base's."""


def tree(kind: type[TurnoutError] = TurnoutError) -> Iterator[type[TurnoutError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


KINDS = sorted(set(tree()), key=lambda kind: kind.__name__)


def made(kind: type[TurnoutError]) -> TurnoutError:
    return kind(*next(ARGUMENTS[base] for base in kind.__mro__ if base in ARGUMENTS))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_crosses_processes_with_its_attributes(kind: type[TurnoutError]) -> None:
    error = made(kind)
    error.add_note("seen on rank 1")
    ways = [pickle.loads(pickle.dumps(error, number)) for number in range(6)]
    for there in (*ways, copy.copy(error)):
        assert type(there) is kind
        assert (str(there), there.exit_status) == (str(error), error.exit_status)
        assert vars(there) == vars(error)


def test_every_error_stands_in_the_tree_that_is_drawn() -> None:
    assert errors.__doc__ is not None
    drawn = {word for word in errors.__doc__.split() if word[0].isupper()}
    assert {kind.__name__ for kind in KINDS} <= drawn
