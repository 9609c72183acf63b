"""How far the word times of the shipped model are from the truth, on words joined by this file.

    python benchmarks/word_times.py [--split test] [--utterances 150] [--data ../shared/data]

Words of one speaker of Arabic Speech Commands (wideband, and again as mu-law at 8 kHz) and of the
Free Spoken Digit Dataset (8 kHz), each trimmed to its speech, are joined 2 to 6 at a time, without
any pause and with pauses of 50 to 300 ms: the truth is where they were joined. Counted are the
begin of every word but the first and the end of every word but the last, of utterances whose text
came out right. Writes results/word_times-SPLIT.json beside this file. Constants of the alignment
were chosen on train and dev speakers; test was run for three states of them and chose none.

This file needs NumPy, soundfile, soxr and the public interface alone.
"""

import argparse
import io
import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

import turnout

SEED = 20_261_126
RATE = 16_000
TELEPHONE_RATE = 8_000
WORDS = (2, 6)
"""In an utterance: fewest and most."""
PAUSES: dict[str, tuple[float, float]] = {"none": (0.0, 0.0), "short": (0.05, 0.3)}
LONGEST_EDGE = 0.4
"""Seconds before the first word and behind the last, at most."""
NOISE = 3e-4
FRAME = RATE // 100
SPEECH_RANGE_DB = 30.0
"""What lies further below a clip's loudest frame is no speech."""
LONGEST_HOLE = 30
"""Frames of no speech inside a word."""
FADE = RATE // 200
SETS = {
    "arabic-wideband": ("arabic_commands", "wideband"),
    "arabic-narrowband": ("arabic_commands", "narrowband"),
    "english-narrowband": ("fsdd", "narrowband"),
}
MEDIAN_SECONDS, MOST_SECONDS, MOST_SHARE = 0.06, 0.15, 0.95
"""What is meant to be reached: the largest median error, and which share is within which error."""

Samples = NDArray[np.float32]
Clips = dict[str, list[bytes]]
"""Encoded recordings of single words, by word."""


@dataclass(frozen=True)
class Joined:
    """Words of one speaker in a row."""

    words: tuple[str, ...]
    spans: NDArray[np.float64]
    """[words, 2]: where each begins and ends, in seconds."""
    samples: Samples
    """At 16 kHz."""


def speakers_of(corpus: Path, split: str) -> list[Clips]:
    """The clips of each speaker of a split."""
    name = corpus.stem
    found: defaultdict[str, Clips] = defaultdict(lambda: defaultdict(list))
    with tarfile.open(corpus) as archive:
        manifest = archive.extractfile(f"{name}/manifest.jsonl")
        assert manifest is not None
        for line in map(json.loads, manifest.read().decode().splitlines()):
            if line["split"] == split:
                member = archive.extractfile(f"{name}/{line['audio_filepath']}")
                assert member is not None
                found[line["speaker"]][line["text"]].append(member.read())
    return [found[speaker] for speaker in sorted(found)]


def speech_of(clip: bytes) -> Samples:
    """The speech of a clip at 16 kHz, its ends faded over 5 ms."""
    samples, rate = soundfile.read(io.BytesIO(clip), dtype="float32")
    samples = soxr.resample(samples, rate, RATE).astype(np.float32)
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    energy = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-12)
    energy = np.convolve(np.pad(energy, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    loudest, background = energy.max(), np.quantile(energy, 0.1)
    threshold = max(loudest - SPEECH_RANGE_DB, background + 0.25 * (loudest - background))
    loud = np.flatnonzero(energy >= threshold)
    runs = np.split(loud, np.flatnonzero(np.diff(loud) > LONGEST_HOLE) + 1)
    speech = max(runs, key=len)
    word = samples[speech[0] * FRAME : (speech[-1] + 1) * FRAME].copy()
    fade = np.linspace(0, 1, FADE, endpoint=False, dtype=np.float32)
    word[:FADE] *= fade
    word[-FADE:] *= fade[::-1]
    return word


def joined(
    speakers: list[Clips],
    count: int,
    pauses: tuple[float, float],
    words_of_each: tuple[int, int] = WORDS,
) -> Iterator[Joined]:
    """Utterances of the speakers in turn: the same words whatever the pauses."""
    for index in range(count):
        rng = np.random.default_rng((SEED, index))
        clips = speakers[index % len(speakers)]
        fewest, most = words_of_each
        chosen = rng.integers(len(clips), size=int(rng.integers(fewest, most + 1)))
        words = tuple(sorted(clips)[word] for word in chosen)
        spoken = [speech_of(clips[word][int(rng.integers(len(clips[word])))]) for word in words]
        lead, tail = rng.uniform(0, LONGEST_EDGE, 2)
        gaps = [lead, *rng.uniform(*pauses, len(words) - 1), tail]
        pieces, spans, place = [], [], 0
        for gap, word in zip(gaps, [*spoken, None], strict=True):
            silence = np.zeros(round(gap * RATE), dtype=np.float32)
            place += len(silence)
            pieces += [silence] if word is None else [silence, word]
            if word is not None:
                spans.append((place / RATE, (place + len(word)) / RATE))
                place += len(word)
        samples = np.concatenate(pieces)
        samples += NOISE * rng.standard_normal(len(samples)).astype(np.float32)
        yield Joined(words, np.array(spans), samples)


def as_wav(samples: Samples, bandwidth: str) -> bytes:
    """A WAV file: 16 bits at 16 kHz, or mu-law at 8 kHz."""
    rate, subtype = (RATE, "PCM_16") if bandwidth == "wideband" else (TELEPHONE_RATE, "ULAW")
    out = io.BytesIO()
    sounds = soxr.resample(samples, RATE, rate) if rate != RATE else samples
    soundfile.write(out, np.clip(sounds, -1, 1), rate, format="WAV", subtype=subtype)
    return out.getvalue()


def errors_of(transcript: turnout.Transcript, truth: Joined) -> list[float] | None:
    """By how many seconds each inner begin and end is off; None where the text is another."""
    words = [word for segment in transcript.segments for word in segment.words]
    if tuple(word.word for word in words) != truth.words:
        return None
    found = np.array([(word.start, word.end) for word in words])
    off = np.abs(found - truth.spans)
    return [*off[1:, 0].tolist(), *off[:-1, 1].tolist()]


def measured(
    model: turnout.Transcriber, data: Path, split: str, count: int
) -> Iterator[dict[str, Any]]:
    """The errors of each set with each kind of pause."""
    for name, (corpus, bandwidth) in SETS.items():
        speakers = speakers_of(data / f"{corpus}.tar", split)
        for kind, pauses in PAUSES.items():
            utterances = list(joined(speakers, count, pauses))
            files = [as_wav(utterance.samples, bandwidth) for utterance in utterances]
            found = model.transcribe(files, word_timestamps=True)
            results = [errors_of(*pair) for pair in zip(found, utterances, strict=True)]
            right = [errors for errors in results if errors is not None]
            yield {
                "set": name,
                "pauses": kind,
                "speakers": len(speakers),
                "utterances": count,
                "right": len(right),
                "errors": [error for errors in right for error in errors],
            }


def summary(errors: list[float]) -> dict[str, float]:
    """Count, median and 95th percentile in seconds, and the share within 0.15 s."""
    off = np.array(errors)
    # Times are given to the hundredth.
    within = off <= MOST_SECONDS + 0.005
    return {
        "boundaries": len(errors),
        "median": round(float(np.median(off)), 4),
        "p95": round(float(np.percentile(off, 95)), 4),
        "within": round(float(within.mean()), 4),
    }


def main() -> None:
    from origin import ROOT, origin  # noqa: PLC0415 - tests import this file from elsewhere

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    parser.add_argument("--utterances", type=int, default=150)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    made_by = origin(SEED, "numpy", "onnxruntime")
    model = turnout.load(threads=1)
    rows = []
    for row in measured(model, arguments.data, arguments.split, arguments.utterances):
        rows.append(row)
        print({key: value for key, value in row.items() if key != "errors"}, summary(row["errors"]))
    table = [{**row, "errors": None} | summary(row["errors"]) for row in rows]
    totals = {
        kind: summary([error for row in rows if row["pauses"] == kind for error in row["errors"]])
        for kind in PAUSES
    }
    print(totals)
    table = [{key: value for key, value in row.items() if key != "errors"} for row in table]
    result = {**made_by, "split": arguments.split, "totals": totals, "rows": table}
    path = Path(__file__).parent / "results" / f"word_times-{arguments.split}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
