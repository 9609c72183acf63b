"""Processes that prepare data for a rank: they stay while it needs them and go when it has gone.

A launcher, a scheduler or a terminal signals whole groups of processes. A rank that is asked to
stop finishes its step first, and needs its batches for that.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from turnout.errors import TrainingError

GRACE_SECONDS = 30
"""How long a worker stays after a signal to end: as long as torchrun waits for its ranks."""


def serve_to_the_end(_: int) -> None:
    """For a new worker of a DataLoader: its rank, not a signal, tells it when to end.

    PyTorch's own workers die of SIGTERM, and their death raises an error in the middle of the
    rank's step. A rank that is killed they notice after some seconds, or never where Python starts
    processes through a server of its own.
    """
    _follow_parent()
    # Ctrl-C and a scheduler's warning reach the whole group; the rank answers them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))


@contextmanager
def death_noticed() -> Iterator[None]:
    """Around the steps of a run: TrainingError where a worker died, of which PyTorch tells with a
    RuntimeError at any moment."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        # PyTorch's handler would tell of the other workers' ends in the midst of leaving.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise TrainingError(
            "a process that prepares batches was killed, perhaps for want of memory: started "
            "again, the run goes on from its last checkpoint; fewer data.workers need less"
        ) from error


def end_with_parent() -> None:
    """For a new worker of a process pool: end when the process that started it has gone, which a
    pool's worker does not notice by itself; leave Ctrl-C to that process."""
    _follow_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"

    def follow() -> None:
        parent.join()
        os._exit(1)

    Thread(target=follow, daemon=True).start()
