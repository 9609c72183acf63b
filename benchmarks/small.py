"""How small the shipped model can be made, and how fast that is on one core.

    python benchmarks/small.py [--utterances 200] [--runs FOLDER] [--data ../shared/data]

One path of it (narrowband, transcribed) is cut out by `turnout specialise`, a dense model, and its
matrices are rounded to int8 by `turnout convert`. Connected Arabic commands, 2 to 6 words, over a
telephone, are transcribed by both on one thread, language and bandwidth given; some of the speakers
may have been heard in training, so that no error rate is told, only how many texts differ.
"float32" is how it is computed before it is rounded: its weights are stored in float16.
"real_time_factor" is processor time over the length of the sound, medians of three rounds in turn.
--runs keeps the recordings. Writes results/small.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from multitask_speech import Asked, asked_of
from origin import ROOT, origin

import turnout
from turnout.audio.waveform import Waveform
from turnout.model_folder import WEIGHTS

SEED, RATE, ROUNDS = 0, 16_000, 3
AIM_MB = 2.0
FORMS = ("float32", "int8")


def made(folder: Path) -> dict[str, Path]:
    """The path in both precisions, by the commands that anybody has."""
    places = {form: folder / form for form in FORMS}
    cut = ("specialise", "--model", "commands", "--bandwidth", "narrowband", "--task", "transcribe")
    rounded = ("convert", str(places["float32"]), "--precision", "int8")
    for words, place in zip((cut, rounded), places.values(), strict=True):
        command = [sys.executable, "-m", "turnout", *words, "-o", str(place)]
        subprocess.run(command, check=True, capture_output=True)
    return places


def megabytes(folder: Path) -> dict[str, float]:
    """Of what is needed to run it, cards aside."""
    sizes = {path.name: path.stat().st_size / 1e6 for path in folder.iterdir()}
    graphs = sum(size for name, size in sizes.items() if name.endswith(".onnx"))
    whole = graphs + sum(sizes[name] for name in (WEIGHTS, "tokenizer.model", "config.json"))
    return {name: round(size, 2) for name, size in
            (("weights", sizes[WEIGHTS]), ("graphs", graphs), ("all", whole))}  # fmt: skip


def transcribed(model: turnout.Transcriber, spoken: Sequence[Asked]) -> tuple[list[str], float]:
    """The texts, and the processor time that they took."""
    began = time.process_time()
    texts = [
        model.transcribe(
            Waveform(one.samples, RATE), language=one.language, bandwidth=one.bandwidth
        ).text
        for one in spoken
    ]
    return texts, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--utterances", type=int, default=200)
    parser.add_argument("--runs", type=Path, help="keeps the recordings")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = measured(arguments, Path(name))
    target = Path(__file__).parent / "results" / "small.json"
    target.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def measured(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All that is written."""
    asked = asked_of(
        arguments.data, arguments.runs or folder, 0, "dev", arguments.utterances, ["arabic"]
    )
    spoken = [one for one in asked if one.bandwidth == "narrowband"]
    seconds = sum(len(one.samples) for one in spoken) / RATE
    places = made(folder)
    models = {form: turnout.load(place, threads=1) for form, place in places.items()}
    texts: dict[str, list[str]] = {}
    factors: dict[str, list[float]] = {form: [] for form in FORMS}
    for round_number in range(-1, ROUNDS):  # one that does not count
        for form, model in models.items():
            texts[form], spent = transcribed(model, spoken)
            if round_number >= 0:
                factors[form].append(spent / seconds)
    differ = sum(one != other for one, other in zip(*texts.values(), strict=True))
    return {
        **origin(SEED, "numpy", "onnxruntime"),
        "utterances": len(spoken),
        "seconds": round(seconds, 1),
        "megabytes": {form: megabytes(place) for form, place in places.items()},
        "aim, megabytes": AIM_MB,
        "real_time_factor": {form: round(median(own), 5) for form, own in factors.items()},
        "real_time_factor, rounds": {
            form: [round(one, 5) for one in own] for form, own in factors.items()
        },
        "texts that differ": differ,
    }


if __name__ == "__main__":
    main()
