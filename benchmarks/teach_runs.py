"""The trainings of the teaching benchmark: recipes/teach.yaml, through the command line, each in a
folder of its own. One that was stopped goes on, one that is finished is not trained again.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from origin import ROOT

from turnout.config.yaml_text import parse_yaml

RECIPE = ROOT / "recipes" / "teach.yaml"


@dataclass(frozen=True)
class Training:
    """One model to be made of the base."""

    name: str
    """Of its folder."""
    languages: tuple[str, ...]
    steps: int
    changes: Mapping[str, Any]
    """Of the recipe, by dotted key."""

    def folder(self, runs: Path) -> Path:
        """Where it is trained."""
        return runs / self.name


def trainings(
    row: str, languages: tuple[str, ...], steps: int, changes: Mapping[str, Any], label: str
) -> list[Training]:
    """Those of a row of the table: one for each language with experts, of `steps` each; one on all
    languages for hard sharing (the dense feed-forwards) and for fine-tuning (all that there is), of
    as many steps as the experts have together: each language is heard equally often."""
    ending = f"-{label}" if label else ""
    if row == "experts":
        return [
            Training(f"experts-{code}-{steps}{ending}", (code,), steps, changes)
            for code in languages
        ]
    together, total = "+".join(languages), steps * len(languages)
    every = {"trainable": [], **changes} if row == "finetuning" else changes
    return [Training(f"{row}-{together}-{total}{ending}", languages, total, every)]


def trained(training: Training, base: Path, cuts: list[Path], runs: Path, threads: int) -> Path:
    """The model folder of a training, trained first where it is not there."""
    folder = training.folder(runs)
    model = folder / "model"
    if (model / "SHA256SUMS").exists():
        return model
    runs.mkdir(parents=True, exist_ok=True)
    recipe = parse_yaml(RECIPE.read_text("utf-8"))[1]
    fixed = {
        "output": str(folder),
        "init_from": str(base),
        "data.train": [{"cuts": str(path), "pack": True} for path in cuts],
        "data.dev": [],
        "max_steps": training.steps,
        "validate_every": training.steps,
        "threads": threads,
    }
    for key, value in {**fixed, **training.changes}.items():
        place, *path = reversed(key.split("."))
        inner = recipe
        for name in reversed(path):
            inner = inner.setdefault(name, {})
        inner[place] = value
    written = runs / f"{training.name}.json"  # which YAML holds as well
    written.write_text(json.dumps(recipe, indent=1))
    command = [sys.executable, "-m", "turnout", "train", "--config", str(written)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    print(f"training {training.name}: {training.steps} steps", flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return model


def minutes_of(training: Training, runs: Path) -> float | None:
    """How long its steps took, as its log says; None where it was stopped in between."""
    lines = [json.loads(line) for line in (training.folder(runs) / "log.jsonl").open()]
    steps = [line for line in lines if line["event"] == "train"]
    hours, minutes = 0.0, 0.0
    for line in steps:
        if line["hours_per_minute"] > 0:
            minutes += (line["hours"] - hours) / line["hours_per_minute"]
        hours = line["hours"]
    return round(minutes, 1) if steps else None
