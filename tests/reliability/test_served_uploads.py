"""T9 and T10 as a server meets them: hostile uploads cost a child at most, and never the server."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.containers import encode
from tests.reliability.bombs import BOMBS, Bomb
from tests.reliability.examples import speech
from tests.reliability.reading_child import resident_mb
from tests.reliability.seeds import FAMILIES
from tests.reliability.tally import Tally
from tests.reliability.test_mutated_files import damaged_file
from turnout.config import TranscriptionOptions
from turnout.config.serving import ServingConfig
from turnout.errors import AudioError, TurnoutError
from turnout.serving.readers import Readers
from turnout.serving.reading import opened_file

SMALL_LIMIT, FULL_LIMIT = 60, 600
"""Seconds of sound that are taken of a bomb."""
MOST_MB = 64.0
"""By which the server's own memory may grow."""
GOOD_EVERY = 10
AT_ONCE = 32


@contextmanager
def reading() -> Iterator[Readers]:
    """The process that decodes uploads."""
    readers = Readers(ServingConfig())
    readers.start()
    try:
        yield readers
    finally:
        readers.close()


def read(readers: Readers, path: Path, limit: float = FULL_LIMIT) -> tuple[int, str]:
    """How many samples there are, and why no more; anything but an AudioError is a failed
    assertion."""
    found, options = 0, TranscriptionOptions(max_duration=limit)
    upload = readers.open(opened_file(path, "upload"), "upload", options)
    try:
        for block in upload.recording(limit).blocks():
            found += len(block)
    except AudioError as error:
        assert str(error).startswith("upload: "), str(error)
        assert "\n" not in str(error), "the refusal has several lines"
        return found, error.reason
    except TurnoutError as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error
    finally:
        upload.close()
    assert found, "no sample, and yet not refused"
    return found, ""


@pytest.mark.counts("T9", "uploads")
@pytest.mark.parametrize("family", FAMILIES)
def test_damaged_uploads_are_read_or_refused(tally: Tally, family: str, tmp_path: Path) -> None:
    good = tmp_path / "good.wav"
    good.write_bytes(encode(*speech()))
    outcomes: Counter[str] = Counter()
    with reading() as readers:
        wanted = read(readers, good)
        process = readers._process
        before = resident_mb()
        for number in range(tally.size(4, 200)):
            path = damaged_file(tmp_path, f"{number:04}", FAMILIES[family], tally.random(number))
            with tally.trial(path.name):
                _, why = read(readers, path)
                outcomes["refused" if why else "read"] += 1
                outcomes["ended by its bounds"] += "or took more than" in why
            path.unlink()
            if number % GOOD_EVERY == 0:
                with tally.trial(f"the good one after {number}"):
                    assert read(readers, good) == wanted
        with tally.trial("the server's memory"):
            growth = resident_mb() - before
            assert growth <= MOST_MB, f"it grew by {growth:.0f} MB"
        with tally.trial("the process that forks"):
            assert readers._process is process, "it was started again"
    tally.measure(**outcomes)


def check(bomb: Bomb, found: tuple[int, str], limit: float) -> None:
    """What became of it is what must."""
    samples, why = found
    stopped = "longer than the allowed" in why
    outcome = "stopped" if stopped else "refused" if why else "read"
    assert outcome == bomb.outcome, f"{outcome}: {why}"
    seconds = samples / 16_000
    wanted = bomb.seconds if outcome == "read" else limit
    assert seconds <= wanted + 0.001, f"{seconds} s were read"


@pytest.mark.skipif(find_spec("av") is None, reason="PyAV makes some of them")
@pytest.mark.counts("T10", "uploads")
def test_bombs_end_a_child_at_most(tally: Tally, tmp_path: Path) -> None:
    good = tmp_path / "good.wav"
    good.write_bytes(encode(*speech()))
    bombs = dict(list(BOMBS.items())[:: tally.size(4, 1)])
    limit = tally.size(SMALL_LIMIT, FULL_LIMIT)
    files = {}
    for number, (name, bomb) in enumerate(bombs.items()):
        files[name] = tmp_path / f"bomb{number}{bomb.ending}"
        files[name].write_bytes(bomb.make())
    slowest: dict[str, float] = {}
    with reading() as readers:
        wanted = read(readers, good)
        process, before = readers._process, resident_mb()
        for name, bomb in bombs.items():
            with tally.trial(name):
                began = time.monotonic()
                found = read(readers, files[name], limit)
                slowest[name] = round(time.monotonic() - began, 2)
                check(bomb, found, limit)
        names = list(bombs)
        at_once = [names[i % len(names)] for i in range(tally.size(4, AT_ONCE))]
        with ThreadPoolExecutor(len(at_once)) as pool:
            answers = list(pool.map(lambda name: read(readers, files[name], limit), at_once))
        for name, found in zip(at_once, answers, strict=True):
            with tally.trial(f"{name}, among others"):
                check(bombs[name], found, limit)
        with tally.trial("the good one"):
            assert read(readers, good) == wanted
        with tally.trial("the server"):
            growth = resident_mb() - before
            assert growth <= MOST_MB, f"it grew by {growth:.0f} MB"
            assert readers._process is process, "the process that forks was started again"
    tally.measure(seconds=slowest, server_growth_mb=round(growth, 1))
    hour = next(iter(bombs))
    tally.controlled(an_hour_is_seen(bombs[hour], files[hour], limit))


def an_hour_is_seen(bomb: Bomb, path: Path, limit: float) -> bool:
    """The negative control: the same hour, and twice the limit to what is taken."""
    with reading() as readers:
        found = read(readers, path, 2 * limit)
    try:
        check(bomb, found, limit)
    except AssertionError:
        return True
    return False
