"""What is kept of each training of the benchmarks of several seeds: where it was made, its loss
over steps; of shared routers what it got wrong in each utterance of each set.
"""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from origin import origin

import turnout
from turnout.config import TranscriptionOptions
from turnout.config.plain import to_plain
from turnout.config.sets import SetConfig, SetsConfig
from turnout.evaluation.counting import counted
from turnout.evaluation.report import Report
from turnout.evaluation.sets import evaluate_sets
from turnout.files import write_whole

Counts = dict[str, list[dict[str, Any]]]
"""Of each set, of each utterance: id, speaker, corpus, word and character errors and lengths."""
Runs = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""What is known of each training, by row and seed."""


def made_on(runs: Path, name: str) -> dict[str, Any]:
    """Commit and machine of a training, noted the first time that it is asked for: when it is
    finished."""
    place = runs / f"{name}.made.json"
    if not place.exists():
        known = origin(0, "torch")
        noted = {key: known[key] for key in ("commit", "machine")}
        noted["processor"] = processor()
        write_whole(place, json.dumps(noted, indent=1).encode())
    return json.loads(place.read_text("utf-8"))


def processor() -> str:
    """What trains here: the GPU where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo")
    names = lines.read_text("utf-8").splitlines() if lines.exists() else []
    named = next((line for line in names if line.startswith("model name")), "")
    return named.partition(": ")[2] or platform.processor() or platform.machine()


def check_machines(runs: Iterable[Mapping[str, Any]]) -> None:
    """Raise SystemExit where rows of one table were trained on different processors."""
    found = sorted({run["processor"] for run in runs})
    if len(found) > 1:
        raise SystemExit(
            f"the rows were trained on {' and '.join(found)}, which no table may mix: train all "
            "on one, or name those of one with --rows and --seeds"
        )


def in_common(found: Runs, seeds: Sequence[int]) -> tuple[Runs, list[int]]:
    """The rows of which there is something, and the seeds that all of them have."""
    rows = {row: runs for row, runs in found.items() if runs}
    common = [seed for seed in seeds if all(seed in runs for runs in rows.values())]
    return rows, common if rows else []


def told(rows: Runs) -> dict[str, dict[str, Any]]:
    """What a table says of each training: all but the counts, of which its figures are made."""
    return {
        row: {
            str(seed): {key: value for key, value in run.items() if key != "counts"}
            for seed, run in runs.items()
        }
        for row, runs in rows.items()
    }


def curve_of(folder: Path, loss: str = "ctc") -> list[tuple[int, float]]:
    """Steps and the mean of one loss (per token) of those since the last; no balance loss in it."""
    lines = map(json.loads, (folder / "log.jsonl").read_text("utf-8").splitlines())
    return [(line["step"], round(line[loss], 4)) for line in lines if line["event"] == "train"]


def scored(model: Path, split: str, sets: SetsConfig, threads: int) -> Counts:
    """What a model gets wrong in each utterance of the sets; those that are not kept are heard, and
    each kept as it comes."""
    digests = hashlib.sha256((model / "SHA256SUMS").read_bytes()).hexdigest()
    transcriber: list[turnout.Transcriber] = []
    found: Counts = {}
    for number, one in enumerate(sets.sets):
        heard_with = json.dumps([digests, to_plain(one)])
        digest = hashlib.sha256(heard_with.encode()).hexdigest()[:16]
        place = model.parent / "heard" / f"{split}-{number:02d}-{digest}.json"
        if not place.exists():
            if not transcriber:
                transcriber.append(turnout.load(model, threads=threads))
            place.parent.mkdir(exist_ok=True)
            counts = heard(transcriber[0], one)
            write_whole(place, json.dumps(counts, ensure_ascii=False).encode())
            print(f"{model.parent.name}: {one.name} heard", flush=True)
        found[one.name] = json.loads(place.read_text("utf-8"))
    return found


def heard(transcriber: turnout.Transcriber, one: SetConfig) -> list[dict[str, Any]]:
    """What a model gets wrong in one set."""
    options = TranscriptionOptions(task="transcribe")
    report = evaluate_sets(transcriber, SetsConfig(sets=(one,)), options)
    return counts_of(report.reports[one.name])


def counts_of(report: Report) -> list[dict[str, Any]]:
    """Of each utterance of a report; raises SystemExit where one could not be read."""
    if report.failed:
        raise SystemExit(f"{report.failed[0]}: every model must hear every utterance")
    texts = sorted(report.texts, key=lambda text: text.id)
    sides = [text.reference for text in texts], [text.hypothesis for text in texts]
    words, letters = (counted(metric, *sides, "en").counts.tolist() for metric in ("wer", "cer"))
    return [
        {
            "id": text.id,
            "speaker": text.speaker,
            "corpus": Path(text.recording).parents[1].name,
            "wer": words[place],
            "cer": letters[place],
            "text": text.hypothesis,
        }
        for place, text in enumerate(texts)
    ]
