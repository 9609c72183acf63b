"""What the multitask benchmark learns from and is tested on: connected Arabic commands and English
digits, in five folds, in each of which other speakers are held out: a fifth for test and a fifth
for dev.

A test utterance is of 2 to 6 words of one speaker, who is in no training of that fold, and every
speaker is in the test of one. Arabic is heard wideband and, the same, by telephone; English as it
was recorded, at 8 kHz.
"""

import gzip
import json
import tarfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from commands import connected, telephone
from numpy.typing import NDArray
from whisper_speech import content

from turnout.audio.telephone import back_at_16khz
from turnout.config.preparation import PrepareConfig
from turnout.corpora.clips import Clip
from turnout.corpora.prepare import prepare
from turnout.data.joining import joined_text, joined_translations

FOLDS = 5
SETS = {"arabic": "arabic_commands", "english": "fsdd"}
HEARD = (("arabic", "wideband"), ("arabic", "narrowband"), ("english", "narrowband"))
"""Of the cells of the table, each for both tasks."""
SEED = 20_261_126
Line = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One utterance to be heard."""

    id: str
    cell: str
    """"arabic narrowband"."""
    fold: int
    speaker: str
    language: str
    target: str
    text: str
    translation: str
    bandwidth: str
    samples: NDArray[np.float32]
    """At 16 kHz."""


def fold_of(speakers: Iterable[str], speaker: str, fold: int) -> str:
    """Which split a speaker is in: the speakers of a set are dealt out in order of their names."""
    place = sorted(set(speakers)).index(speaker)
    return {fold: "test", (fold + 1) % FOLDS: "dev"}.get(place % FOLDS, "train")


def cuts_of(data: Path, runs: Path, name: str, fold: int) -> dict[str, Path]:
    """The cuts of a set's splits in a fold, made where they are not there."""
    folder = runs / "corpora" / name / f"fold{fold}"
    paths = {split: folder / f"{split}.jsonl.gz" for split in ("train", "dev", "test")}
    if all(path.exists() for path in paths.values()):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    lines = all_cuts(data, runs, name)
    speakers = [speaker_of(line) for line in lines]
    splits = [fold_of(speakers, speaker, fold) for speaker in speakers]
    for split, path in paths.items():
        own = [in_split(line, split) for line, of in zip(lines, splits, strict=True) if of == split]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in own)
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return paths


def all_cuts(data: Path, runs: Path, name: str) -> list[Line]:
    """Of a whole set, as `turnout prepare` writes them."""
    place = runs.resolve() / "corpora" / name
    audio, cuts = place / SETS[name], place / "cuts"
    if not cuts.exists():
        unpack_set(data, SETS[name], place)
        # A word of a second may not show how wide its band is; what is at 8 kHz is narrow anyway.
        print(prepare(audio / "manifest.jsonl", cuts, PrepareConfig(bandwidth="wideband")))
    lines = []
    for path in sorted(cuts.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines += [json.loads(line) for line in file]
    return sorted(lines, key=lambda line: line["id"])


def unpack_set(data: Path, name: str, place: Path) -> None:
    """Write the files of one of the sets of `data` into a folder."""
    with tarfile.open(data / f"{name}.tar") as tar:
        for member in tar.getmembers():
            if member.isfile():
                path = place / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content(tar, member.name))


def speaker_of(line: Line) -> str:
    """Of a cut."""
    return line["supervisions"][0]["speaker"]


def in_split(line: Line, split: str) -> Line:
    """The cut, as one of this split."""
    (said,) = line["supervisions"]
    return {**line, "supervisions": [{**said, "custom": {**said["custom"], "split": split}}]}


def asked_of(
    data: Path, runs: Path, fold: int, split: str, count: int, corpora: Collection[str]
) -> Iterator[Asked]:
    """So many utterances of each cell of these corpora."""
    for name, bandwidth in HEARD:
        if name not in corpora:
            continue
        cuts = cuts_of(data, runs, name, fold)[split]
        for index, spoken in enumerate(connected(cuts, count, SEED)):
            samples = spoken.samples
            if (name, bandwidth) == ("arabic", "narrowband"):
                arrived = telephone(samples, index + 1000 * fold)
                samples = back_at_16khz(arrived, len(samples))
            yield made(f"{fold} {split} {name} {bandwidth} {index}", spoken.clips, samples, fold)


def made(name: str, clips: tuple[Clip, ...], samples: NDArray[np.float32], fold: int) -> Asked:
    """An utterance of these words."""
    first = clips[0]
    ((target, translation),) = joined_translations(clips).items()
    _, _, corpus, bandwidth, _ = name.split()
    return Asked(
        id=name,
        cell=f"{corpus} {bandwidth}",
        fold=fold,
        speaker=f"{corpus} {first.voice}",
        language=first.language,
        target=target,
        text=joined_text([clip.text for clip in clips], first.language),
        translation=translation,
        bandwidth=bandwidth,
        samples=samples,
    )
