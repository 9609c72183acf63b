"""How often the measured bandwidth is right: real speech, and what may happen to it (the project's
own choice of noises, rooms, lines and codecs, in bandwidth_conditions.py).

    python benchmarks/bandwidth.py [--utterances 60] [--seed 0] [--data ../shared/data]
        [--prompts FOLDER] [--fit]

Reported are speakers that the rule was not made from: the test split of each set, and kerstin_de
whole. Every utterance is cut to 1, 2 or 4 s (digits of one speaker are joined until they
are a second) and stands in every condition that its set allows. Writes results/bandwidth.json.

--prompts names the folder that holds Asterisk's real telephone prompts, the same speech as 8 kHz,
GSM and 16 kHz G.722 (`usr/share/asterisk/sounds` where `apt-get download asterisk-core-sounds-
{en,es,fr,it,ru}-{wav,g722,gsm}` and `dpkg -x PACKAGE FOLDER` have put them); prompts of the test
split by id, in five voices, two of which the rule was not made from. Without it their rows are
left out.

--fit makes the rule instead, from train and dev speakers: it prints the weights that
turnout.audio.bandwidth has.
"""

import argparse
import hashlib
import json
import random
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from bandwidth_conditions import Floats, Stored, Surroundings, Trial, decode, trials
from origin import ROOT, origin

from turnout.audio.bandwidth import BandwidthMeter
from turnout.audio.features import SAMPLE_RATE
from turnout.audio.waveform import read_audio
from turnout.guidance import Bandwidth

SETS = ("arabic_commands", "fsdd", "librispeech", "kathleen_en", "kerstin_de", "ljspeech_part")
NARROWBAND_SETS = ("fsdd",)
HELD_OUT_SETS = ("kerstin_de",)
"""Of one speaker each; the other such sets made the rule, and are not reported."""
HELD_OUT_VOICES = ("it", "ru")
SECONDS = (1.0, 2.0, 4.0)
SHORTEST_SECONDS = 1.0
QUIETEST = 0.003
"""Peak; what is quieter is no speech."""


@dataclass(frozen=True)
class Utterance:
    """One utterance: its samples at 16 kHz, and as its file has it where that is wideband."""

    id: str
    source: str
    speaker: str
    samples: Floats
    stored: Stored | None


def utterances(data: Path, count: int, seed: int, *, fit: bool) -> Iterator[Utterance]:
    """`count` of each set: of test speakers, or of all others."""
    for name in SETS:
        truth_known = name in NARROWBAND_SETS
        with tarfile.open(data / f"{name}.tar") as tar:
            rows = [row for row in manifest(tar, name) if in_fit(name, row) is fit]
            for chosen in drawn(rows, count, random.Random(f"{seed} {name} {fit}")):
                waves = [
                    read_audio(member(tar, f"{name}/{row['audio_filepath']}")) for row in chosen
                ]
                samples = np.concatenate([wave.samples for wave in waves])
                stored = None if truth_known else (samples, waves[0].native_rate)
                path, speaker = chosen[0]["audio_filepath"], chosen[0]["speaker"]
                yield Utterance(f"{name}/{path}", name, f"{name}/{speaker}", samples, stored)


def in_fit(name: str, row: dict[str, Any]) -> bool:
    """Whether the rule is made from it."""
    return name not in HELD_OUT_SETS and row["split"] != "test"


def prompts(folder: Path, count: int, seed: int, *, fit: bool) -> Iterator[Utterance]:
    """`count` prompts, of each voice as many, in three forms."""
    voices = sorted(path for path in folder.iterdir() if path.is_dir())
    voices = [v for v in voices if not (fit and v.name.startswith(HELD_OUT_VOICES))]
    for voice in voices:
        files = [
            path for path in sorted(voice.glob("*.g722")) if (prompt_split(path) < 3) is not fit
        ]
        random.Random(f"{seed} {voice.name} {fit}").shuffle(files)
        for path in files[: -(-count // len(voices))]:
            speaker = f"prompts/{voice.name}"
            samples, rate = decode(str(path), "g722")
            narrow, low = soundfile.read(path.with_suffix(".wav"), dtype="float32")
            gsm, lower = decode(str(path.with_suffix(".gsm")), "gsm")
            name = f"{voice.name}/{path.stem}"
            yield Utterance(name, "prompts, 16 kHz", speaker, samples, (samples, rate))
            for source, heard, its in (("8 kHz", narrow, low), ("GSM", gsm, lower)):
                at_16khz = soxr.resample(heard, its, SAMPLE_RATE)
                yield Utterance(name, f"prompts, {source}", speaker, at_16khz, None)


def prompt_split(path: Path) -> int:
    """0 to 2 are the test split, in every language."""
    return int(hashlib.sha256(path.stem.encode()).hexdigest(), 16) % 10


def drawn(rows: list[dict], count: int, rng: random.Random) -> Iterator[list[dict]]:
    """Lists of rows of one speaker that together last long enough."""
    rng.shuffle(rows)
    groups: dict[str, list[dict]] = {}
    for row in rows:
        if count == 0:
            return
        group = groups.setdefault(row["speaker"], [])
        group.append(row)
        if sum(each["duration"] for each in group) >= SHORTEST_SECONDS:
            yield groups.pop(row["speaker"])
            count -= 1


def manifest(tar: tarfile.TarFile, name: str) -> list[dict[str, Any]]:
    """Its rows."""
    return [json.loads(line) for line in member(tar, f"{name}/manifest.jsonl").splitlines()]


def member(tar: tarfile.TarFile, path: str) -> bytes:
    """The bytes of one file of the archive."""
    file = tar.extractfile(path)
    if file is None:
        raise FileNotFoundError(path)
    return file.read()


def surroundings(data: Path, *, fit: bool) -> Surroundings:
    """Recorded noises and rooms: those of the test split, or all others."""
    found: defaultdict[str, list[Floats]] = defaultdict(list)
    with tarfile.open(data / "noise_rooms.tar") as tar:
        for row in manifest(tar, "noise_rooms"):
            if (row["split"] != "test") is fit:
                wave = read_audio(member(tar, f"noise_rooms/{row['audio_filepath']}"))
                found[row["kind"]].append(wave.samples)
    return Surroundings(noises=found["noise"], rooms=found["impulse response"])


def judged(arguments: argparse.Namespace) -> Iterator[tuple[Utterance, float, Trial]]:
    """Every utterance, its length in seconds, and what became of it in each condition."""
    data, count, seed, fit = (getattr(arguments, n) for n in ("data", "utterances", "seed", "fit"))
    around = surroundings(data, fit=fit)
    sources = [utterances(data, count, seed, fit=fit)]
    if arguments.prompts is None:
        print("Asterisk's prompts are left out: --prompts names their folder")
    else:
        sources.append(prompts(arguments.prompts, count, seed, fit=fit))
    numbered = enumerate(utterance for source in sources for utterance in source)
    for number, utterance in numbered:
        rng = np.random.default_rng((seed, number, fit))
        wanted = round(float(rng.choice(SECONDS)) * SAMPLE_RATE)
        start = int(rng.integers(max(1, len(utterance.samples) - wanted + 1)))
        cut = slice(start, start + wanted)
        samples, stored = utterance.samples[cut], utterance.stored
        if np.abs(samples).max() < QUIETEST or len(samples) < SAMPLE_RATE * SHORTEST_SECONDS:
            continue
        stored = None if stored is None else (stored[0][cut], stored[1])
        for trial in trials(samples, stored, around, rng):
            yield utterance, len(samples) / SAMPLE_RATE, trial


def meter_of(trial: Trial) -> BandwidthMeter:
    """One that has heard it."""
    meter = BandwidthMeter(trial.native_rate)
    meter.add(trial.samples)
    return meter


class Tally:
    """Trials, and what they are of."""

    def __init__(self) -> None:
        self.right = self.of = 0
        self.utterances: set[str] = set()
        self.speakers: set[str] = set()

    def add(self, utterance: Utterance, right: bool) -> None:
        """One more trial."""
        self.right, self.of = self.right + right, self.of + 1
        self.utterances.add(utterance.id)
        self.speakers.add(utterance.speaker)

    def row(self) -> dict[str, Any]:
        """As the results have it."""
        return {
            "right": self.right,
            "of": self.of,
            "share": round(self.right / self.of, 5),
            "utterances": len(self.utterances),
            "speakers": len(self.speakers),
        }


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Tables by condition, by set and condition, and by length."""
    tallies: defaultdict[tuple[str, ...], Tally] = defaultdict(Tally)
    for utterance, seconds, trial in judged(arguments):
        truth = Bandwidth.WIDEBAND if trial.wide else Bandwidth.NARROWBAND
        right = meter_of(trial).bandwidth is truth
        length = "1 to 2 s" if seconds < 2 else "2 to 4 s"
        keys = (("all",), ("bandwidths", truth), ("lengths", f"{truth}, {length}"))
        keys += (("conditions", trial.condition), ("sets", utterance.source, trial.condition))
        for key in keys:
            tallies[key].add(utterance, right)
    tables: dict[str, Any] = {}
    for key, tally in tallies.items():
        place = tables
        for part in key[:-1]:
            place = place.setdefault(str(part), {})
        place[str(key[-1])] = tally.row()
    return tables


def fit(arguments: argparse.Namespace) -> None:
    """Print the weights of a logistic regression, every condition and both bandwidths alike."""
    found = [(trial.condition, trial.wide, meter_of(trial)) for *_, trial in judged(arguments)]
    values = np.array([[*meter.statistics(), 1.0] for *_, meter in found])
    wide = np.array([is_wide for _, is_wide, _ in found])
    counts: defaultdict[tuple[str, bool], int] = defaultdict(int)
    for condition, is_wide, _ in found:
        counts[condition, is_wide] += 1
    weights = np.array([1.0 / counts[condition, is_wide] for condition, is_wide, _ in found])
    for side in (wide, ~wide):
        weights[side] /= 2 * weights[side].sum()
    print(f"{len(found)} trials; bright, cliff, bias:", regression(values, wide, weights).round(3))


def regression(
    values: Floats, wide: np.ndarray, weights: np.ndarray, ridge: float = 1e-3
) -> np.ndarray:
    """Newton's method on standardised values; the ridge keeps parted data's weights finite."""
    mean, spread = values[:, :-1].mean(axis=0), values[:, :-1].std(axis=0)
    scaled = np.concatenate(((values[:, :-1] - mean) / spread, values[:, -1:]), axis=1)
    found = np.zeros(values.shape[1])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(scaled @ found, -30, 30)))
        gradient = scaled.T @ (weights * (p - wide)) + ridge * found
        curvature = (scaled * (weights * p * (1 - p))[:, None]).T @ scaled
        found -= np.linalg.solve(curvature + ridge * np.eye(len(found)), gradient)
    slopes = found[:-1] / spread
    return np.append(slopes, found[-1] - slopes @ mean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--utterances", type=int, default=60, help="of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--prompts", type=Path, help="folder of Asterisk's prompts")
    parser.add_argument("--fit", action="store_true", help="make the rule instead")
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments)
        return
    made_by = origin(arguments.seed, "numpy", "soxr", "av", "soundfile")
    tables = measured(arguments)
    for condition, row in tables["conditions"].items():
        narrow = condition.startswith(("telephone", "Opus 8"))
        flag = (
            "" if row["share"] >= (0.98 if narrow else 0.995) else "   <-- below what is aimed at"
        )
        print(f"{condition:36} {row['right']:5} of {row['of']:5}, {row['speakers']} speakers{flag}")
    made_by["command"] = made_by["command"].replace(str(arguments.prompts), "PROMPTS")
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "bandwidth.json").write_text(json.dumps({**made_by, **tables}, indent=2) + "\n")


if __name__ == "__main__":
    main()
