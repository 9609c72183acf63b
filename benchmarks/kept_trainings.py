"""Trainings of a benchmark, through the command line, each in a folder of its own: one that was
stopped goes on, one that is finished is not trained again, and one of other settings than are asked
for now is not taken.
"""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from origin import origin


def kept_training(name: str, settings: Mapping[str, Any], runs: Path, threads: int) -> Path:
    """The model folder of what `settings["recipe"]` describes, whose output is `runs`/`name`;
    trained first where it is not there. Threads are no setting. Raises SystemExit where it was
    trained, or begun, with anything else."""
    folder, kept = runs / name, runs / f"{name}.settings.json"
    if folder.exists():
        check_same(folder, kept, settings)
    model = folder / "model"
    if (model / "SHA256SUMS").exists():
        return model
    recipe = settings["recipe"]
    runs.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(settings, indent=1))
    written = runs / f"{name}.json"  # which YAML holds as well
    written.write_text(json.dumps({**recipe, "threads": threads}, indent=1))
    command = [sys.executable, "-m", "turnout", "train", "--config", str(written)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    print(f"training {name}: {recipe['max_steps']} steps", flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    place_of_origin(folder).write_text(json.dumps({"device": device(), **origin(0, "torch")}))
    return model


def place_of_origin(folder: Path) -> Path:
    """Where it says on which machine a training ended."""
    return folder.with_name(f"{folder.name}.origin.json")


def trained_on(folder: Path) -> str:
    """The machine on which a training ended: it need not be the one that makes the table."""
    place = place_of_origin(folder)
    if not place.exists():
        return "unknown"
    found = json.loads(place.read_text("utf-8"))
    return f"{found['device']}, {found['machine']}"


def device() -> str:
    """What a training takes here that is not told otherwise."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def digest_of_cuts(path: Path) -> str:
    """Of the lines of a file of cuts, however they are packed."""
    return hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()


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


def logged_minutes(folder: Path) -> float | None:
    """How long a training's steps took, as its log says; None where it was stopped in between."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    steps = [line for line in lines if line["event"] == "train"]
    hours, minutes = 0.0, 0.0
    for line in steps:
        if line["hours_per_minute"] > 0:
            minutes += (line["hours"] - hours) / line["hours_per_minute"]
        hours = line["hours"]
    return round(minutes, 1) if steps else None


def with_changes(recipe: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe, with these in place of its own, by dotted key."""
    for key, value in changes.items():
        place, *path = reversed(key.split("."))
        inner = recipe
        for name in reversed(path):
            inner = inner.setdefault(name, {})
        inner[place] = value
    return recipe


def asked_for(settings: Iterable[str]) -> dict[str, Any]:
    """Changes as they are given on the command line, KEY=JSON each."""
    return {key: json.loads(value) for key, _, value in (one.partition("=") for one in settings)}
