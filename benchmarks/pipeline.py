"""How much of `turnout transcribe`'s time over a folder of recordings is the model's own.

    python benchmarks/pipeline.py [--model commands] [--files 200] [--rounds 3]

Utterances of LibriSpeech as FLAC, every second one as WAV at 8 kHz, are written into a folder and
transcribed to files by what the command line calls, with the model loaded beforehand. Timed are the
whole and the calls of the backend (encoder, decoder); what is not the backend's is reading,
resampling, speech detection, features, choosing tokens and writing. The share of the backend is the
speed of the whole in terms of the bare model's. Memory is read after each quarter of the files; its
growth behind the first one is what is left behind by files. Writes results/pipeline-MODEL.json.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any

import soundfile
import soxr
from origin import ROOT, origin
from whisper_speech import RATE, from_corpus

import turnout
from turnout.cli import transcribe as verb
from turnout.config import TranscriptionOptions

SEED = 0
CALLS = ("encode", "start", "step", "keep", "select", "attention")
"""Of a backend."""
AIM = 0.8
TELEPHONE = 8_000
QUARTERS = 4


def write_files(data: Path, folder: Path, count: int) -> tuple[list[Path], float]:
    """So many recordings, and the seconds of sound in them."""
    paths, seconds = [], 0.0
    for number, one in enumerate(from_corpus(data, "librispeech", count, SEED)):
        narrow = number % 2 == 1
        path = folder / f"{number:04d}.{'wav' if narrow else 'flac'}"
        samples = soxr.resample(one.samples, RATE, TELEPHONE) if narrow else one.samples
        soundfile.write(path, samples, TELEPHONE if narrow else RATE)
        paths.append(path)
        seconds += len(one.samples) / RATE
    return paths, seconds


@contextmanager
def timed(backend: Any) -> Iterator[list[float]]:
    """The seconds of each call of a backend."""
    taken: list[float] = []

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                taken.append(time.perf_counter() - began)

        return called

    for name in CALLS:
        setattr(backend, name, around(getattr(backend, name)))
    try:
        yield taken
    finally:
        for name in CALLS:
            delattr(backend, name)


def resident() -> float:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def one_round(transcriber: turnout.Transcriber, paths: list[Path], target: Path) -> dict[str, Any]:
    """All files, in quarters: seconds of the whole and of the backend, and memory."""
    verb.transcriber_of = lambda _: transcriber  # what loads it for the command line
    options = TranscriptionOptions(language="en")
    output = verb.OutputOptions(output_dir=target, output_format="txt")
    size = -(-len(paths) // QUARTERS)
    whole, memory = 0.0, []
    with timed(transcriber.backend) as taken, redirect_stderr(StringIO()):
        for begin in range(0, len(paths), size):
            began = time.perf_counter()
            status = verb.transcribe(*paths[begin : begin + size], options=options, output=output)
            whole += time.perf_counter() - began
            memory.append(round(resident(), 1))
            if status:
                raise SystemExit(f"turnout transcribe ended with {status}")
    missing = [path.stem for path in paths if not (target / f"{path.stem}.txt").exists()]
    if missing:
        raise SystemExit(f"no text of {', '.join(missing)}")
    return {"seconds": whole, "backend": sum(taken), "share": sum(taken) / whole, "mib": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--model", default="commands", help="a name or a model folder")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="eight files, once, nothing written")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.files, arguments.rounds = 8, 1
    made_by = origin(SEED, "numpy", "onnxruntime", "soundfile", "soxr")
    transcriber = turnout.load(arguments.model, threads=arguments.threads)
    with tempfile.TemporaryDirectory() as place:
        paths, seconds = write_files(arguments.data, Path(place), arguments.files)
        target = Path(place) / "texts"
        # The first is not counted: it makes what is made once.
        rounds = [one_round(transcriber, paths, target) for _ in range(arguments.rounds + 1)][1:]
    share = median(one["share"] for one in rounds)
    result = {
        **made_by,
        "files": len(paths),
        "hours": round(seconds / 3600, 3),
        "threads": arguments.threads,
        "real_time_factor": median(one["seconds"] for one in rounds) / seconds,
        "share": round(share, 4),
        "aim": AIM,
        "reached": share >= AIM,
        "rounds": rounds,
    }
    print(json.dumps({key: result[key] for key in ("share", "aim", "reached", "real_time_factor")}))
    print("MiB after each quarter:", *(one["mib"] for one in rounds), file=sys.stderr)
    if not arguments.quick:
        name = f"pipeline-{Path(arguments.model).name}.json"
        (Path(__file__).parent / "results" / name).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
