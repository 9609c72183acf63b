"""What the benchmarks of the server share: servers, clients, and what a process takes.

A server is a process of its own on the same machine; clients are coroutines of this one.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
from numpy.typing import NDArray
from origin import ROOT

THREADS = 2
RATE = 16_000
START_SECONDS = 180.0
REQUEST_SECONDS = 1800.0
EXAMPLES = sorted((ROOT / "examples").glob("*-*.*"))

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Upload:
    """A file as it is sent, and what the model by itself writes of it."""

    name: str
    data: bytes
    seconds: float
    text: str


@dataclass(frozen=True)
class Answer:
    """What came of a request."""

    status: int
    seconds: float
    text: str = ""
    retry_after: float = 0.0
    late: bool = False
    """Whether it came when the time was over: it is right or wrong, but counts for no rate."""


@dataclass(frozen=True)
class Server:
    """One that runs."""

    address: str
    process: "subprocess.Popen[bytes]"


def flac(samples: Floats) -> bytes:
    """A file of these samples."""
    with tempfile.TemporaryFile() as file:
        soundfile.write(file, samples, RATE, format="FLAC")
        file.seek(0)
        return file.read()


def turnout_server(model: str | None, *options: str, script: str | None = None) -> list[str]:
    """The command that starts ours; `script` starts it in another way."""
    start = ["-m", "turnout"] if script is None else [str(ROOT / "benchmarks" / script)]
    command = [sys.executable, *start, "serve", "--port", "0", "--no-page"]
    return [*command, "--threads", str(THREADS), *(["--model", model] if model else []), *options]


@contextmanager
def running(command: Sequence[str]) -> Iterator[Server]:
    """The server, once it says where it listens; its log goes to a file, which nobody waits for."""
    with tempfile.NamedTemporaryFile("w+b") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield Server(address_of(Path(log.name), process), process)
        finally:
            process.terminate()
            process.wait(timeout=60)


def address_of(log: Path, process: "subprocess.Popen[bytes]") -> str:
    """Where the server says that it listens."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        for word in log.read_text("utf-8", "replace").split():
            if word.startswith("http://127.0.0.1:"):
                return word.rstrip("/.,;")
        time.sleep(0.1)
    raise SystemExit(f"the server does not start: {log.read_text('utf-8', 'replace')[-2000:]}")


@asynccontextmanager
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """Whoever sends requests; with as many connections as it takes."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    timeout = httpx.Timeout(REQUEST_SECONDS, connect=60)
    async with httpx.AsyncClient(
        base_url=server.address, limits=limits, timeout=timeout, trust_env=False
    ) as found:
        yield found


async def transcribe(found: httpx.AsyncClient, upload: Upload, **fields: str) -> Answer:
    """Send a file, as OpenAI's clients do."""
    began = time.monotonic()
    response = await found.post(
        "/v1/audio/transcriptions",
        files={"file": (upload.name, upload.data)},
        data={"model": "whisper-1", "response_format": "json", **fields},
    )
    taken = time.monotonic() - began
    if response.status_code == httpx.codes.OK:
        return Answer(response.status_code, taken, response.json()["text"].strip())
    after = float(response.headers.get("retry-after", 0))
    return Answer(response.status_code, taken, retry_after=after)


async def closed_loop(
    server: Server,
    clients: int,
    going: Callable[[int], bool],
    choose: Callable[[np.random.Generator], Upload],
    **fields: str,
) -> list[tuple[Upload, Answer]]:
    """So many clients, each of which sends the next request when it has its answer, as long as
    `going` says so of how many it has sent. Whoever is told to come later does."""
    async with client(server) as found:

        async def send(number: int) -> list[tuple[Upload, Answer]]:
            rng, done = np.random.default_rng((0, number)), []
            while going(len(done)):
                upload = choose(rng)
                answer = await transcribe(found, upload, **fields)
                late = not going(len(done))
                done.append((upload, replace(answer, late=late)))
                if answer.retry_after and not late:
                    await asyncio.sleep(answer.retry_after * rng.uniform(0.5, 1.5))
            return done

        parts = await asyncio.gather(*map(send, range(clients)))
    return [one for part in parts for one in part]


def for_seconds(seconds: float) -> Callable[[int], bool]:
    """Going on for so long from now."""
    until = time.monotonic() + seconds
    return lambda _: time.monotonic() < until


def latencies(values: Sequence[float]) -> dict[str, float | None]:
    """Median and 95th percentile, in seconds."""
    if not values:
        return {"p50_seconds": None, "p95_seconds": None}
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50_seconds": round(float(p50), 4), "p95_seconds": round(float(p95), 4)}


@dataclass(frozen=True)
class Taken:
    """What a server takes of the machine: the process, and those that it began."""

    resident_mb: float
    files: int
    threads: int
    processes: int


def taken(server: Server) -> Taken:
    """Now; the children's files and threads are their own."""
    folder = Path(f"/proc/{server.process.pid}")
    children = list(descendants(server.process.pid))
    memory = sum(map(resident_mb, [server.process.pid, *children]))
    return Taken(
        round(memory, 2),
        len(list((folder / "fd").iterdir())),
        len(list((folder / "task").iterdir())),
        len(children),
    )


def descendants(pid: int) -> Iterator[int]:
    """The processes below one."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            found = (thread / "children").read_text().split()
        except OSError:  # it has ended
            continue
        for child in map(int, found):
            yield child
            try:
                yield from descendants(child)
            except OSError:
                continue


def resident_mb(pid: int) -> float:
    """Of a process alone: what it shares with another is counted in parts; 0 of one that ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def wrong(answers: Sequence[tuple[Upload, Answer]]) -> int:
    """Accepted requests whose text is not what the model writes by itself."""
    accepted = ((upload, one) for upload, one in answers if one.status == httpx.codes.OK)
    return sum(one.text != upload.text for upload, one in accepted)


def statuses(answers: Sequence[tuple[Upload, Answer]]) -> dict[str, int]:
    """How often each came."""
    found: dict[str, int] = {}
    for _, one in answers:
        found[str(one.status)] = found.get(str(one.status), 0) + 1
    return dict(sorted(found.items()))


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Figures as they are told."""
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}
