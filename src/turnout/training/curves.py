"""The curves of a run: an event file for TensorBoard as it goes, and one picture at its end."""

import json
import os
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tensorboard.compat.proto.event_pb2 import (
    Event,  # pyright: ignore[reportAttributeAccessIssue]
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboard.compat.proto.summary_pb2 import (
    Summary,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboard.summary.writer.record_writer import RecordWriter

from turnout.errors import StorageError
from turnout.evaluation.validation import rate_name, rate_of
from turnout.files import write_whole

VERSION = "brain.Event:2"


class Board:
    """One event file of a run, for TensorBoard; call `close`.

    Written at once: TensorBoard's own writer leaves that to a thread, which dies of a full disk
    with a traceback. Of the files that earlier processes wrote, everything from step `first` on
    counts as undone. Raises StorageError where it cannot be written, then and later.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb", buffering=0)
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), step=first, file_version=VERSION))
        started = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=first, session_log=started))

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of one curve."""
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        try:
            self._records.write(event.SerializeToString())
        except OSError as error:
            raise unwritable(self.path, error) from error


def unwritable(path: Path, error: OSError) -> StorageError:
    """The error for what a run writes as it goes."""
    return StorageError(
        f"{path}: cannot be written ({error.strerror}): free some space and start again: the run "
        "goes on from its last checkpoint"
    )


def plot_run(folder: Path) -> Path:
    """Draw `log.jsonl` of a run's folder into `training.png`, and return its path; raises
    StorageError."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["event"] == "train"]
    validations = [line for line in lines if line["event"] == "validation"]
    figure = Figure(figsize=(11, 7), layout="constrained")
    (losses, wer), (rate, norm) = figure.subplots(2, 2, sharex=True)
    for key in ("loss", "ctc", "attention", "balance"):
        draw(losses, train, key, key)
    losses.set_ylabel("loss")
    draw_validations(wer, validations)
    for axes, key, label in ((rate, "rate", "learning rate"), (norm, "norm", "gradient norm")):
        draw(axes, train, key, label)
        axes.set_ylabel(label)
        axes.set_xlabel("step")
    for axes in (losses, wer, rate, norm):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    path = folder / "training.png"
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_whole(path, picture.getvalue())
    return path


def draw(axes: Axes, lines: list[dict[str, Any]], key: str, label: str) -> None:
    """One curve over the steps."""
    axes.plot([line["step"] for line in lines], [line[key] for line in lines], label=label)


def draw_validations(axes: Axes, validations: list[dict[str, Any]]) -> None:
    """WER (or CER) on dev: every row thin, their mean thick."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in validations:
        for row in line["rows"]:
            name = f"{row['bandwidth']} {row['task']} {row['language']}"
            curves.setdefault(name, []).append((line["step"], rate_of(row)))
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), lw=0.8, label=name)
    mean = [(line["step"], line["score"]) for line in validations if line["score"] is not None]
    if mean:
        axes.plot(*zip(*mean, strict=True), lw=2.5, color="black", label="mean")
    rows = [row for line in validations for row in line["rows"]]
    axes.set_ylabel(f"{rate_name(rows)} on dev (%)")
