"""What the benchmark of shared routers learns from and is tested on: read English of 159 speakers,
5.4 hours, and the sets of recipes/sets.yaml, one in the domain and ten out of it.

Texts are written as LibriSpeech has them, in small letters, words and apostrophes alone.
"""

import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from multitask_speech import unpack_set
from origin import ROOT

from turnout.config.plain import from_plain
from turnout.config.preparation import PrepareConfig
from turnout.config.sets import SetConfig, SetsConfig
from turnout.config.yaml_text import parse_yaml
from turnout.corpora.prepare import prepare

TRAIN = ("librispeech", "kathleen_en", "ljspeech_part")
SCORED = ("librispeech", "fsdd")
SOUNDS = "noise_rooms"
SETS = ROOT / "recipes" / "sets.yaml"
IN_DOMAIN = "read"
"""The set of those of SETS that is as what was learned from."""


def written(text: str) -> str:
    """A text in small letters; what stands between words becomes a space."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


def cuts_of(data: Path, runs: Path, name: str) -> Path:
    """The folder of a corpus's cuts, a file for each of its splits; made where it is not there."""
    place = runs.resolve() / "corpora" / name
    cuts = place / "cuts"
    if not cuts.exists():
        unpack_set(data, name, place)
        manifest = place / name / "manifest.jsonl"
        rows = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
        lines = (json.dumps({**row, "text": written(row["text"])}) for row in rows)
        manifest.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        # All are, but what is at 8 kHz, which is narrowband in any case: nothing is to be measured.
        prepare(manifest, cuts, PrepareConfig(bandwidth="wideband"))
    return cuts


def train_cuts(data: Path, runs: Path) -> list[Path]:
    """Those to learn from."""
    return [cuts_of(data, runs, name) / "train.jsonl.gz" for name in TRAIN]


def dev_cuts(data: Path, runs: Path) -> Path:
    """Those that a training is validated on: of the domain."""
    return cuts_of(data, runs, TRAIN[0]) / "dev.jsonl.gz"


def sets_of(data: Path, runs: Path, split: str, limit: int | None = None) -> SetsConfig:
    """The sets of SETS, of the cuts and the sounds of one split, at most `limit` utterances of
    each."""
    sounds_of(data, runs)
    asked = from_plain(SetsConfig, parse_yaml(SETS.read_text("utf-8"))[1])
    return replace(asked, sets=tuple(placed(one, (data, runs), split, limit) for one in asked.sets))


def sounds_of(data: Path, runs: Path) -> Path:
    """The folder of noises and rooms, unpacked where it is not there."""
    sounds = runs.resolve() / "corpora" / SOUNDS
    if not sounds.exists():
        unpack_set(data, SOUNDS, sounds.parent)
    return sounds


def placed(
    one: SetConfig, places: tuple[Path, Path], split: str, limit: int | None = None
) -> SetConfig:
    """A set whose data and sounds lie where they were unpacked; `places` are those of the data and
    of the runs."""
    data, runs = places
    sounds = str(runs.resolve() / "corpora" / SOUNDS)
    channel = one.channel
    if channel is not None:
        channel = replace(
            channel,
            noises=channel.noises and sounds,
            rooms=channel.rooms and sounds,
            sounds=split,
        )
    cuts = [cuts_of(data, runs, Path(name).parent.name) / f"{split}.jsonl.gz" for name in one.data]
    return replace(one, data=tuple(map(str, cuts)), channel=channel, limit=limit)


def hours_of(cuts: Sequence[Path]) -> float:
    """Of all in some files of cuts."""
    seconds = 0.0
    for path in cuts:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            seconds += sum(json.loads(line)["duration"] for line in file)
    return seconds / 3600
