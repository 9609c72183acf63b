"""How fast `turnout transcribe` goes over a folder of recordings, beside the bare model.

    python benchmarks/pipeline.py [--model commands] [--files 200] [--rounds 2]

Utterances of LibriSpeech as FLAC, every second one as WAV at 8 kHz, are written into a folder and
transcribed to files by what the command line calls, with the model loaded beforehand; 200 of them,
60 for a model that hears each padded to its window (whisper-base: about six minutes). Each round
does so twice: with nothing read ahead and one batch after the other, of segments as they come,
where the calls of the backend (encoder, decoder) are timed, and nothing runs beside them: the bare
model; and as it is, where batches of a small model are of like length and two of them are decoded
at once. What is not the backend's is reading, resampling, speech detection, features, choosing
tokens and writing. `share` is the bare model's seconds in terms of the whole as it is: 1 where all
else costs nothing, more where the bare model leaves a core idle. `processor` says the same of
processor time: what can be hidden behind the model, and what cannot. Memory is read after each
quarter of the files; its growth behind the first one is what is left behind by files. Writes
results/pipeline-MODEL.json.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict, dataclass
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
from turnout.transcription.ahead import Reader, SegmentsAhead

SEED = 0
CALLS = ("encode", "start", "step", "keep", "select", "attention")
"""Of a backend."""
AIM = 0.8
TELEPHONE = 8_000
KEYS = ("share", "aim", "reached", "processor", "real_time_factor")
"""Of what is printed."""
QUARTERS = 4
FILES, PADDED_FILES = 200, 60
WARM = 8
"""Files before the first round: they make what is made once."""


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


@dataclass
class Spent:
    """Seconds, of the clock and of processors."""

    seconds: float = 0.0
    processor: float = 0.0

    @contextmanager
    def more(self) -> Iterator[None]:
        """What the context takes is added."""
        began, before = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began
            self.processor += time.process_time() - before


@contextmanager
def nothing_ahead(transcriber: turnout.Transcriber) -> Iterator[None]:
    """No recording is read before it is asked for, and no batch decoded beside another."""
    plan, two_at_once = Reader.plan, transcriber.two_at_once

    def nothing(self: Reader, wanted: Sequence[tuple[SegmentsAhead, int]]) -> None:
        del self, wanted

    Reader.plan, transcriber.two_at_once = nothing, False
    try:
        yield
    finally:
        Reader.plan, transcriber.two_at_once = plan, two_at_once


@contextmanager
def timed(backend: Any) -> Iterator[Spent]:
    """What the calls of a backend take."""
    taken = Spent()

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            with taken.more():
                return call(*given, **named)

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


def transcribed(
    transcriber: turnout.Transcriber, paths: list[Path], target: Path
) -> tuple[Spent, list[float]]:
    """What all files take, and the memory after each quarter of them."""
    verb.transcriber_of = lambda _: transcriber  # what loads it for the command line
    options = TranscriptionOptions(language="en")
    output = verb.OutputOptions(output_dir=target, output_format="txt")
    size = -(-len(paths) // QUARTERS)
    whole, memory = Spent(), []
    for begin in range(0, len(paths), size):
        with redirect_stderr(StringIO()), whole.more():
            status = verb.transcribe(*paths[begin : begin + size], options=options, output=output)
        memory.append(round(resident(), 1))
        if status:
            raise SystemExit(f"turnout transcribe ended with {status}")
    missing = [path.stem for path in paths if not (target / f"{path.stem}.txt").exists()]
    if missing:
        raise SystemExit(f"no text of {', '.join(missing)}")
    return whole, memory


def one_round(transcriber: turnout.Transcriber, paths: list[Path], target: Path) -> dict[str, Any]:
    """All files, read one after the other with the model, and as they are."""
    with nothing_ahead(transcriber), timed(transcriber.backend) as bare:
        before, _ = transcribed(transcriber, paths, target)
    texts = [(target / f"{path.stem}.txt").read_text() for path in paths]
    whole, memory = transcribed(transcriber, paths, target)
    if texts != [(target / f"{path.stem}.txt").read_text() for path in paths]:
        raise SystemExit("what is read ahead has other texts")
    return {
        "bare": asdict(bare),
        "nothing_ahead": asdict(before),
        "whole": asdict(whole),
        "share": bare.seconds / whole.seconds,
        "processor": bare.processor / whole.processor,
        "mib": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--model", default="commands", help="a name or a model folder")
    parser.add_argument("--files", type=int, help=f"{FILES}, or {PADDED_FILES} of a padded window")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="eight files, once, nothing written")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.files, arguments.rounds = 8, 1
    made_by = origin(SEED, "numpy", "onnxruntime", "soundfile", "soxr")
    transcriber = turnout.load(arguments.model, threads=arguments.threads)
    padded = transcriber.backend.config.features.padding == "window"
    count = arguments.files or (PADDED_FILES if padded else FILES)
    with tempfile.TemporaryDirectory() as place:
        paths, seconds = write_files(arguments.data, Path(place), count)
        target = Path(place) / "texts"
        transcribed(transcriber, paths[:WARM], target)
        rounds = [one_round(transcriber, paths, target) for _ in range(arguments.rounds)]
    share = median(one["share"] for one in rounds)
    result = {
        **made_by,
        "files": len(paths),
        "hours": round(seconds / 3600, 3),
        "threads": arguments.threads,
        "real_time_factor": median(one["whole"]["seconds"] for one in rounds) / seconds,
        "share": round(share, 4),
        "processor": round(median(one["processor"] for one in rounds), 4),
        "aim": AIM,
        "reached": share >= AIM,
        "rounds": rounds,
    }
    print(json.dumps({key: result[key] for key in KEYS}))
    print("MiB after each quarter:", *(one["mib"] for one in rounds), file=sys.stderr)
    if not arguments.quick:
        name = f"pipeline-{Path(arguments.model).name}.json"
        (Path(__file__).parent / "results" / name).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
