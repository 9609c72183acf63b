"""Whether a process that says nothing is only slow: it would run, and gets no processor."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

PROCESSES = Path("/proc")
"""Of Linux: elsewhere nobody tells what a process waits for."""
STARVED_SECONDS = 60.0
"""Longest time that a process may take to say something, whatever it waits for."""
ANSWER_SECONDS = 1.0
"""Of processor time, with which one that is well has said something long ago."""


@dataclass(frozen=True)
class Seen:
    """What the system tells of a process."""

    state: str
    """A letter: R may run, D waits for a disk, S sleeps, T is stopped, Z has ended."""
    seconds: float
    """Of processor time that it has had."""


@dataclass(frozen=True)
class Question:
    """What a process was asked, when, and how it was then."""

    process: int
    at: float
    seen: Seen | None

    @classmethod
    def to(cls, process: int) -> "Question":
        """One that is asked now."""
        return cls(process, time.monotonic(), seen(process))

    def may_wait(self) -> bool:
        """Whether nothing is wrong with a process that has not answered yet."""
        now = seen(self.process)
        if now is None or self.seen is None or now.state not in ("R", "D"):
            return False
        had = now.seconds - self.seen.seconds
        return had < ANSWER_SECONDS and time.monotonic() - self.at < STARVED_SECONDS


def seen(process: int) -> Seen | None:
    """How a process is; None where the system does not say, or has none of this number."""
    try:
        told = (PROCESSES / str(process) / "stat").read_text("ascii", "replace")
        fields = told.rpartition(")")[2].split()  # behind its name, which may hold anything
        ticks = int(fields[11]) + int(fields[12])
    except (OSError, ValueError, IndexError):
        return None
    return Seen(fields[0], ticks / os.sysconf("SC_CLK_TCK"))
