"""One picture of a run, from its log."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from turnout.files import write_whole


def plot_run(folder: Path) -> Path:
    """Draw `log.jsonl` of a run's folder into `training.png`, and return its path; raises
    StorageError."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["event"] == "train"]
    validations = [line for line in lines if line["event"] == "validation"]
    figure = Figure(figsize=(11, 7), layout="constrained")
    (losses, wer), (rate, idle) = figure.subplots(2, 2, sharex=True)
    for key in ("loss", "ctc", "attention", "balance"):
        draw(losses, train, key, key)
    losses.set_ylabel("loss")
    draw_validations(wer, validations)
    draw(rate, train, "rate", "learning rate")
    rate.set_ylabel("learning rate")
    draw(idle, train, "norm", "gradient norm")
    idle.set_ylabel("gradient norm")
    for axes in (losses, wer, rate, idle):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    rate.set_xlabel("step")
    idle.set_xlabel("step")
    path = folder / "training.png"
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_whole(path, picture.getvalue())
    return path


def draw(axes: Axes, lines: list[dict[str, Any]], key: str, label: str) -> None:
    """One curve over the steps."""
    axes.plot([line["step"] for line in lines], [line[key] for line in lines], label=label)


def draw_validations(axes: Axes, validations: list[dict[str, Any]]) -> None:
    """WER on dev: every row thin, their mean thick."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in validations:
        for row in line["rows"]:
            name = f"{row['bandwidth']} {row['task']} {row['language']}"
            curves.setdefault(name, []).append((line["step"], row["wer"]))
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), lw=0.8, label=name)
    mean = [(line["step"], line["score"]) for line in validations if line["score"] is not None]
    if mean:
        axes.plot(*zip(*mean, strict=True), lw=2.5, color="black", label="mean")
    axes.set_ylabel("WER on dev (%)")
