"""What load `turnout serve` holds, over HTTP, as its clients meet it.

    python benchmarks/serve.py [--parts load fairness overload soak] [--seconds 30]
        [--clients 1 8 32] [--minutes 20] [--requests 5000] [--long-minutes 60]
    python benchmarks/serve.py --weights FOLDER [--parts load] [--seconds 120]

Servers have two threads, and share the machine with their clients, which send the next request when
they have their answer. Given are accepted requests, and seconds of their sound, per second, and the
time from a request to its whole answer (p50, p95).

- load: so many clients, for so long, batching on and off. With --weights, a CTranslate2 folder of
  Whisper's: a converted copy of it on utterances of LibriSpeech, and faster-whisper with the same
  weights behind the same contract (serve_peer.py); both greedy, a detector of speech before all,
  and attempts at higher temperatures where a text is refused, each by its own rules.
- fairness: 20 clients with recordings of 5 s, by themselves and beside a recording of an hour.
- overload: as many clients as a server takes, and four times as many; who is told to come later
  does. Whether what was accepted is right, and how soon the others are told; /health meanwhile.
- soak: see serve_soak.py; with a planted leak, which must be seen.

Texts are compared with what the model writes of the file by itself. Each part takes its place in
results/serve.json (whisper's in serve_whisper.json), the others stay; docs/images/serving.png shows
all of them. Needs a machine that does nothing else.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from origin import ROOT, origin
from serve_figure import draw
from serve_soak import soak
from serving import (
    EXAMPLES,
    RATE,
    THREADS,
    Answer,
    Server,
    Upload,
    client,
    closed_loop,
    flac,
    for_seconds,
    latencies,
    running,
    statuses,
    transcribe,
    turnout_server,
    wrong,
)
from whisper_speech import from_corpus

import turnout
from turnout.audio.waveform import Waveform, read_audio
from turnout.hub.convert import convert

SEED = 0
PLACES, QUEUE = 8, 8
"""Of the server that is overloaded."""
SHORT_CLIENTS, SHORT_SECONDS = 20, 5.0
UTTERANCES = 60
WARM_REQUESTS = 2
RESULTS = Path(__file__).parent / "results"
Answers = Sequence[tuple[Upload, Answer]]


def examples(model: turnout.Transcriber) -> list[Upload]:
    """The repository's recordings."""
    found = []
    for path in EXAMPLES:
        data, seconds = path.read_bytes(), read_audio(path).duration
        found.append(Upload(path.name, data, seconds, model.transcribe(data).text))
    return found


def librispeech(model: turnout.Transcriber, data: Path) -> list[Upload]:
    """Utterances; what the model writes as it is asked over HTTP."""
    found = []
    for number, one in enumerate(from_corpus(data, "librispeech", UTTERANCES, SEED)):
        content = flac(one.samples)
        text = model.transcribe(content, language="en").text
        found.append(Upload(f"{number}.flac", content, len(one.samples) / RATE, text))
    return found


def rates(answers: Answers, seconds: float) -> dict[str, Any]:
    """Accepted requests and their sound per second, and how long they took."""
    accepted = [(upload, one) for upload, one in answers if one.status == httpx.codes.OK]
    timely = [upload.seconds for upload, one in accepted if not one.late]
    return {
        "requests": len(accepted),
        "requests_per_second": round(len(timely) / seconds, 3),
        "audio_seconds_per_second": round(sum(timely) / seconds, 2),
        **latencies([one.seconds for _, one in accepted]),
        "statuses": statuses(answers),
    }


def load(
    server: Server, uploads: Sequence[Upload], clients: int, seconds: float, **fields: str
) -> dict[str, Any]:
    """So many clients for so long."""

    def choose(rng: np.random.Generator) -> Upload:
        return uploads[int(rng.integers(len(uploads)))]

    async def work() -> Answers:
        await closed_loop(server, clients, lambda sent: sent < WARM_REQUESTS, choose, **fields)
        return await closed_loop(server, clients, for_seconds(seconds), choose, **fields)

    answers = asyncio.run(work())
    return {"clients": clients, **rates(answers, seconds), "wrong_answers": wrong(answers)}


def loads(arguments: argparse.Namespace, uploads: Sequence[Upload]) -> Iterator[dict[str, Any]]:
    """Of the shipped model, batching on and off."""
    for batching in (True, False):
        options = () if batching else ("--no-batching",)
        with running(turnout_server(None, *options)) as server:
            for clients in arguments.clients:
                found = load(server, uploads, clients, arguments.seconds)
                yield said({"system": "turnout", "batching": batching, **found})


def peer_server(weights: Path) -> list[str]:
    """The command that starts faster-whisper; wherever this process has its packages from."""
    start = f"import sys; sys.path[:] = {sys.path!r}; import serve_peer; serve_peer.main()"
    return [sys.executable, "-c", start, "--weights", str(weights), "--threads", str(THREADS)]


def loads_of_whisper(
    arguments: argparse.Namespace, folder: Path, uploads: Sequence[Upload]
) -> Iterator[dict[str, Any]]:
    """Of a Whisper model, batching on and off, and of faster-whisper; `wrong_answers` of the peer
    are those that differ from ours."""
    commands = {
        ("turnout", True): turnout_server(str(folder)),
        ("turnout", False): turnout_server(str(folder), "--no-batching"),
        ("faster-whisper", False): peer_server(arguments.weights),
    }
    for (system, batching), command in commands.items():
        with running(command) as server:
            for clients in arguments.clients:
                found = load(server, uploads, clients, arguments.seconds, language="en")
                yield said({"system": system, "batching": batching, **found})


def said(row: dict[str, Any]) -> dict[str, Any]:
    """A row, which is printed."""
    print(json.dumps(row), flush=True)
    return row


def spoken(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Examples at random, one after the other, for so long."""
    read = [read_audio(path).samples for path in EXAMPLES]
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < seconds * RATE:
        parts.append(read[int(rng.integers(len(read)))])
    return np.concatenate(parts)[: round(seconds * RATE)]


def fairness(arguments: argparse.Namespace, model: turnout.Transcriber) -> dict[str, Any]:
    """Twenty clients of 5 s, alone and beside one of an hour."""
    rng = np.random.default_rng(SEED)
    shorts = []
    for number in range(SHORT_CLIENTS):
        samples = spoken(SHORT_SECONDS, rng)
        text = model.transcribe(Waveform(samples, RATE)).text
        shorts.append(Upload(f"short-{number}.flac", flac(samples), SHORT_SECONDS, text))
    seconds = 60 * arguments.long_minutes
    long = Upload("long.flac", flac(spoken(seconds, rng)), seconds, "")

    def choose(rng: np.random.Generator) -> Upload:
        return shorts[int(rng.integers(len(shorts)))]

    async def work(server: Server) -> dict[str, Any]:
        going = arguments.seconds
        alone = await closed_loop(server, SHORT_CLIENTS, for_seconds(going), choose)
        async with client(server) as found:
            began = time.monotonic()
            job = asyncio.create_task(transcribe(found, long))
            await asyncio.sleep(2)
            beside = await closed_loop(server, SHORT_CLIENTS, for_seconds(going), choose)
            still = not job.done()
            answer = await job
        means = np.array([1 / one.seconds for _, one in beside])
        p95_alone = latencies([one.seconds for _, one in alone])["p95_seconds"]
        p95_beside = latencies([one.seconds for _, one in beside])["p95_seconds"]
        assert p95_alone is not None and p95_beside is not None
        return {
            "long_minutes": arguments.long_minutes,
            "long_seconds_taken": round(time.monotonic() - began, 1),
            "long_status": answer.status,
            "long_was_at_work_throughout": still,
            "alone": rates(alone, going),
            "beside": rates(beside, going),
            "p95_ratio": round(p95_beside / p95_alone, 2),
            "jain_of_requests": round(float(means.sum() ** 2 / (len(means) * (means**2).sum())), 3),
            "wrong_answers": wrong(alone) + wrong(beside),
        }

    with running(turnout_server(None, "--max-concurrent", str(SHORT_CLIENTS + 1))) as server:
        return said(asyncio.run(work(server)))


async def health(server: Server, until: "asyncio.Event") -> list[float]:
    """How long /health takes, asked twice a second."""
    found = []
    async with client(server) as asking:
        while not until.is_set():
            began = time.monotonic()
            response = await asking.get("/health")
            assert response.status_code == httpx.codes.OK
            found.append(time.monotonic() - began)
            await asyncio.sleep(0.5)
    return found


def overload(arguments: argparse.Namespace, uploads: Sequence[Upload]) -> dict[str, Any]:
    """As many clients as there are places and waiting ones, and four times as many."""

    def choose(rng: np.random.Generator) -> Upload:
        return uploads[int(rng.integers(len(uploads)))]

    async def work(server: Server, clients: int) -> dict[str, Any]:
        over = asyncio.Event()
        watching = asyncio.create_task(health(server, over))
        answers = await closed_loop(server, clients, for_seconds(arguments.seconds), choose)
        over.set()
        refused = [one.seconds for _, one in answers if one.status == httpx.codes.TOO_MANY_REQUESTS]
        p99 = float(np.percentile(await watching, 99))
        return {
            "clients": clients,
            **rates(answers, arguments.seconds),
            "wrong_answers": wrong(answers),
            "refused": len(refused),
            "refused_p95_seconds": latencies(refused)["p95_seconds"],
            "health_p99_seconds": round(p99, 4),
        }

    options = ("--max-concurrent", str(PLACES), "--max-queue", str(QUEUE))
    with running(turnout_server(None, *options)) as server:
        once = asyncio.run(work(server, PLACES + QUEUE))
        four = asyncio.run(work(server, 4 * (PLACES + QUEUE)))
    share = four["requests_per_second"] / max(once["requests_per_second"], 1e-9)
    return said({"once": once, "four_times": four, "share_of_the_best": round(share, 3)})


def saved(name: str, made_by: dict[str, Any], part: str, found: Any) -> None:
    """A part takes its place in the results."""
    path = RESULTS / name
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**kept, part: {**made_by, "found": found}}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ("load", "fairness", "overload", "soak")
    parser.add_argument("--parts", nargs="+", choices=parts)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--minutes", type=float, default=20.0, help="of the soak, at least")
    parser.add_argument("--requests", type=int, default=5000, help="of the soak, at least")
    parser.add_argument("--long-minutes", type=float, default=60.0)
    parser.add_argument("--weights", type=Path, help="a CTranslate2 folder of Whisper's")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    packages = ["numpy", "onnxruntime", "fastapi", "uvicorn", "httpx"]
    if arguments.weights is not None:
        made_by = origin(SEED, *packages, "faster-whisper", "ctranslate2")
        with tempfile.TemporaryDirectory() as place:
            folder = convert(arguments.weights, Path(place) / arguments.weights.name)
            uploads = librispeech(turnout.load(folder), arguments.data)
            found = list(loads_of_whisper(arguments, folder, uploads))
        saved("serve_whisper.json", made_by, "load", found)
    else:
        made_by, model = origin(SEED, *packages), turnout.load(threads=2)
        uploads = examples(model)
        for part in arguments.parts or parts:
            found = {
                "load": lambda: list(loads(arguments, uploads)),
                "fairness": lambda: fairness(arguments, model),
                "overload": lambda: overload(arguments, uploads),
                "soak": lambda: soak(arguments.minutes, arguments.requests, uploads),
            }[part]()
            saved("serve.json", made_by, part, found)
    draw(RESULTS, ROOT / "docs" / "images" / "serving.png")


if __name__ == "__main__":
    main()
