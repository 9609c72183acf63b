"""How often the measured bandwidth is right, over real recordings and what may happen to them.

    python benchmarks/bandwidth.py [--utterances 150] [--seed 0] [--data ../shared/data]

Every condition sees the same utterances, of at least 1 s (digits of one speaker are joined until
they are): as recorded; with white noise; through a random telephone channel after the noise; and
that stored again at 16 or 44.1 kHz in 16 bits. Writes results/bandwidth.json beside this file.
"""

import argparse
import json
import random
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from origin import ROOT, origin

from turnout.audio.bandwidth import measure_bandwidth
from turnout.audio.features import SAMPLE_RATE
from turnout.audio.telephone import TELEPHONE_RATE, add_noise, random_channel
from turnout.audio.waveform import read_audio
from turnout.guidance import Bandwidth

Floats = NDArray[np.float32]

SETS = ("arabic_commands", "fsdd", "librispeech", "kathleen_en", "kerstin_de", "ljspeech_part")
NARROWBAND_SETS = ("fsdd",)
SNRS_DB = (40, 30, 20, 10)
STORED_RATES = (16_000, 44_100)
SHORTEST_SECONDS = 1.0


@dataclass(frozen=True)
class Utterance:
    """One utterance: its samples at 16 kHz, and what is true of it."""

    samples: Floats
    native_rate: int
    bandwidth: Bandwidth


def utterances(archive: Path, count: int, seed: int) -> Iterator[Utterance]:
    """`count` utterances drawn from a set, each of at least a second."""
    name = archive.stem
    truth = Bandwidth.NARROWBAND if name in NARROWBAND_SETS else Bandwidth.WIDEBAND
    with tarfile.open(archive) as tar:
        rows = [json.loads(line) for line in member(tar, f"{name}/manifest.jsonl").splitlines()]
        for chosen in drawn(rows, count, random.Random(f"{seed} {name}")):
            waves = [read_audio(member(tar, f"{name}/{row['audio_filepath']}")) for row in chosen]
            samples = np.concatenate([wave.samples for wave in waves])
            yield Utterance(samples, waves[0].native_rate, truth)


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


def member(tar: tarfile.TarFile, path: str) -> bytes:
    """The bytes of one file of the archive."""
    file = tar.extractfile(path)
    if file is None:
        raise FileNotFoundError(path)
    return file.read()


def stored(line: Floats, rate: int) -> tuple[Floats, int]:
    """Telephone speech written at `rate` in 16 bits, and read again as any recording is."""
    file = BytesIO()
    samples = soxr.resample(line, TELEPHONE_RATE, rate)
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    wave = read_audio(file.getvalue())
    return wave.samples, wave.native_rate


def verdicts(utterance: Utterance, seed: int) -> dict[str, bool]:
    """Condition -> whether the measured bandwidth is right."""
    rng = np.random.default_rng(seed)
    found: dict[str, bool] = {}

    def judge(condition: str, samples: Floats, rate: int, truth: Bandwidth) -> None:
        found[condition] = measure_bandwidth(samples, rate) is truth

    for snr in (None, *SNRS_DB):
        noisy = utterance.samples if snr is None else add_noise(utterance.samples, snr, rng)
        label = "clean" if snr is None else f"noise {snr} dB"
        # Noise added at 16 kHz makes an 8 kHz recording wideband: its noise comes by the channel.
        if snr is None or utterance.bandwidth is Bandwidth.WIDEBAND:
            judge(label, noisy, utterance.native_rate, utterance.bandwidth)
        line = random_channel(rng).at_8khz(noisy, rng)
        direct = soxr.resample(line, TELEPHONE_RATE, SAMPLE_RATE)
        judge(f"{label}, telephone", direct, TELEPHONE_RATE, Bandwidth.NARROWBAND)
        judge(f"{label}, telephone, unlabelled", direct, SAMPLE_RATE, Bandwidth.NARROWBAND)
        for rate in STORED_RATES:
            samples, native = stored(line, rate)
            judge(f"{label}, telephone, {rate} Hz", samples, native, Bandwidth.NARROWBAND)
    return found


def measure(name: str, data: Path, count: int, seed: int) -> dict[str, dict[str, int]]:
    """Condition -> how many were right, of how many, over one set."""
    table: dict[str, dict[str, int]] = {}
    for number, utterance in enumerate(utterances(data / f"{name}.tar", count, seed)):
        for condition, right in verdicts(utterance, seed * 1_000_003 + number).items():
            row = table.setdefault(condition, {"right": 0, "of": 0})
            row["right"] += right
            row["of"] += 1
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--utterances", type=int, default=150, help="per set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    made_by = origin(arguments.seed, "numpy", "soxr")
    work = partial(measure, data=arguments.data, count=arguments.utterances, seed=arguments.seed)
    with ProcessPoolExecutor(arguments.processes) as pool:
        tables = dict(zip(SETS, pool.map(work, SETS), strict=True))
    rows = [row for table in tables.values() for row in table.values()]
    right, of = sum(row["right"] for row in rows), sum(row["of"] for row in rows)
    worst = min(row["right"] / row["of"] for row in rows)
    for name, table in tables.items():
        for condition, row in table.items():
            flag = "" if row["right"] >= 0.99 * row["of"] else "   <-- below 99 %"
            print(f"{name:16} {condition:40} {row['right']:5} / {row['of']}{flag}")
    print(f"all: {right} / {of} = {right / of:.4%}; worst cell {worst:.2%}")
    result = {
        **made_by,
        "right": right,
        "of": of,
        "share": right / of,
        "worst_cell": worst,
        "sets": tables,
    }
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "bandwidth.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
