"""Processes that prepare data for a rank: they stay while it needs them and go when it has gone.

A launcher, a scheduler or a terminal signals whole groups of processes. A rank that is asked to
stop finishes its step first, and needs its batches for that.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import AuthenticationError, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from threading import Thread, current_thread, main_thread
from time import monotonic
from typing import Any, Generic, TypeVar, cast

import torch
from torch.utils.data import DataLoader, Dataset

from turnout.errors import TrainingError, TurnoutError

GRACE_SECONDS = 30
"""How long a worker stays after a signal to end: as long as torchrun waits for its ranks."""
PREFETCHED = 4
"""Batches that each worker makes ahead."""
LOOK_EVERY = 5.0
"""Seconds between two looks at workers that let wait."""
NOTICED_SECONDS = 2.0
"""Within which the end of a process is known to those that wait for it."""
HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
KILLED = (
    "a process that prepares batches was killed, perhaps for want of memory: started again, the "
    "run goes on from its last checkpoint; fewer data.workers need less"
)
DIED, LATE = "DataLoader worker (pid", "DataLoader timed out"
"""How PyTorch begins to tell of it."""

PR_SET_PDEATHSIG = 1
"""Of Linux's <sys/prctl.h>: the signal that a process gets when the one that began it has gone."""

Asked = TypeVar("Asked")
Made = TypeVar("Made")


class Workers(Generic[Asked, Made]):
    """Processes that make one thing of another, and stay from one call of `made` to the next.

    Raises TrainingError where nothing comes of them for `patience` seconds, and an error of ours
    as it was raised in the process.
    """

    def __init__(
        self, make: Callable[[Asked], Made], count: int, context: BaseContext, patience: float
    ) -> None:
        self._make = make
        self._count = count
        self._context = context
        self._patience = patience
        self._asked: list[Asked] = []
        self._loader: DataLoader[Made | TurnoutError] | None = None
        self._results: Iterator[Made | TurnoutError] | None = None
        self._processes: list[Any] = []
        self._turn = 0

    def made(self, asked: Sequence[Asked]) -> Iterator[Made]:
        """What is made of each, in their order; those of an earlier call are forgotten."""
        self._asked[:] = asked
        self._turn += 1
        turn = self._turn
        self._begin()
        for number in range(len(asked)):
            assert turn == self._turn, "what was asked for before is made no more"
            yield self._next(number)

    def close(self) -> None:
        """Let the processes end, those at once that do not hear of it: an error on its way may
        hold what would tell them, and they have nothing to save."""
        self._loader = self._results = None
        self._kill()

    def _begin(self) -> None:
        if self._loader is not None:
            try:
                self._results = iter(self._loader)
                return
            except RuntimeError as error:
                if LATE not in str(error):
                    raise
                self.close()  # busy with what nobody waits for any more
        before = multiprocessing.active_children()
        with signals_held():
            self._loader = DataLoader(
                Echo(),
                batch_size=None,  # one item is a batch already; the worker that takes it makes it
                sampler=self._asked,
                collate_fn=cast(Any, partial(attempted, self._make)),
                num_workers=self._count,
                persistent_workers=True,
                prefetch_factor=PREFETCHED,
                multiprocessing_context=self._context,
                worker_init_fn=serve_to_the_end,
                timeout=min(LOOK_EVERY, self._patience),
                # Its own generator: the global one belongs to the run and must not move.
                generator=torch.Generator(),
            )
            self._results = iter(self._loader)
        self._processes = [c for c in multiprocessing.active_children() if c not in before]

    def _next(self, number: int) -> Made:
        # PyTorch's own limit would hide a worker's death for as long: it looks only then.
        deadline = monotonic() + self._patience
        while True:
            assert self._results is not None, "closed in the midst of what was asked"
            try:
                made = next(self._results)
                break
            except (OSError, EOFError, AuthenticationError) as error:
                # What a worker made is fetched from it: here from one that has gone meanwhile.
                if not wait([process.sentinel for process in self._processes], NOTICED_SECONDS):
                    raise
                self._kill()
                raise TrainingError(KILLED) from error
            except RuntimeError as error:
                if LATE not in str(error):
                    raise
                if monotonic() < deadline:
                    continue
                self._kill()
                raise TrainingError(
                    f"worker {number % self._count} of {self._count} has not prepared its batch "
                    f"(number {number} since the epoch or the run was begun) within "
                    f"{self._patience:g} s: see whether the disk of data.cache answers and memory "
                    "is free; the same command goes on from the last checkpoint, with a larger "
                    "data.worker_timeout where batches take that long"
                ) from error
        if isinstance(made, TurnoutError):
            raise made
        return made

    def _kill(self) -> None:
        for process in self._processes:
            if process.is_alive():
                no_more_deaths()
                process.kill()
                process.join()


def attempted(make: Callable[[Asked], Made], asked: Asked) -> Made | TurnoutError:
    """What is made of it, or why not: PyTorch puts the traceback of what is raised into its
    message."""
    try:
        return make(asked)
    except TurnoutError as error:
        return error


class Echo(Dataset[Any]):
    """What is asked for is what is made of: its place among the data of PyTorch."""

    def __getitem__(self, index: Any) -> Any:
        """The same."""
        return index


def new_processes(method: str | None = None) -> BaseContext:
    """How processes that prepare data begin: through a server that has imported what they need
    (Linux), or each by itself.

    A copy of the rank itself ('fork') begins sooner, but holds for ever whatever a thread of the
    rank's held at that moment: those of gloo, of PyTorch, of a caller.
    """
    if method is None:
        method = "forkserver" if sys.platform == "linux" else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["turnout.data.loader"])
    return context


@contextmanager
def signals_held() -> Iterator[None]:
    """Around the start of processes, which take these signals once they are ready for them; the
    server that starts them, and has nothing to save, never does."""
    # Python begins it before the server, and lets SIGINT and SIGTERM through again when it has.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


@contextmanager
def death_noticed() -> Iterator[None]:
    """Around the steps of a run: TrainingError where a worker died, of which PyTorch tells with a
    RuntimeError at any moment."""
    try:
        yield
    except RuntimeError as error:
        if DIED not in str(error):
            raise
        no_more_deaths()
        raise TrainingError(KILLED) from error


def no_more_deaths() -> None:
    """Before workers are left: PyTorch's handler would tell of each one's end in the midst."""
    if current_thread() is main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def end_with_parent() -> None:
    """For a new worker of a process pool: end when the process that started it has gone, which a
    pool's worker does not notice by itself; leave Ctrl-C to that process."""
    _follow_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    if sys.platform == "linux" and os.getppid() != parent.pid:
        # Without the server between them the rank takes its workers for dead; one that lives on
        # would print a traceback of PyTorch's about it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def follow() -> None:
        parent.join()
        os._exit(1)

    Thread(target=follow, daemon=True).start()
