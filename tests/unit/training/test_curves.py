"""What TensorBoard reads of a run."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from turnout.errors import StorageError
from turnout.training.curves import Board


def points(folder: Path, name: str) -> list[tuple[int, float]]:
    found = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in found.Scalars(name)]


def test_a_resumed_run_takes_back_what_was_not_saved(tmp_path: Path) -> None:
    killed = Board(tmp_path, 1)
    for step in (1, 2, 3):
        killed.scalar("loss", 10.0 * step, step)
    resumed = Board(tmp_path, 3)
    resumed.scalar("loss", 35.0, 3)
    assert points(tmp_path, "loss") == [(1, 10.0), (2, 20.0), (3, 35.0)]
    killed.close()
    resumed.close()


def test_a_folder_that_cannot_be_written_is_an_error_of_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"events.* cannot be written"):
        Board(tmp_path / "file" / "tensorboard", 1)
