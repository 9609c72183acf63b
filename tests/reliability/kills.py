"""Named points at which a run's process kills itself, armed before the command begins."""

import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from torch import Tensor

import turnout.verified_folder
from turnout.files import partial_of
from turnout.training import checkpoints, validated
from turnout.training.checkpoints import MANIFEST, NAME, Checkpoints
from turnout.training.loop import Trainer


@dataclass(frozen=True)
class Point:
    """Where a process kills itself: the first time it comes there at or after a step."""

    name: str
    after: int

    def __call__(self) -> None:
        """Arm it, in the process that is to be killed."""
        POINTS[self.name](self.after)


def die() -> NoReturn:
    """As `kill -9` of the own process."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def step_of(path: Path) -> int:
    """The step that a checkpoint's folder, whole or partial, is of."""
    found = re.search(r"step-(\d+)", str(path))
    assert found is not None
    return int(found[1])


def while_a_rank_file_is_written(after: int) -> None:
    """Half of it is there."""
    original = checkpoints.save_file

    def save_file(tensors: dict[str, Tensor], path: Path) -> None:
        original(tensors, path)
        if step_of(path) >= after:
            os.truncate(path, path.stat().st_size // 2)
            die()

    checkpoints.save_file = save_file  # pyright: ignore[reportAttributeAccessIssue]


def before_the_manifest(after: int) -> None:
    """The rank files are there."""
    original = checkpoints.write_synced

    def write_synced(path: Path, data: bytes) -> None:
        if path.name == MANIFEST and step_of(path) >= after:
            die()
        original(path, data)

    checkpoints.write_synced = write_synced


def between_manifest_and_rename(after: int) -> None:
    """Everything is there, under the name of what is not whole."""
    original = checkpoints.write_synced

    def write_synced(path: Path, data: bytes) -> None:
        original(path, data)
        if path.name == MANIFEST and step_of(path) >= after:
            die()

    checkpoints.write_synced = write_synced


def during_rotation(after: int) -> None:
    """An old checkpoint has lost a file."""
    original = Checkpoints.rotate

    def half_removed(path: Path, ignore_errors: bool = False) -> None:
        if not NAME.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=ignore_errors)
            return
        next(path.iterdir()).unlink()
        die()

    def rotate(self: Checkpoints, keep: int, current: int) -> list[int]:
        if current >= after:
            fake: Any = SimpleNamespace(rmtree=half_removed)
            checkpoints.shutil = fake
        return original(self, keep, current)

    Checkpoints.rotate = rotate


def at_an_epoch_boundary(after: int) -> None:
    """The batches of one epoch are consumed, those of the next not yet planned."""
    original = Trainer._plan_length

    def plan_length(self: Trainer) -> int:
        state = self.state
        if state.epoch and not state.position and state.step >= after:
            die()
        return original(self)

    Trainer._plan_length = plan_length


def on_the_last_batch(after: int) -> None:
    """All batches are read, the last step is not taken."""
    original = Trainer._step

    def step(self: Trainer, batches: list[Any]) -> None:
        if self.state.step + 1 == self.config.max_steps:
            die()
        original(self, batches)

    Trainer._step = step


def while_validated_weights_are_written(after: int) -> None:
    """Half of them are there."""
    original = validated.write_whole

    def write_whole(path: Path, data: bytes) -> None:
        if step_of(path) >= after:
            path.parent.mkdir(exist_ok=True)
            partial_of(path).write_bytes(data[: len(data) // 2])
            die()
        original(path, data)

    validated.write_whole = write_whole


def while_the_model_is_written(after: int) -> None:
    """Some of its files are there."""
    original = turnout.verified_folder.write_synced
    written: list[Path] = []

    def write_synced(path: Path, data: bytes) -> None:
        if len(written) == 2:
            die()
        written.append(path)
        original(path, data)

    turnout.verified_folder.write_synced = write_synced


POINTS: dict[str, Callable[[int], None]] = {
    "rank file": while_a_rank_file_is_written,
    "manifest": before_the_manifest,
    "rename": between_manifest_and_rename,
    "rotation": during_rotation,
    "epoch boundary": at_an_epoch_boundary,
    "validated weights": while_validated_weights_are_written,
    "last batch": on_the_last_batch,
    "model": while_the_model_is_written,
}
ANY_RANK = ("rank file", "epoch boundary", "last batch")
"""Points that every rank passes; the others are the first rank's alone."""
