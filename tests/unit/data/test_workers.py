"""Processes that prepare data: in order, and never waited for without an end."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from turnout.data.workers import HELD, KILLED, Workers, death_noticed, new_processes
from turnout.errors import ConfigError, TrainingError


def make(asked: tuple[str, int]) -> int:
    """The double of a number, after what it says."""
    what, number = asked
    if what == "sleep":
        # As what stands still in a lock: deaf to whatever asks it to end.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(600)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "cannot":
        raise ConfigError(f"{number} cannot be made: give another")
    if what == "fail":
        raise RuntimeError("a fault of ours")
    if what == "held by who began me":
        status = Path(f"/proc/{os.getppid()}/status").read_text()
        mask = int(status.split("SigBlk:")[1].split()[0], 16)
        return sum(bool(mask & 1 << held - 1) for held in HELD)
    return 2 * number


SERVED = """
from tests.unit.data.test_workers import Workers, make, new_processes
some = Workers(make, 1, new_processes("forkserver"), 60.0)
print(*some.made([("held by who began me", 0)]))
some.close()
"""


def workers(patience: float = 60.0) -> "Workers[tuple[str, int], int]":
    return Workers(make, 2, new_processes("fork"), patience)


def numbers(what: Sequence[str]) -> list[tuple[str, int]]:
    return [(word, number) for number, word in enumerate(what)]


def test_a_worker_that_stands_still_is_named() -> None:
    before = set(multiprocessing.active_children())
    some = workers(patience=1.0)
    began = time.monotonic()
    with pytest.raises(TrainingError) as caught:
        list(some.made(numbers(["", "", "", "sleep"])))
    said = str(caught.value)
    assert "worker 1 of 2 has not prepared its batch (number 3 " in said
    assert "within 1 s" in said and "data.worker_timeout" in said and "\n" not in said
    del caught
    some.close()
    # Nobody waits for it any more, not even the end of the process.
    assert time.monotonic() - began < 10
    assert not set(multiprocessing.active_children()) - before


def test_results_come_in_order_call_after_call() -> None:
    some = workers()
    for count in (5, 0, 3):
        assert list(some.made(numbers([""] * count))) == [2 * n for n in range(count)]
    first = some.made(numbers([""] * 30))
    assert next(first) == 0
    assert list(some.made(numbers([""] * 2))) == [0, 2]
    with pytest.raises(AssertionError, match="made no more"):
        next(first)
    some.close()
    assert list(some.made(numbers([""]))) == [0]


def test_a_dead_worker_is_noticed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnout.data.workers.LOOK_EVERY", 0.5)
    before = set(multiprocessing.active_children())
    some = Workers(make, 2, new_processes("forkserver"), 300.0)
    began = time.monotonic()
    with pytest.raises(TrainingError) as caught, death_noticed(), closing(some):
        list(some.made(numbers(["", "die", ""])))
    assert str(caught.value) == KILLED
    assert time.monotonic() - began < 60
    # The other one as well, though the error holds what would tell it to end.
    assert not set(multiprocessing.active_children()) - before


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks into /proc")
def test_no_signal_ends_the_server_that_begins_workers() -> None:
    """Nor its workers with it, whose rank would finish its step: in a process that has none yet."""
    said = subprocess.run([sys.executable, "-c", SERVED], capture_output=True, check=True)
    assert int(said.stdout) == len(HELD)


def test_a_fault_in_a_worker_is_no_death() -> None:
    with pytest.raises(RuntimeError, match="a fault of ours"), death_noticed():
        list(workers().made(numbers(["fail"])))


def test_an_error_of_ours_is_told_as_it_was() -> None:
    """PyTorch would put the worker's traceback into its message."""
    some = workers()
    made = some.made(numbers(["", "cannot", ""]))
    assert next(made) == 0
    with pytest.raises(ConfigError) as caught:
        next(made)
    assert str(caught.value) == "1 cannot be made: give another"
    assert list(some.made(numbers(["", ""]))) == [0, 2]
    some.close()
