"""What a run writes down: JSON lines, TensorBoard, a progress bar on stderr.

`steps.jsonl` has one line per step and `log.jsonl` one per window and validation. How long each
was is noted with every checkpoint, and what a killed run wrote after it is cut off: the files of
a resumed run are those of one that never stopped, but for the times. Only the first rank logs.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from turnout.errors import amount, one_line
from turnout.evaluation.validation import average_key, rate_name, rate_of
from turnout.training.curves import Board, unwritable
from turnout.training.state import RunState
from turnout.training.step import StepReport

FILES = ("log.jsonl", "steps.jsonl")
MEANS = (
    "loss", "ctc", "attention", "balance", "distil_encoder", "distil_decoder", "accuracy", "norm",
)  # fmt: skip


class RunLog:
    """The log of one run; a context, which closes files and bar."""

    def __init__(self, folder: Path, state: RunState, lengths: dict[str, int]) -> None:
        self.folder = folder
        self.files = {name: open_cut(folder / name, lengths.get(name, 0)) for name in FILES}
        self.board = Board(folder / "tensorboard", state.step + 1)
        self.console = Console(stderr=True)
        self.idle: tuple[str, ...] = ()
        self._reasons: set[str] = set()
        self._untold = 0
        self._started = self._window_started = time.monotonic()
        self._share_at_start: float | None = None
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(), TextColumn("{task.fields[figures]}"), console=self.console,
        )  # fmt: skip
        self._task = self._bar.add_task("training", total=1.0, figures="")
        if self.console.is_terminal:
            self._bar.start()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._bar.stop()
        for file in self.files.values():
            # Every line was flushed: what remains could not be written, and that has been said.
            with suppress(OSError):
                file.close()
        self.board.close()

    def lengths(self) -> dict[str, int]:
        """Bytes of each file, which have reached the disk."""
        for file in self.files.values():
            file.flush()
            os.fsync(file.fileno())
        return {name: file.tell() for name, file in self.files.items()}

    def say(self, text: str) -> None:
        """One line for the user, on stderr."""
        self.console.print(one_line(text), markup=False, highlight=False, soft_wrap=True)

    def lost(self, state: RunState, count: int, reasons: Sequence[str]) -> None:
        """So many more utterances could not be used: of a part of an epoch each reason is told
        once, with all that were not told of before."""
        self._untold += count
        new = [reason for reason in dict.fromkeys(reasons) if reason not in self._reasons]
        self._reasons.update(new)
        if new:
            self._tell_of_lost(state, "; ".join(new))

    def lost_for_known_reasons(self, state: RunState) -> None:
        """At the end of a part: how many more there were; what is still so then is told anew."""
        if self._untold:
            self._tell_of_lost(state, "for reasons such as were told before")
        self._reasons.clear()

    def _tell_of_lost(self, state: RunState, why: str) -> None:
        lost = amount(self._untold, "utterance")
        self.say(
            f"warning: step {state.step}: {lost} could not be used ({state.lost:,} so far): {why}"
        )
        self._untold = 0

    def write(self, name: str, line: dict[str, Any]) -> None:
        """One line of JSON; raises StorageError."""
        try:
            self.files[name].write((json.dumps(line, ensure_ascii=False) + "\n").encode())
            self.files[name].flush()
        except OSError as error:
            raise unwritable(self.folder / name, error) from error

    def step(self, state: RunState, report: StepReport) -> None:
        """One line about the step that ended at `state.step`."""
        figures = {key: getattr(report, key) for key in (*MEANS, "rate", "too_short", "seconds")}
        line = {"step": state.step, "epoch": state.epoch, **figures}
        self.write("steps.jsonl", {**line, "finite": report.finite, "ids": report.utterances})

    def window(self, state: RunState, rate: float, share: float, idle: tuple[str, ...]) -> None:
        """One line about the steps since the last; `idle` names experts that got no frame."""
        sums = state.window
        steps = max(sums["steps"], 1)
        means = {key: sums[key] / steps for key in MEANS}
        now = time.monotonic()
        pace = sums["seconds"] / 60 / max(now - self._window_started, 1e-9)
        self._window_started = now
        counted = {"too_short": sums["too_short"], "skipped": sums["skipped"]}
        line = {
            "event": "train", "step": state.step, "epoch": state.epoch, **means, **counted,
            "rate": rate, "hours": state.seconds / 3600, "share": share,
            "idle_experts": list(idle), "hours_per_minute": round(pace, 4),
        }  # fmt: skip
        self.write("log.jsonl", line)
        for key in (*MEANS, "rate", "hours", "hours_per_minute", "skipped", "too_short"):
            self.board.scalar(f"train/{key}", line[key], state.step)
        if idle and idle != self.idle:
            self.say(f"warning: no frame since the last line of the log for {', '.join(idle)}")
        self.idle = idle
        self._show(state, means["loss"], rate, pace, share)

    def validation(self, state: RunState, score: float | None, rows: list[dict[str, Any]]) -> None:
        """One line, and one on stderr, about a validation."""
        line = {"event": "validation", "step": state.step, "score": score, "rows": rows}
        self.write("log.jsonl", line)
        for row in rows:
            name = f"{row['bandwidth']}/{row['task']}/{row['language']}"
            for metric in ("wer", "cer", "bleu"):
                if row.get(metric) is not None:
                    self.board.scalar(f"{metric}/{name}", row[metric], state.step)
        if score is not None:
            self.board.scalar(f"dev/{average_key(rows)}", score, state.step)
            words = "; ".join(
                f"{row['bandwidth']} {row['task']} {row['language']} {rate_of(row):.1f}"
                for row in rows
            )
            self.say(f"step {state.step}: average {rate_name(rows)} {score:.2f} % on dev ({words})")

    def _show(self, state: RunState, loss: float, rate: float, pace: float, share: float) -> None:
        now = time.monotonic()
        if self._share_at_start is None:
            self._share_at_start, self._started = share, now
        done = share - self._share_at_start
        left = (now - self._started) * (1 - share) / done if done > 0 else None
        figures = (
            f"step {state.step}  loss {loss:.3f}  lr {rate:.2e}  {pace:.2f} h/min  "
            f"{'' if left is None else f'{left / 60:.0f} min left'}"
        )
        if self.console.is_terminal:
            self._bar.update(self._task, completed=share, figures=figures)
        else:
            self.say(figures)


def open_cut(path: Path, length: int) -> Any:
    """Open a log for appending after its first `length` bytes."""
    path.touch()
    file = path.open("r+b")
    file.truncate(min(length, path.stat().st_size))
    file.seek(0, os.SEEK_END)
    return file


def add_to_window(window: dict[str, Any], report: StepReport) -> None:
    """Add a step to the sums since the last line of the log."""
    # A skipped step has no figures, and none of them may be NaN from then on.
    figures = {key: getattr(report, key) if report.finite else 0.0 for key in MEANS}
    figures["steps"] = int(report.finite)
    figures["seconds"] = report.seconds
    figures["too_short"] = report.too_short
    figures["skipped"] = int(not report.finite)
    for key, value in figures.items():
        window[key] = window.get(key, 0) + value
    frames = [counts.tolist() for counts in report.frames]
    if before := window.get("frames"):
        pairs = zip(before, frames, strict=True)
        frames = [[old + new for old, new in zip(a, b, strict=True)] for a, b in pairs]
    window["frames"] = frames


def say(text: str) -> None:
    """One line on stderr, before there is a log."""
    print(one_line(text), file=sys.stderr, flush=True)  # noqa: T201


def silent(_: str) -> None:
    """What the ranks say that have no log."""
