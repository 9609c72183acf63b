"""Recordings of half an hour: word error rates, loops and lost utterances, beside faster-whisper.

    python benchmarks/whisper_long.py --weights FOLDER [--minutes 30] [--kept FILE] [--ours]
        [--only NAME ...]

Five recordings of LibriSpeech utterances of many speakers: pauses of 0.2 to 2 s, of 0.2 to 20 s,
the same with noise of `noise_rooms` at 15 dB in speech and pauses, telephone speech with pauses,
and one with no pause at all (utterances trimmed to their speech). turnout as it is by default,
which is greedy, and with a beam of 5; faster-whisper's sequential and its batched pipeline as they
are by default, which is a beam of 5, with the same weights. A lost utterance is one of which half
the words or more are missing. Needs faster-whisper
beside the test environment. With --kept every text is written to a file as it comes, and one of the
same length and weights is not heard again. With --ours turnout alone is heard, and faster-whisper's
figures stay what the last whole run found, whose commit and machine stand beside them; with --only
these recordings alone, and the other rows stay. Writes results/whisper_long.json.
"""

import argparse
import json
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
from heard import Heard, weights_in
from numpy.typing import NDArray
from origin import ROOT, origin
from whisper_normalizer.english import EnglishTextNormalizer
from whisper_speech import RATE, Spoken, at_16khz, content, from_corpus

import turnout
from turnout.audio.telephone import TelephoneChannel
from turnout.audio.waveform import Waveform
from turnout.hub.convert import convert

SEED = 0
NORMAL = EnglishTextNormalizer()
SNR_DB = 15.0
LOOPS = 5
"""An n-gram of up to eight words that stands so often in succession is a loop."""
OURS = ("turnout", "turnout, beam 5")
SEQUENTIAL, BATCHED = "faster-whisper, sequential", "faster-whisper, batched"
Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """A long recording, and what is said in it in order."""

    name: str
    samples: Samples
    texts: tuple[str, ...]


def recordings(data: Path, minutes: float) -> Iterator[Recording]:
    """The five."""
    spoken = list(from_corpus(data, "librispeech", 10_000, SEED))
    noise = noises(data)
    settings = (
        ("pauses of 0.2 to 2 s", 0.2, 2.0),
        ("pauses of 0.2 to 20 s", 0.2, 20.0),
        ("noise, pauses of 0.2 to 20 s", 0.2, 20.0),
        ("telephone, pauses of 0.2 to 5 s", 0.2, 5.0),
        ("no pause", 0.0, 0.0),
    )
    for number, (name, low, high) in enumerate(settings):
        rng = np.random.default_rng((SEED, number))
        chosen = [spoken[i] for i in rng.permutation(len(spoken))]
        samples, texts = joined(chosen, minutes * 60, (low, high), rng)
        if name.startswith("noise"):
            samples = noisy(samples, noise, rng)
        if name.startswith("telephone"):
            samples = TelephoneChannel().apply(samples, rng)
        yield Recording(name, samples.astype(np.float32), texts)


def joined(
    spoken: Sequence[Spoken], seconds: float, pauses: tuple[float, float], rng: np.random.Generator
) -> tuple[Samples, tuple[str, ...]]:
    """Utterances in a row until they are long enough; pauses are digital silence with a little
    noise in it."""
    pieces: list[Samples] = []
    texts: list[str] = []
    length = 0
    for one in spoken:
        if length >= seconds * RATE:
            break
        sound = one.samples if pauses[1] else trimmed(one.samples)
        gap = np.zeros(round(rng.uniform(*pauses) * RATE), np.float32)
        pieces += [sound, gap]
        texts.append(NORMAL(one.text))
        length += len(sound) + len(gap)
    samples = np.concatenate(pieces)
    return samples + 1e-4 * rng.standard_normal(len(samples)).astype(np.float32), tuple(texts)


def trimmed(samples: Samples) -> Samples:
    """Without what is 35 dB below the loudest at both ends."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    energy = np.square(frames).mean(axis=1)
    loud = np.flatnonzero(energy > energy.max() * 10**-3.5)
    return samples[loud[0] * 160 : (loud[-1] + 1) * 160]


def noises(data: Path) -> Samples:
    """All noises of `noise_rooms`, one behind the other."""
    with tarfile.open(data / "noise_rooms.tar") as tar:
        rows = content(tar, "noise_rooms/manifest.jsonl").decode().splitlines()
        found = [row for row in map(json.loads, rows) if row["kind"] == "noise"]
        return np.concatenate(
            [at_16khz(content(tar, f"noise_rooms/{row['audio_filepath']}")) for row in found]
        )


def noisy(samples: Samples, noise: Samples, rng: np.random.Generator) -> Samples:
    """With noise from a random place on, so much softer than what is not silent."""
    start = int(rng.integers(len(noise)))
    added = np.resize(np.roll(noise, -start), len(samples))
    power = np.square(samples[np.abs(samples) > 1e-3]).mean() / np.square(added).mean()
    return samples + added * np.float32(np.sqrt(power * 10 ** (-SNR_DB / 10)))


def judged(recording: Recording, text: str) -> dict[str, Any]:
    """Word error rate, loops, and for each utterance the share of its words that were found."""
    found = NORMAL(text)
    reference = " ".join(recording.texts)
    aligned = jiwer.process_words(reference, found)
    hit = np.zeros(len(reference.split()), dtype=bool)
    for chunk in aligned.alignments[0]:
        hit[chunk.ref_start_idx : chunk.ref_end_idx] = chunk.type == "equal"
    lengths = [len(text.split()) for text in recording.texts]
    shares = [float(part.mean()) for part in np.split(hit, np.cumsum(lengths)[:-1]) if len(part)]
    return {
        "wer": round(100 * aligned.wer, 2),
        "loops": loops(found.split()),
        "lost": [i for i, share in enumerate(shares) if share <= 0.5],
    }


def loops(words: list[str]) -> int:
    """How many n-grams stand too often in succession."""
    count = 0
    for width in range(1, 9):
        run = 0
        for place in range(width, len(words)):
            run = run + 1 if words[place] == words[place - width] else 0
            count += run == width * (LOOPS - 1)
    return count


def hears(weights: Path) -> dict[str, Callable[[Samples], str]]:
    """What turnout writes, greedy and with a beam."""
    with tempfile.TemporaryDirectory() as place:
        model = turnout.load(convert(weights, Path(place) / "model"))
    greedy, beam = OURS
    return {
        greedy: lambda samples: model.transcribe(Waveform(samples, RATE)).text,
        beam: lambda samples: model.transcribe(Waveform(samples, RATE), beam_size=5).text,
    }


def peers(weights: Path) -> dict[str, Callable[[Samples], str]]:
    """What faster-whisper's two pipelines write."""
    from faster_whisper import (  # noqa: PLC0415 - not in the test environment
        BatchedInferencePipeline,
        WhisperModel,
    )

    peer = WhisperModel(str(weights), device="cpu", compute_type="float32")
    batched = BatchedInferencePipeline(peer)

    def written(segments: Any) -> str:
        return " ".join(segment.text.strip() for segment in segments)

    return {
        SEQUENTIAL: lambda samples: written(peer.transcribe(samples)[0]),
        BATCHED: lambda samples: written(batched.transcribe(samples, batch_size=8)[0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="a CTranslate2 folder")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kept", type=Path, help="of earlier runs, taken and added to")
    parser.add_argument("--ours", action="store_true", help="faster-whisper as it was found last")
    parser.add_argument("--only", nargs="+", help="with --ours: the other rows stay")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    if arguments.only and not arguments.ours:
        parser.error("--only leaves the other rows as they are: give --ours, too")
    target = Path(__file__).parent / "results" / "whisper_long.json"
    found: dict[str, Any] = {}
    systems = hears(arguments.weights)
    packages = ["numpy", "onnxruntime"]
    if arguments.ours:
        found = json.loads(target.read_text())
    else:
        systems |= peers(arguments.weights)
        packages += ["faster-whisper", "ctranslate2"]
    made_by = origin(SEED, *packages)
    theirs = found.get("faster-whisper") or {name: (found or made_by)[name] for name in made_by}
    earlier = {
        row["recording"]: {"commit": found["commit"], **row} for row in found.get("rows", [])
    }
    made_with = f"weights {weights_in(arguments.weights)}, {arguments.minutes:g} minutes"
    heard = Heard(arguments.kept, made_with)
    rows = []
    for recording in recordings(arguments.data, arguments.minutes):
        if arguments.only and recording.name not in arguments.only:
            rows.append(earlier[recording.name])
            continue
        row: dict[str, Any] = {
            "commit": made_by["commit"],
            "recording": recording.name,
            "minutes": round(len(recording.samples) / RATE / 60, 1),
            "utterances": len(recording.texts),
        }
        for name, hear in systems.items():
            began = time.monotonic()
            row[name] = judged(
                recording, heard.text(name, recording.name, partial(hear, recording.samples))
            )
            print(recording.name, name, row[name], f"{time.monotonic() - began:.0f} s", flush=True)
        for name in (SEQUENTIAL, BATCHED):
            row.setdefault(name, earlier.get(recording.name, {}).get(name))
        row["lost by turnout alone"] = {
            name: sorted(
                set(row[name]["lost"]) - (lost_by(row, SEQUENTIAL) & lost_by(row, BATCHED))
            )
            for name in OURS
        }
        rows.append(row)
    written = {**made_by, "faster-whisper": theirs, "rows": rows}
    target.write_text(json.dumps(written, indent=1) + "\n")


def lost_by(row: dict[str, Any], name: str) -> set[int]:
    """The utterances that a system lost."""
    return set(row[name]["lost"])


if __name__ == "__main__":
    main()
