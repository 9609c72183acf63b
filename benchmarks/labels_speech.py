"""What the benchmark of labels learns from: LibriSpeech train in two halves, by speaker. One
keeps its texts; the other has none, and is labelled by whisper-base, through `turnout label`.
"""

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omni_speech import cuts_of, hours_of, written

from turnout.evaluation.counting import counted
from turnout.files import write_whole

CORPUS = "librispeech"
HALVES = ("labelled", "untranscribed")
BEAM, PART_MINUTES = 5, 5
SPOKEN = {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint"}
"""As LibriSpeech writes what Whisper shortens."""
Line = dict[str, Any]


@dataclass(frozen=True)
class Utterance:
    """A text to learn, and the sound that it is of."""

    id: str
    text: str


def lines_of(path: Path) -> list[Line]:
    """The cuts of a file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def halves_of(data: Path, runs: Path, speakers: int | None) -> dict[str, Path]:
    """The cuts of both halves, written where they are not there: of the speakers, in the order of
    their numbers, every other one has no texts; the first `speakers` of each half, if not all."""
    folder = runs.resolve() / f"halves-{speakers or 'all'}"
    paths = {half: folder / f"{half}.jsonl.gz" for half in HALVES}
    if not all(path.exists() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        lines = lines_of(cuts_of(data, runs, CORPUS) / "train.jsonl.gz")
        names = sorted({speaker_of(line) for line in lines}, key=int)
        for number, half in enumerate(HALVES):
            chosen = names[number::2][:speakers]
            own = [line for line in lines if speaker_of(line) in chosen]
            write_cuts(paths[half], own if half == "labelled" else map(untold, own))
    return paths


def speaker_of(line: Line) -> str:
    """Of a cut."""
    return line["supervisions"][0]["speaker"]


def untold(line: Line) -> Line:
    """The cut without its text, and without anything that was found by looking at it."""
    (said,) = line["supervisions"]
    kept = ("id", "recording_id", "start", "duration", "channel", "speaker")
    return {**line, "supervisions": [{key: said[key] for key in kept}]}


def write_cuts(path: Path, lines: Iterable[Line]) -> None:
    """A file of cuts."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_whole(path, gzip.compress(text.encode(), mtime=0))


def labels_of(cuts: Path, model: Path, threads: int) -> Path:
    """The folder of the labels of some cuts; what was heard of them is not heard again."""
    folder = cuts.parent / "labels"
    options = ["--beam-size", str(BEAM), "--language", "en", "--part-minutes", str(PART_MINUTES)]
    words = ["label", str(cuts), "-o", str(folder), "--model", str(model), *options]
    command = [sys.executable, "-m", "turnout", *words, "--threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return folder


def texts_in(path: Path) -> Iterator[Utterance]:
    """The texts of cuts as they are learned: in letters, and none with digits, since nobody knows
    how those were read out."""
    for line in lines_of(path):
        (said,) = line["supervisions"]
        text = " ".join(SPOKEN.get(word, word) for word in written(said["text"]).split())
        if text and not re.search(r"\d", said["text"]):
            yield Utterance(line["id"], text)


def facts_of(labels: Path, truth: Path) -> dict[str, Any]:
    """What became of the labelling: how many were kept, and how wrong they are."""
    report = json.loads((labels / "report.json").read_text("utf-8"))
    known = {line["id"]: line["supervisions"][0]["text"] for line in lines_of(truth)}
    kept = {
        line["id"]: line["supervisions"][0]["text"] for line in lines_of(labels / "cuts.jsonl.gz")
    }
    learned = {one.id: one.text for one in texts_in(labels / "cuts.jsonl.gz")}
    return {
        "inputs": report["inputs"],
        "kept": len(kept),
        "kept, hours": round(hours_of([labels / "cuts.jsonl.gz"]), 2),
        "learned, without digits": len(learned),
        "wer of what was kept": rate_of(known, kept),
        "wer of what is learned": rate_of(known, learned),
    }


def rate_of(known: dict[str, str], written_down: dict[str, str]) -> float | None:
    """Word errors of texts by their ids, in percent; None without any."""
    names = sorted(written_down)
    texts = [known[name] for name in names], [written_down[name] for name in names]
    found = counted("wer", *texts, "en")
    value = found.figure(found.counts.sum(axis=0))
    return None if value is None else round(value, 2)
