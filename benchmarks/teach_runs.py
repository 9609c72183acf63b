"""The trainings of the teaching benchmark: recipes/teach.yaml, through the command line, each in a
folder of its own. One that was stopped goes on, one that is finished is not trained again; one of
other settings, data or base than are asked for now is not taken.
"""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from origin import ROOT
from teach_speech import ENGLISH, GERMAN, LANGUAGES, seconds_in

from turnout.adapters.making import Making
from turnout.config.yaml_text import parse_yaml
from turnout.guidance import Guide, Window
from turnout.hub.adapted import digest_of
from turnout.hub.making import Sources, make_adapter
from turnout.model_folder import ModelFolder

RECIPE = ROOT / "recipes" / "teach.yaml"
WINDOW = "data.window"


@dataclass(frozen=True)
class Training:
    """One model to be made of the base."""

    name: str
    """Of its folder."""
    corpora: tuple[str, ...]
    """Languages: of the prompts, or of a set."""
    steps: int
    changes: Mapping[str, Any]
    """Of the recipe, by dotted key."""

    def folder(self, runs: Path) -> Path:
        """Where it is trained."""
        return runs / self.name

    @property
    def window(self) -> Window:
        """How much it learns to hear of a window, and is to be asked to hear."""
        return Window(self.changes.get(WINDOW, Window.PADDED))


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is asked of all rows."""

    taught: tuple[str, ...]
    steps: int
    """Of each expert."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    """Of what these changes make."""
    finetuning_rate: float = 2.5e-5


def trainings(row: str, wish: Wish) -> list[Training]:
    """Those of a row of the table: one for each language with experts, of so many steps each; one
    on all languages for hard sharing (the dense feed-forwards) and for fine-tuning (all that there
    is, with a learning rate of its own), of as many steps as the experts have together; one on all
    four languages, English and German for windows that end with the speech, of so many for each."""
    ending = f"-{wish.label}" if wish.label else ""
    changes = dict(wish.changes)
    if row == "experts":
        return [
            Training(f"experts-{code}-{wish.steps}{ending}", (code,), wish.steps, changes)
            for code in wish.taught
        ]
    corpora = wish.taught
    if row == "window":
        changes[WINDOW] = Window.SPEECH.value
        corpora = (*LANGUAGES, ENGLISH, GERMAN)
    if row == "finetuning":
        changes = {**changes, "trainable": [], "optimizer.learning_rate": wish.finetuning_rate}
        ending = f"-rate{wish.finetuning_rate:g}{ending}"
    total = wish.steps * len(corpora)
    return [Training(f"{row}-{'+'.join(corpora)}-{total}{ending}", corpora, total, changes)]


def recipe_of(training: Training, base: Path, cuts: list[Path], runs: Path) -> dict[str, Any]:
    """The whole recipe of a training, but for threads."""
    recipe = parse_yaml(RECIPE.read_text("utf-8"))[1]
    fixed = {
        "output": str(training.folder(runs)),
        "init_from": str(base),
        "data.train": corpora_of(training, cuts),
        "data.dev": [],
        "max_steps": training.steps,
        "validate_every": training.steps,
    }
    for key, value in {**fixed, **training.changes}.items():
        place, *path = reversed(key.split("."))
        inner = recipe
        for name in reversed(path):
            inner = inner.setdefault(name, {})
        inner[place] = value
    return recipe


def corpora_of(training: Training, cuts: list[Path]) -> list[dict[str, Any]]:
    """Each heard as long as the others: the shorter, the oftener. Full windows of many utterances,
    unless windows are to end with the speech."""
    seconds = [seconds_in(path) for path in cuts]
    pack = {"pack": True} if training.window is Window.PADDED else {}
    return [
        {"cuts": str(path), "weight": round(max(seconds) / own, 4), **pack}
        for path, own in zip(cuts, seconds, strict=True)
    ]


def trained(training: Training, base: Path, cuts: list[Path], runs: Path, threads: int) -> Path:
    """The model folder of a training, trained first where it is not there. Raises SystemExit where
    it was trained, or begun, with anything else."""
    folder = training.folder(runs)
    recipe = recipe_of(training, base, cuts, runs)
    settings = {
        "recipe": recipe,
        "base": digest_of(ModelFolder.open(base)),
        "cuts": [hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() for path in cuts],
    }
    kept = runs / f"{training.name}.settings.json"
    if folder.exists():
        check_same(folder, kept, settings)
    model = folder / "model"
    if (model / "SHA256SUMS").exists():
        return model
    runs.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(settings, indent=1))
    written = runs / f"{training.name}.json"  # which YAML holds as well
    written.write_text(json.dumps({**recipe, "threads": threads}, indent=1))
    command = [sys.executable, "-m", "turnout", "train", "--config", str(written)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    print(f"training {training.name}: {training.steps} steps", flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return model


def check_same(folder: Path, kept: Path, settings: Mapping[str, Any]) -> None:
    """Raise SystemExit, naming the first difference, where a folder was made with other settings
    than these."""
    advice = "give a --label of its own, or remove the folder"
    if not kept.exists():
        raise SystemExit(f"{folder}: with which settings it was trained is not known: {advice}")
    before, now = (flat(one) for one in (json.loads(kept.read_text()), settings))
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            raise SystemExit(
                f"{folder}: was trained with {key} {before.get(key)}, not {now.get(key)}: {advice}"
            )


def flat(plain: Any, place: str = "") -> dict[str, Any]:
    """Values by the way to them; lists are values."""
    if not isinstance(plain, Mapping):
        return {place: json.loads(json.dumps(plain))}
    found: dict[str, Any] = {}
    for key, value in plain.items():
        found |= flat(value, f"{place}.{key}" if place else key)
    return found


def adapter_of(training: Training, model: Path, base: Path, rank: int | None) -> Path:
    """The adapter that makes the base what was trained, for the one language of the training."""
    (language,) = training.corpora
    folder = model.parent / ("adapter" if rank is None else f"adapter-rank{rank}")
    if not (folder / "SHA256SUMS").exists():
        making = Making(name=f"teach-{language}", when={Guide.LANGUAGE: language}, rank=rank)
        make_adapter(Sources(base=base, trained=model), folder, making)
    return folder


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
