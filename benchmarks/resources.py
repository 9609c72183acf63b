"""What turnout takes of a machine: time from a cold process, and memory over long recordings.

    python benchmarks/resources.py [--runs 10] [--hours 0.02 1 3]
    python benchmarks/resources.py --whisper whisper-base [--runs 10] [--hours 0.1667 1]

- A cold process: `turnout --help`, and a 2-second file transcribed with the shipped model, beside a
  twin that only imports NumPy and ONNX Runtime. Medians of the runs, taken in turns.
- Long recordings: the examples one after another until they are as long as wanted, as FLAC; peak
  memory of a process that transcribes them with the shipped model. The same of digital silence with
  an example behind it.
- Attention: peak memory of one step (forward and backward) over 16 windows of 30 s, and over one,
  with the shipped shape.

Writes results/resources.json beside this file.

With --whisper, of that model alone (a name that is in the cache, or a folder): how long it takes to
load, and to transcribe a 2-second sentence of LibriSpeech from a cold process, beside the twin; and
peak memory over recordings of LibriSpeech's utterances, one after another. Writes
results/whisper_resources.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile
import soxr
from origin import ROOT, origin
from whisper_speech import from_corpus

RATE = 16_000
EXAMPLES = sorted((ROOT / "examples").glob("arabic-*.*"))
TWIN = [sys.executable, "-c", "import numpy, onnxruntime"]
TURNOUT = [sys.executable, "-m", "turnout"]
TRANSCRIBE = [*TURNOUT, "transcribe", "two-seconds.wav"]
COMMANDS = {"twin": TWIN, "help": [*TURNOUT, "--help"], "transcribe_2_s": TRANSCRIBE}
HOURS = {False: [0.02, 1.0, 3.0], True: [1 / 6, 1.0]}
"""Of long recordings, by default; with --whisper others."""
LOAD = """
import sys, time, turnout
started = time.perf_counter()
turnout.load(sys.argv[1])
print(time.perf_counter() - started)
"""
ONE_STEP = """
import resource, sys, torch
from turnout import load
from turnout.model.build import build_model
batch = int(sys.argv[1])
model = build_model(load("commands").backend.config)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
mask = torch.ones(batch, 3000, dtype=torch.bool)
zeros = torch.zeros(batch, dtype=torch.int64)
encoded = model.encode(torch.randn(batch, 3000, 80), mask, zeros, zeros)
encoded.hidden.sum().backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def examples() -> Iterator[np.ndarray]:
    """The Arabic examples at 16 kHz, over and over."""
    read = [soundfile.read(path, dtype="float32") for path in EXAMPLES]
    clips = [soxr.resample(samples, rate, RATE) for samples, rate in read]
    while True:
        yield from clips


def write_recording(path: Path, seconds: float) -> None:
    """Speech for so long."""
    wanted = round(seconds * RATE)
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for clip in examples():
            part = clip[: wanted - file.frames]
            file.write(part)
            if file.frames >= wanted:
                return


def write_sentence(data: Path, path: Path) -> None:
    """The shortest utterance of LibriSpeech that lasts two seconds. A whole sentence: words that
    are cut off are improbable, and decoded again at every temperature."""
    found = from_corpus(data, "librispeech", 10_000, 0)
    long_enough = (one.samples for one in found if len(one.samples) >= 2 * RATE)
    soundfile.write(path, min(long_enough, key=len), RATE)


def write_silence(path: Path, seconds: float) -> None:
    """Digital silence for so long, and an example behind it."""
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for _ in range(round(seconds)):
            file.write(np.zeros(RATE, np.float32))
        file.write(next(examples()))


def write_librispeech(data: Path, path: Path, seconds: float) -> None:
    """Utterances of LibriSpeech for so long, all of them again where they do not last."""
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        while True:
            for one in from_corpus(data, "librispeech", 10_000, 0):
                file.write(one.samples[: round(seconds * RATE) - file.frames])
                if file.frames >= round(seconds * RATE):
                    return


LONG = {"long_recordings": write_recording, "long_silences": write_silence}


def cold_starts(folder: Path, runs: int, commands: dict[str, list[str]]) -> dict[str, float]:
    """Median seconds of each command, in a folder with two-seconds.wav, and their ratios to the
    twin."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            taken[name].append(time.perf_counter() - started)
    medians = {name: median(seconds) for name, seconds in taken.items()}
    ratios = {f"{n}_over_twin": medians[n] / medians["twin"] for n in commands if n != "twin"}
    return {**{f"{name}_seconds": value for name, value in medians.items()}, **ratios}


def long_recording(
    folder: Path, hours: float, write: Callable[[Path, float], None], *options: str
) -> dict[str, float]:
    """Peak memory and speed of the command line, with these options, over one recording."""
    path = folder / "long.flac"
    write(path, hours * 3600)
    command = [*TURNOUT, "transcribe", str(path), "-o", str(folder), *options]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{hours} h: turnout ended with {status}")
    seconds = time.perf_counter() - started
    return {
        "hours": hours,
        "peak_mib": usage.ru_maxrss / 1024,
        "real_time_factor": seconds / (hours * 3600),
    }


def one_step(batch: int) -> dict[str, float]:
    """Memory that a step takes beyond the model."""
    command = [sys.executable, "-c", ONE_STEP, str(batch)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"windows_of_30_s": batch, "peak_mib": float(done.stdout)}


def of_the_shipped(folder: Path, runs: int, hours: list[float]) -> dict[str, Any]:
    """What the shipped model takes."""
    write_recording(folder / "two-seconds.wav", 2.0)
    return {
        "cold": cold_starts(folder, runs, COMMANDS),
        **{
            name: [long_recording(folder, each, write) for each in hours]
            for name, write in LONG.items()
        },
        "one_training_step": [one_step(batch) for batch in (1, 16)],
    }


def of_whisper(
    folder: Path, runs: int, hours: list[float], model: str, data: Path
) -> dict[str, Any]:
    """What a Whisper model takes."""
    write_sentence(data, folder / "two-seconds.wav")
    ask = ["--model", model]
    load = [sys.executable, "-c", LOAD, model]
    loads = [
        float(subprocess.run(load, check=True, capture_output=True, text=True).stdout)
        for _ in range(runs)
    ]
    found = [long_recording(folder, each, partial(write_librispeech, data), *ask) for each in hours]
    return {
        "model": Path(model).name,
        "load_seconds": median(loads),
        "cold": cold_starts(folder, runs, {"twin": TWIN, "transcribe_2_s": [*TRANSCRIBE, *ask]}),
        "long_recordings": found,
        "longest_over_shortest_peak": found[-1]["peak_mib"] / found[0]["peak_mib"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--hours", type=float, nargs="+", help="of long recordings, in order")
    parser.add_argument("--whisper", help="a model's name or folder, to measure that alone")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    model: str | None = arguments.whisper
    hours = sorted(arguments.hours or HOURS[model is not None])
    made_by = origin(0, "numpy", "onnxruntime", *(() if model else ("torch",)))
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        if model is None:
            measured = of_the_shipped(place, arguments.runs, hours)
        else:
            measured = of_whisper(place, arguments.runs, hours, model, arguments.data)
    result: dict[str, Any] = {**made_by, **measured}
    file = "resources.json" if model is None else "whisper_resources.json"
    path = Path(__file__).parent / "results" / file
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
