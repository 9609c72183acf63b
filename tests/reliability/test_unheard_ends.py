"""T1: a rank that ends without a word to those that wait for it: they end too, each with a line."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from tests.reliability.corpus import config_of, write_corpus
from tests.reliability.runs import start, steps_of
from tests.reliability.tally import Tally
from turnout.training import neighbours
from turnout.training.distributed import Ranks
from turnout.training.neighbours import Neighbours

SECONDS = 60.0
STANDS_STILL = 12
"""How often a rank gives its word before it does: within the first steps."""

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no handles of processes")


def stands_still() -> None:
    """For a rank: neither sums any more nor closes a connection, as a message cut in its midst."""
    before, given = Ranks.largest, [0]

    def largest(self: Ranks, value: int) -> int:
        given[0] += 1
        if given[0] == STANDS_STILL:
            os.kill(os.getpid(), signal.SIGSTOP)
        return before(self, value)

    Ranks.largest = largest


def takes_it_for_ended() -> None:
    """For a rank: the handle of the one that stands still is that of a process that has ended."""
    neighbours.LOOK_EVERY = timedelta(seconds=1)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    handle = os.pidfd_open(ended.pid)
    before, found = Neighbours.of, []

    def of(names: list[str]) -> Neighbours:
        found.extend(before(names).handles)
        return Neighbours(dict.fromkeys(found, handle))

    Neighbours.of = of  # type: ignore[method-assign]


@pytest.mark.counts("T1", "an end that nobody hears of")
def test_a_rank_ends_with_the_one_that_it_waits_for(tally: Tally, tmp_path: Path) -> None:
    config = config_of(write_corpus(tmp_path / "corpus", 24), max_steps=400)
    before = {0: takes_it_for_ended, 1: stands_still}
    with tally.trial("rank 1"), start(config, tmp_path / "run", ranks=2, before=before) as running:
        assert running.processes[0].join(SECONDS) is None
        status = running.processes[0].exitcode
        assert status == 1, f"exit status {status}: {running.where(0)}"
        said = running.stderr(0)
        assert "the other ranks cannot be reached (rank 1 has ended)" in said
        assert "Traceback" not in said
        assert steps_of(tmp_path / "run") < config.max_steps


def test_the_end_of_a_process_is_seen_before_anybody_asked_for_its_status() -> None:
    here = Neighbours.own_name()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    names = [here, f"{here.rpartition(' ')[0]} {process.pid}", "elsewhere 1 7", ""]
    found = Neighbours.of(names)
    assert found.handles.keys() == {1}
    assert not found.ended()
    process.kill()
    deadline = time.monotonic() + 10
    while not found.ended() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert found.ended() == [1]
    process.communicate()
    with pytest.raises(RuntimeError, match="rank 1 has ended"):
        Neighbours.of(names)
