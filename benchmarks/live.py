"""How long after the end of speech its final text comes, over the server's WebSocket.

    python benchmarks/live.py [--weights FOLDER] [--speech librispeech] [--clients 1 4]

Starts `turnout serve` with two threads, as a process of its own on the same machine, and speaks to
it in real time, in messages of 20 ms: recordings with pauses of 1 to 2 s between them, into which
noise of -70 dBFS is mixed. Speech ends with the last 10 ms of a turn that are at most 30 dB below
its ten loudest; from the moment at which they have been heard the clock runs until the final text
is there. So the delay holds the silence that ends a turn (0.5 s), detecting, queueing and decoding.
Given are the median, the 95th percentile and the longest; the same of the time to the event that
says that the turn has ended, and of that from the beginning of speech to the first text; how many
final texts begin with what was told to stay, how many recordings have the text that `transcribe`
writes of their file to the letter, and the word errors of both. `--speech examples` (the default)
are those of examples/, the wideband ones as 16-bit samples at 16 kHz and the telephone's as mu-law;
`librispeech` needs the corpus. `--weights` is a CTranslate2 folder of Whisper's. Writes
results/live.json, a row for each model, speech, format and number of clients, and keeps the others.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray
from origin import ROOT, origin
from websockets.asyncio.client import ClientConnection, connect
from whisper_speech import RATE, at_16khz, from_corpus

import turnout
from turnout.audio.waveform import Waveform
from turnout.evaluation.metrics import score
from turnout.hub.convert import convert
from turnout.serving.live_audio import SampleFormat, g711_values
from turnout.text.spacing import joined_text

SEED = 0
THREADS = 2
FRAME_SECONDS = 0.02
PAUSE_SECONDS = (1.0, 2.0)
NOISE = 10 ** (-70 / 20)
FRAME = RATE // 100
LOUDEST = 10
ACTIVE = 10 ** (-30 / 10)
RESULTS = Path(__file__).parent / "results" / "live.json"
KEY = ("model", "speech", "format", "clients")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Spoken:
    """A recording, and where it lies in a stream."""

    samples: Floats
    text: str
    language: str
    begin: float = 0.0
    """Seconds from the stream's beginning."""

    @property
    def end(self) -> float:
        """Seconds from the stream's beginning."""
        return self.begin + len(self.samples) / RATE


@dataclass
class Heard:
    """What came of a stream, and when, in seconds of it."""

    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)

    def of(self, kind: str) -> list[tuple[float, dict[str, Any]]]:
        """Of this type."""
        return [(at, event) for at, event in self.events if event["type"] == kind]


def examples(telephone: bool) -> list[Spoken]:
    """Those of examples/."""
    references = json.loads((ROOT / "examples" / "references.json").read_text())
    return [
        Spoken(at_16khz((ROOT / "examples" / name).read_bytes()), known["text"], known["language"])
        for name, known in sorted(references.items())
        if (known["bandwidth"] == "narrowband") == telephone
    ]


def librispeech(data: Path, count: int) -> list[Spoken]:
    """Utterances of people who read aloud."""
    found = from_corpus(data, "librispeech", count, SEED)
    return [Spoken(one.samples, one.text, one.language) for one in found]


def in_a_row(
    spoken: Sequence[Spoken], count: int, rng: np.random.Generator
) -> tuple[Floats, list[Spoken]]:
    """So many of them, drawn without order, with pauses; the samples, and where each lies."""
    order = [i for _ in range(-(-count // len(spoken))) for i in rng.permutation(len(spoken))]
    parts: list[Floats] = []
    placed: list[Spoken] = []
    length = 0
    for number in order[:count]:
        pause = np.zeros(round(rng.uniform(*PAUSE_SECONDS) * RATE), np.float32)
        one = spoken[number]
        parts += [pause, one.samples]
        placed.append(replace(one, begin=(length + len(pause)) / RATE))
        length += len(pause) + len(one.samples)
    samples = np.concatenate([*parts, np.zeros(2 * RATE, np.float32)])
    noise = rng.standard_normal(len(samples), np.float32) * np.float32(NOISE)
    return (samples + noise).astype(np.float32), placed


def encoded(samples: Floats, form: SampleFormat) -> bytes:
    """As the stream has them."""
    line = soxr.resample(samples, RATE, form.rate)
    if form.name == "pcm16":
        return np.clip(np.rint(line * 32768), -32768, 32767).astype("<i2").tobytes()
    levels = g711_values(form.name)
    order = np.argsort(levels, kind="stable")
    middles = (levels[order][1:] + levels[order][:-1]) / 2
    return order[np.searchsorted(middles, line)].astype(np.uint8).tobytes()


async def hear(address: str, start: dict[str, Any], data: bytes) -> Heard:
    """Speak in real time, and note what comes."""
    heard = Heard()
    async with connect(address, proxy=None, compression=None) as connection:
        await connection.send(json.dumps({"type": "start", **start}))
        ready = json.loads(await connection.recv())
        if ready["type"] != "ready":
            raise SystemExit(f"the stream was refused: {ready}")
        began = time.perf_counter()
        sending = asyncio.create_task(speak(connection, start, data, began))
        async for message in connection:
            heard.events.append((time.perf_counter() - began, json.loads(message)))
        await sending
    if heard.events[-1][1].get("code") != 1000:
        raise SystemExit(f"the stream broke off: {heard.events[-2:]}")
    return heard


async def speak(
    connection: ClientConnection, start: dict[str, Any], data: bytes, began: float
) -> None:
    """Each frame once all of it would have been heard."""
    width = 2 if start["format"] == "pcm16" else 1
    size = round(FRAME_SECONDS * start["rate"]) * width
    for number, first in enumerate(range(0, len(data), size), start=1):
        await asyncio.sleep(began + number * FRAME_SECONDS - time.perf_counter())
        await connection.send(data[first : first + size])
    await connection.send('{"type": "end"}')


def speech_ends(samples: Floats, start: float, end: float) -> tuple[float, float]:
    """When the speech of a turn begins and ends, in seconds of the stream."""
    part = samples[round(start * RATE) : round(end * RATE)]
    frames = part[: len(part) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power >= ACTIVE * np.sort(power)[-LOUDEST:].mean())
    return start + loud[0] * FRAME / RATE, start + (loud[-1] + 1) * FRAME / RATE


def delays(samples: Floats, heard: Heard) -> dict[str, list[float]]:
    """Of every turn: from the end of speech to its text, and to the event that says that it has
    ended, and from its beginning to the first text."""
    found: dict[str, list[float]] = {"final": [], "ended": [], "first": []}
    ended = {event["turn"]: at for at, event in heard.of("speech_ended")}
    first = {event["turn"]: at for at, event in reversed(heard.of("partial"))}
    for at, event in heard.of("final"):
        if not event["text"]:
            continue
        begin, end = speech_ends(samples, event["start"], event["end"])
        found["final"].append(at - end)
        found["ended"].append(ended[event["turn"]] - end)
        if event["turn"] in first:
            found["first"].append(first[event["turn"]] - begin)
    return found


def kept(heard: Heard) -> list[bool]:
    """Of every turn of which something was told to stay: whether the final text begins with it."""
    stable = {event["turn"]: event["stable"] for _, event in heard.of("partial")}
    finals = {event["turn"]: event["text"] for _, event in heard.of("final")}
    return [finals[turn].startswith(words) for turn, words in stable.items() if words]


def live_texts(placed: Sequence[Spoken], heard: Heard) -> list[str]:
    """Of every recording: the texts of its turns."""
    finals = [event for _, event in heard.of("final")]
    found = []
    for one in placed:
        mine = [
            event["text"]
            for event in finals
            if one.begin < (event["start"] + event["end"]) / 2 < one.end
        ]
        found.append(joined_text(mine, one.language))
    return found


def word_errors(spoken: Sequence[Spoken], texts: Sequence[str]) -> str:
    """Of these texts, on normalised words."""
    errors = words = 0
    for language in sorted({one.language for one in spoken}):
        pairs = [(one.text, t) for one, t in zip(spoken, texts, strict=True)
                 if one.language == language]  # fmt: skip
        found = score("wer", *zip(*pairs, strict=True), language=language, resamples=0)
        errors, words = errors + (found.errors or 0), words + found.units
    return f"{errors} of {words}"


def summary(values: Sequence[float]) -> dict[str, float] | None:
    """Of seconds."""
    if not values:
        return None
    median, p95, longest = np.quantile(values, (0.5, 0.95, 1.0)).round(3).tolist()
    return {"median": median, "p95": p95, "longest": longest}


@contextmanager
def server(model: str | None) -> Iterator[str]:
    """Where it listens for streams."""
    command = [sys.executable, "-m", "turnout", "serve", "--port", "0", "--no-page"]
    command += ["--threads", str(THREADS), *(["--model", model] if model else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        said = next((line for line in process.stdout if "turnout serves" in line), "")
        port = re.search(r"http://127\.0\.0\.1:(\d+)", said)
        if port is None:
            raise SystemExit("the server does not start")
        yield f"ws://127.0.0.1:{port[1]}/v1/audio/live"
    finally:
        process.terminate()
        process.communicate(timeout=60)


def row(
    address: str, model: turnout.Transcriber, spoken: Sequence[Spoken], asked: dict[str, Any]
) -> dict[str, Any]:
    """The figures of so many clients that speak at once."""
    form = SampleFormat(asked["format"], asked["rate"])
    streams = [
        in_a_row(spoken, asked["recordings"], np.random.default_rng((SEED, client)))
        for client in range(asked["clients"])
    ]
    # What the files have, before anything is timed.
    texts = {
        id(one.samples): model.transcribe(Waveform(one.samples, form.rate)).text for one in spoken
    }
    start = {"format": form.name, "rate": form.rate}

    async def speak_all() -> list[Heard]:
        data = [encoded(samples, form) for samples, _ in streams]
        return await asyncio.gather(*(hear(address, start, one) for one in data))

    heard = asyncio.run(speak_all())
    found: dict[str, list[float]] = {"final": [], "ended": [], "first": []}
    stays: list[bool] = []
    said: list[Spoken] = []
    live: list[str] = []
    for (samples, placed), one in zip(streams, heard, strict=True):
        for name, values in delays(samples, one).items():
            found[name] += values
        stays += kept(one)
        said += placed
        live += live_texts(placed, one)
    files = [texts[id(one.samples)] for one in said]
    equal = [one == other for one, other in zip(live, files, strict=True)]
    return {
        "turns": len(found["final"]),
        "delay_seconds": summary(found["final"]),
        "ended_seconds": summary(found["ended"]),
        "first_text_seconds": summary(found["first"]),
        "partials": sum(len(one.of("partial")) for one in heard),
        "stable_kept": f"{sum(stays)} of {len(stays)}",
        "recordings_as_transcribed": f"{sum(equal)} of {len(equal)}",
        "word_errors": {"live": word_errors(said, live), "file": word_errors(said, files)},
    }


def saved(rows: Sequence[dict[str, Any]]) -> None:
    """These rows in place of those of the same kind."""
    before = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    new = {tuple(one[name] for name in KEY) for one in rows}
    others = [one for one in before if tuple(one[name] for name in KEY) not in new]
    content = {
        "silence_seconds": 0.5, "frame_seconds": FRAME_SECONDS, "threads": THREADS,
        "rows": [*others, *rows],
    }  # fmt: skip
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, help="a CTranslate2 folder; else the own model")
    parser.add_argument("--speech", choices=["examples", "librispeech"], default="examples")
    parser.add_argument("--recordings", type=int, default=40, help="of each client")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    asked = parser.parse_args()
    made_by = origin(SEED, "numpy", "onnxruntime", "websockets", "uvicorn")
    kinds: list[tuple[SampleFormat, list[Spoken]]]
    if asked.speech == "examples":
        kinds = [(SampleFormat("pcm16", RATE), examples(False))]
        kinds += [(SampleFormat("mulaw", 8_000), examples(True))]
    else:
        kinds = [(SampleFormat("pcm16", RATE), librispeech(asked.data, asked.recordings))]
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = convert(asked.weights, Path(place) / "model") if asked.weights else None
        model = turnout.load(folder, threads=THREADS)
        name = asked.weights.name if asked.weights else "commands"
        with server(str(folder) if folder else None) as address:
            for clients in asked.clients:
                for form, spoken in kinds:
                    wanted = {"format": form.name, "rate": form.rate, "clients": clients}
                    found = row(address, model, spoken, wanted | {"recordings": asked.recordings})
                    known = {"model": name, "speech": asked.speech, **wanted}
                    rows.append({**known, **found, "made_by": made_by})
                    print(json.dumps({**known, **found}), flush=True)
    saved(rows)


if __name__ == "__main__":
    main()
