"""Disks that are full or refuse to be written, made for one process and lifted with it."""

import ctypes
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import turnout.verified_folder
from tests.reliability.kills import step_of
from turnout.cli import command
from turnout.data import store
from turnout.training import checkpoints, finish, validated
from turnout.training.checkpoints import MANIFEST
from turnout.training.curves import Board
from turnout.training.log import RunLog


@dataclass(frozen=True)
class Full:
    """From one write on, no file of the process can grow beyond so many bytes."""

    what: str
    """Which write."""
    largest: int
    """Bytes."""
    after: int
    """Step."""

    def __call__(self) -> None:
        """Arm it, in the process that is to meet it."""
        WRITES[self.what](self)

    def strike(self) -> None:
        """The disk is full."""
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.largest, hard))
        complain = command.complain

        def lifted(message: str) -> None:
            # What is said goes to a file, too.
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            complain(message)

        command.complain = lifted


def striking(module: Any, name: str, full: Full, due: Callable[[tuple[Any, ...]], bool]) -> None:
    """Let the disk fill up at a call of this function, the first that is due."""
    original = getattr(module, name)

    def called(*arguments: Any) -> Any:
        if due(arguments):
            full.strike()
        return original(*arguments)

    setattr(module, name, called)


WRITES: dict[str, Callable[[Full], None]] = {
    "rank file": lambda full: striking(
        checkpoints, "save_file", full, lambda given: step_of(given[1]) >= full.after
    ),
    "manifest": lambda full: striking(
        checkpoints,
        "write_synced",
        full,
        lambda given: given[0].name == MANIFEST and step_of(given[0]) >= full.after,
    ),
    "validated weights": lambda full: striking(
        validated, "write_whole", full, lambda given: step_of(given[0]) >= full.after
    ),
    "log": lambda full: striking(RunLog, "step", full, lambda given: given[1].step >= full.after),
    "TensorBoard": lambda full: striking(
        Board, "scalar", full, lambda given: given[3] >= full.after
    ),
    "plot": lambda full: striking(finish, "plot_run", full, bool),
    "model": lambda full: striking(turnout.verified_folder, "write_synced", full, bool),
    "features": lambda full: striking(store, "_all_variants", full, bool),
}
"""What can find the disk full."""
BEFORE_THE_FIRST_STEP = ("features",)
"""There is no checkpoint yet."""


def obey_permissions() -> None:
    """Make root obey files' permissions as others do: drop the capabilities to override them."""
    if os.geteuid() != 0:
        return

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    class Data(ctypes.Structure):
        _fields_ = (
            ("effective", ctypes.c_uint32),
            ("permitted", ctypes.c_uint32),
            ("inheritable", ctypes.c_uint32),
        )

    libc = ctypes.CDLL(None, use_errno=True)
    header, data = Header(0x20080522, 0), (Data * 2)()
    if libc.capget(ctypes.byref(header), data):
        raise OSError(ctypes.get_errno(), "capget")
    for number in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        data[0].effective &= ~(1 << number)
    if libc.capset(ctypes.byref(header), data):
        raise OSError(ctypes.get_errno(), "capset")


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Callable[[int], None] | None]:
    """A disk of so many bytes at `place`, and what changes its size; None where mounting is not
    allowed."""
    place.mkdir()
    if not _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)):
        yield None
        return
    try:
        yield lambda bigger: _resize(place, bigger)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False, capture_output=True)


def _resize(place: Path, size: int) -> None:
    assert _mount("-o", f"remount,size={size}", str(place)), "the disk cannot be resized"


def _mount(*words: str) -> bool:
    try:
        done = subprocess.run(["mount", *words], check=False, capture_output=True)
    except OSError:
        return False
    return done.returncode == 0
