"""Cuts made up for the tests of `turnout.shards`, and what is to come out of their shards."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from turnout.config.sharding import ShardConfig
from turnout.corpora.clips import Clip, ClipReader, read_clips
from turnout.shards.manifest import Manifest
from turnout.shards.reading import ShardedClip, Shards, open_shards
from turnout.shards.store import open_store
from turnout.shards.utterance import recording_name
from turnout.shards.writing import make_shards

SMALL = ShardConfig(shard_size=0.06, shuffle=False)
"""Two or three utterances a shard."""


def recording(
    path: Path, seconds: float = 3.0, rate: int = 16000, channels: int = 1, subtype: str = "PCM_16"
) -> Path:
    """Noise that is nobody else's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([*path.name.encode()])
    samples = np.clip(0.2 * rng.standard_normal((round(seconds * rate), channels)), -1, 1)
    soundfile.write(path, samples, rate, subtype)
    return path


def cut(path: Path, name: str, start: float = 0.0, duration: float = 1.0, **more: Any) -> dict:
    """A cut as lhotse writes it; `more` replaces what is usual."""
    usual = {
        "rate": 16000, "length": 3.0, "channels": [0], "channel": 0, "text": f"text of {name}",
        "custom": {"bandwidth": "wideband", "translations": {"de": name}, "split": "train"},
        "speaker": f"speaker {name[-1]}",
    }  # fmt: skip
    told = {**usual, **more}
    said = {
        "id": name, "recording_id": name, "start": 0.0, "duration": duration,
        "channel": told["channel"], "text": told["text"], "language": "en",
        "speaker": told["speaker"], "custom": told["custom"],
    }  # fmt: skip
    source = {"type": "file", "channels": told["channels"], "source": str(path)}
    heard = {
        "id": name, "sources": [source], "sampling_rate": told["rate"],
        "num_samples": round(told["length"] * told["rate"]), "duration": told["length"],
    }  # fmt: skip
    return {
        "id": name, "start": start, "duration": duration, "channel": told["channel"],
        "supervisions": [said], "recording": heard, "type": "MonoCut",
    }  # fmt: skip


def cuts_file(path: Path, *cuts: dict) -> Path:
    """The cuts in a file."""
    path.write_text("".join(json.dumps(one) + "\n" for one in cuts), "utf-8")
    return path


def corpus(folder: Path, recordings: int = 4, each: int = 2) -> Path:
    """Cuts of some recordings, one second each, with names that follow each other."""
    made: list[dict] = []
    for number in range(recordings):
        path = recording(folder / f"recording {number}.wav")
        names = (f"cut-{number * each + i}" for i in range(each))
        made += [cut(path, name, start=0.5 * i) for i, name in enumerate(names)]
    return cuts_file(folder / "cuts.jsonl", *made)


def sharded(cuts: Path, folder: Path | str, config: ShardConfig = SMALL) -> Manifest:
    """Make the shards of cuts in a folder, or at an address."""
    return make_shards(cuts, open_store(str(folder)), config)


def shards_of(folder: Path | str, patience: float = 20.0) -> Shards:
    """The shards at a folder or address."""
    return open_shards(str(folder), patience)


def heard(shards: Shards) -> list[ShardedClip]:
    """All utterances; none may be an error."""
    found = list(shards.read())
    assert all(isinstance(one, ShardedClip) for one in found), [str(one) for one in found]
    return found  # type: ignore[return-value]


def wanted(cuts: Path) -> list[tuple[Clip, np.ndarray]]:
    """What training would read of the cuts themselves, in their order."""
    reader = ClipReader()
    return [
        (replace(clip, path=recording_name(clip.path)), reader.read(clip))
        for clip in read_clips(cuts)
    ]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that is not hidden."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}
