"""What TensorBoard reads of a run."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from turnout.errors import StorageError
from turnout.training.curves import Board, draw_validations


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


@pytest.mark.parametrize(
    ("rows", "label"),
    [
        ([{"wer": 20.0}], "WER on dev (%)"),  # as runs wrote it that knew no CER
        ([{"wer": None, "cer": 20.0}], "CER on dev (%)"),
        ([{"wer": 15.0, "cer": None}, {"wer": None, "cer": 25.0}], "error rate on dev (%)"),
    ],
)
def test_the_error_rate_that_counts_is_drawn(rows: list[dict[str, float]], label: str) -> None:
    axes = Figure().subplots()
    named = [
        {"bandwidth": "wideband", "task": "transcribe", "language": str(number), **row}
        for number, row in enumerate(rows)
    ]
    draw_validations(axes, [{"event": "validation", "step": 5, "score": 20.0, "rows": named}])
    assert axes.get_ylabel() == label
    drawn = [float(line.get_ydata()[0]) for line in axes.lines]
    assert drawn == [*(row["wer"] or row["cer"] for row in rows), 20.0]
