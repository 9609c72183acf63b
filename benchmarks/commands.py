"""What the shipped model reaches on connected words of speakers it has never heard.

    python benchmarks/commands.py [--split test] [--model commands] [--utterances 400]

Builds, once and from a fixed seed, connected utterances of 2 to 6 words of the speakers of a split:
Arabic commands wideband, the same utterances through the telephone channel (8 kHz), and English
digits (recorded at 8 kHz). Then evaluates both tasks; language and bandwidth are left to the
program. The cuts are those that `recipes/commands.sh` prepares. Writes the sets below `data/` and
the scores to results/commands-SPLIT.json beside this file. Choices are made on `--split dev`.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from origin import ROOT, origin

from turnout import TranscriptionOptions, load
from turnout.audio.features import SAMPLE_RATE
from turnout.audio.telephone import TELEPHONE_RATE, random_channel
from turnout.config import JoinConfig
from turnout.config.preparation import PrepareConfig
from turnout.corpora.clips import Clip, ClipReader, read_clips
from turnout.corpora.prepare import prepare
from turnout.data.joining import (
    draw_joining,
    join_waveforms,
    joined_text,
    joined_translations,
    speakers_of,
)
from turnout.evaluation.evaluate import evaluate
from turnout.evaluation.intervals import DESCRIPTION
from turnout.evaluation.report import Report

SEED = 20_250_810
FEWEST_WORDS, MOST_WORDS = 2, 6
TARGETS = {
    ("wideband", "transcribe", "ar"): 3.0,
    ("narrowband", "transcribe", "ar"): 4.0,
    ("wideband", "translate", "ar"): 4.0,
    ("narrowband", "translate", "ar"): 5.0,
    ("narrowband", "transcribe", "en"): 10.0,
    ("narrowband", "translate", "en"): 10.0,
}
"""Largest WER in percent that the model is meant to have, by bandwidth, task, spoken language."""


@dataclass(frozen=True)
class Spoken:
    """One connected utterance."""

    samples: NDArray[np.float32]
    """At 16 kHz."""
    clips: tuple[Clip, ...]


def connected(cuts: Path, count: int, seed: int) -> Iterator[Spoken]:
    """Utterances of 2 to 6 words, their speakers in turn."""
    clips = read_clips(cuts)
    speakers = speakers_of(clips)
    reader = ClipReader()
    config = JoinConfig(min_words=FEWEST_WORDS, max_words=MOST_WORDS)
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        joining = draw_joining(speakers[index % len(speakers)], config, rng)
        words = tuple(clips[clip] for clip in joining.clips)
        samples = join_waveforms([reader.read(word) for word in words], joining, rng)
        yield Spoken(samples, words)


def telephone(samples: NDArray[np.float32], index: int) -> NDArray[np.float32]:
    """The samples at 8 kHz behind a random telephone channel."""
    rng = np.random.default_rng((SEED, index, 1))
    return random_channel(rng).at_8khz(samples, rng)


def write_set(folder: Path, spoken: list[Spoken], form: str) -> Path:
    """FLAC files and cuts of one set in one form: 'wideband', 'telephone' or 'native8k'."""
    audio = folder / "audio"
    audio.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for index, utterance in enumerate(spoken):
        rate = SAMPLE_RATE if form == "wideband" else TELEPHONE_RATE
        samples = utterance.samples
        if form == "telephone":
            samples = telephone(samples, index)
        elif form == "native8k":
            samples = soxr.resample(samples, SAMPLE_RATE, TELEPHONE_RATE)
        name = f"{index:04d}.flac"
        soundfile.write(audio / name, np.clip(samples, -1, 1), rate)
        bandwidth = "wideband" if form == "wideband" else "narrowband"
        row = {**line(name, utterance), "bandwidth": bandwidth}
        lines.append(json.dumps(row, ensure_ascii=False))
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    prepare(manifest, folder / "cuts", PrepareConfig(kind="nemo"))
    return next((folder / "cuts").glob("*.jsonl.gz"))


def line(name: str, utterance: Spoken) -> dict[str, Any]:
    """The manifest line of one utterance."""
    first = utterance.clips[0]
    ((target, translation),) = joined_translations(utterance.clips).items()
    return {
        "audio_filepath": f"audio/{name}",
        "duration": len(utterance.samples) / SAMPLE_RATE,
        "text": joined_text([clip.text for clip in utterance.clips], first.language),
        "lang": first.language,
        "translation": translation,
        "target_lang": target,
        "speaker": first.speaker,
    }


def build(data: Path, split: str, count: int) -> list[Path]:
    """The cuts of the three sets, made where they are not there yet."""
    folder = data / "connected" / f"{split}-{count}"
    done = folder / "done.json"
    if not done.exists():
        arabic = list(connected(data / f"cuts/arabic_commands/{split}.jsonl.gz", count, SEED))
        english = list(connected(data / f"cuts/fsdd/{split}.jsonl.gz", count, SEED + 1))
        made = [
            write_set(folder / "arabic-wideband", arabic, "wideband"),
            write_set(folder / "arabic-narrowband", arabic, "telephone"),
            write_set(folder / "english-narrowband", english, "native8k"),
        ]
        done.write_text(json.dumps([str(path.relative_to(folder)) for path in made]))
    return [folder / name for name in json.loads(done.read_text())]


def rows(report: Report) -> list[dict[str, Any]]:
    """The scores of each row beside what the model is meant to reach."""
    table: list[dict[str, Any]] = []
    for row in report.rows:
        target = TARGETS.get((row.bandwidth, row.task, row.language))
        table.append(
            {
                "bandwidth": row.bandwidth,
                "task": row.task,
                "language": row.language,
                "target_language": row.target_language,
                "utterances": row.utterances,
                "wer": row.wer.value,
                "wer_interval": [row.wer.low, row.wer.high],
                "speakers": row.speakers,
                "few_speakers": row.few_speakers,
                "wer_target": target,
                "reached": None if None in (target, row.wer.value) else row.wer.value <= target,
                "cer": row.cer.value,
                "bleu": row.bleu.value,
                "chrf": row.chrf.value,
                "language_found": row.language_found,
                "bandwidth_found": row.bandwidth_found,
            }
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    parser.add_argument("--model", default="commands")
    parser.add_argument("--utterances", type=int, default=400)
    parser.add_argument("--beam-size", type=int, default=1)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    arguments = parser.parse_args()
    made_by = origin(SEED, "numpy", "onnxruntime")
    cuts = build(arguments.data, arguments.split, arguments.utterances)
    transcriber = load(arguments.model, backend=arguments.backend)
    options = TranscriptionOptions(task="both", beam_size=arguments.beam_size)
    table = [row for path in cuts for row in rows(evaluate(transcriber, [path], options))]
    for row in table:
        low, high = row["wer_interval"]
        print(
            f"{row['bandwidth']:10} {row['task']:10} {row['language']}->{row['target_language']} "
            f"WER {row['wer']:6.2f} % (target {row['wer_target']} %), {low:.2f} to {high:.2f} % "
            f"by {row['speakers']} speakers, language right {row['language_found']}, bandwidth "
            f"right {row['bandwidth_found']:.3f}"
        )
    result = {**made_by, "split": arguments.split, "intervals": DESCRIPTION, "rows": table}
    path = Path(__file__).parent / "results" / f"commands-{arguments.split}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
