"""The other ranks on this machine, and waiting for them no longer than they are there.

A process that is killed in the midst of a message does not always break the connection to those
that wait for it: gloo then waits for half an hour. Two processes that did nothing but sum showed it
in three of 1,500 kills (counted by hand).
"""

import ctypes
import os
import select
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch.distributed

LOOK_EVERY = timedelta(seconds=5)
"""Between two looks at the others while they let wait."""
STILL_WAITING = "Operation timed out!"
"""How PyTorch says that it waited for so long; the operation itself goes on."""
BOOT, PROCESSES = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class Neighbours:
    """Handles of other ranks' processes, by rank; none where a system has no such handles, or the
    ranks are on other machines."""

    handles: dict[int, int]

    @staticmethod
    def own_name() -> str:
        """What the others need to find this process; empty where there are no handles."""
        if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
            return ""
        return f"{BOOT.read_text().strip()} {PROCESSES.readlink()} {os.getpid()}"

    @classmethod
    def of(cls, names: Sequence[str]) -> "Neighbours":
        """Those that are on this machine, of the names of all ranks in order; RuntimeError where
        one has ended by now."""
        handles: dict[int, int] = {}
        here, _, own = cls.own_name().rpartition(" ")
        for rank, name in enumerate(names):
            place, _, process = name.rpartition(" ")
            if here and place == here and process != own:
                try:
                    handles[rank] = os.pidfd_open(int(process))
                except ProcessLookupError as error:
                    raise RuntimeError(f"rank {rank} has ended") from error
                except OSError:  # a sandbox may forbid it: gloo's own patience is what is left
                    continue
        return cls(handles)

    def ended(self) -> list[int]:
        """The ranks whose processes have ended, whether or not anybody asked for their status."""
        ready, _, _ = select.select(list(self.handles.values()), [], [], 0)
        return [rank for rank, handle in self.handles.items() if handle in ready]

    def wait(self, work: torch.distributed.Work) -> None:
        """Wait for what all ranks do together; RuntimeError, as of gloo, where one has ended."""
        if torch.distributed.get_backend() != "gloo":
            work.wait()  # it watches over the ranks by itself
            return
        while True:
            try:
                work.wait(LOOK_EVERY)
                return
            except RuntimeError as error:
                if STILL_WAITING not in str(error):
                    raise
                if ended := self.ended():
                    let_end()
                    raise RuntimeError(f"rank {ended[0]} has ended") from error


def let_end() -> None:
    """Let this process end though it waits for another: the end of the group would wait for that
    as well, so it is held for ever."""
    group = torch.distributed.group.WORLD
    assert group is not None
    for held in (group, group._get_backend(torch.device("cpu"))):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
