"""The server over a long time: what it takes of the machine must not grow.

A tenth of the requests are bad (damaged files, no sound, impossible fields), a twentieth of the
clients leave before they have their answer, the others must have the text that the model writes by
itself. Now and then all clients wait until nothing is at work, and what the server holds is looked
at: bytes of malloc's and blocks of Python's (serve_watched.py), memory of the process and of the
one that forks its readers, open files, threads. What a request leaves of each, behind the first
half, is serve_growth.py's to say. The same again for a shorter time with a planted leak of a
kilobyte a request: what does not see that, proves nothing.
"""

import asyncio
import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from serve_growth import Look, enough, growth
from serving import (
    Answer,
    Server,
    Taken,
    Upload,
    client,
    latencies,
    running,
    taken,
    transcribe,
    turnout_server,
)

CLIENTS = 4
BAD, LEAVING = 0.10, 0.05
LOOKS = 120
"""Over the minutes of a soak, at most."""
LOOK_SHARE = 0.2
"""Of the time, at most, for looking: nobody is served meanwhile."""
LEAKED_BYTES = 1000
LEAK_SHARE = 0.1
"""Of the minutes and requests."""
LEFT_SECONDS = 0.15
QUIET_SECONDS = 30.0
"""In which a server whose clients wait must have nothing at work."""
POLL_SECONDS = 0.05
MB = 2**20


def bad_request(
    rng: np.random.Generator, uploads: Sequence[Upload]
) -> tuple[Upload, dict[str, str]]:
    """A request that must be refused, or taken as what it is, and never break anything."""
    good = uploads[int(rng.integers(len(uploads)))]
    data = bytearray(good.data)
    match int(rng.integers(5)):
        case 0:
            return Upload("cut", bytes(data[: int(rng.integers(1, 40))]), 0, ""), {}
        case 1:
            return Upload("noise", rng.bytes(int(rng.integers(1, 5000))), 0, ""), {}
        case 2:
            for place in rng.integers(len(data), size=20):
                data[int(place)] ^= 1 << int(rng.integers(8))
            return Upload("flipped", bytes(data), 0, ""), {}
        case 3:
            return good, {"language": "xx"}
        case _:
            return good, {"response_format": "diarized_json"}


class Watch:
    """What a server that was started by serve_watched.py holds."""

    def __init__(self, server: Server, file: Path) -> None:
        """`file` is where it writes."""
        self._server = server
        self._file = file
        self._lines = 0

    async def held(self, found: httpx.AsyncClient) -> tuple[dict[str, float], Taken]:
        """Now that nobody asks for anything: by the names of serve_growth.MOST."""
        await self._until(lambda: taken(self._server).processes <= 1, "it still reads files")
        for _ in range(round(QUIET_SECONDS / POLL_SECONDS)):
            if is_quiet((await found.get("/metrics")).text):
                break
            await asyncio.sleep(POLL_SECONDS)
        self._server.process.send_signal(signal.SIGUSR1)
        await self._until(lambda: len(self._told()) > self._lines, "it says nothing of itself")
        self._lines = len(self._told())
        machine = taken(self._server)
        said = {name: value for name, value in json.loads(self._told()[-1]).items() if value}
        return {**said, "resident_bytes": machine.resident_mb * MB}, machine

    def _told(self) -> list[str]:
        return self._file.read_text().splitlines(keepends=True)

    async def _until(self, condition: Any, why: str) -> None:
        until = time.monotonic() + QUIET_SECONDS
        while not condition():
            if time.monotonic() > until:
                raise SystemExit(f"the server cannot be looked at: {why}")
            await asyncio.sleep(POLL_SECONDS)


def is_quiet(metrics: str) -> bool:
    """Whether nothing is at work, by what the server says of itself."""
    lines = metrics.splitlines()
    return all(f"turnout_requests_{name} 0.0" in lines for name in ("running", "queued"))


class Soak:
    """What happens in one."""

    def __init__(self, server: Server, watch: Watch, uploads: Sequence[Upload]) -> None:
        self._server = server
        self._watch = watch
        self._uploads = uploads
        self._may_send = asyncio.Event()
        self._sending = 0
        self.sent = 0
        self.outcomes: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.looks: list[tuple[Look, Taken]] = []

    async def run(self, minutes: float, requests: int) -> None:
        """At least so long, so many, and until enough was seen."""
        began = time.monotonic()

        def going() -> bool:
            seen = enough([look for look, _ in self.looks])
            return time.monotonic() - began < 60 * minutes or self.sent < requests or not seen

        async with client(self._server) as found:
            self._may_send.set()
            work = asyncio.gather(*(self._send(found, n, going) for n in range(CLIENTS)))
            pause = 60 * minutes / LOOKS
            while not work.done():
                await asyncio.wait([work], timeout=pause)
                looked = time.monotonic()
                await self._look(found, began)
                pause = max(pause, (time.monotonic() - looked) / LOOK_SHARE)
            await work

    async def _look(self, found: httpx.AsyncClient, began: float) -> None:
        """See what is held, once all that was asked for is done."""
        self._may_send.clear()
        while self._sending:
            await asyncio.sleep(POLL_SECONDS)
        held, machine = await self._watch.held(found)
        seconds = round(time.monotonic() - began, 1)
        self.looks.append((Look(seconds, self.sent, held), machine))
        self._may_send.set()

    async def _send(self, found: httpx.AsyncClient, number: int, going: Any) -> None:
        rng = np.random.default_rng((1, number))
        while going():
            await self._may_send.wait()
            self.sent += 1
            self._sending += 1
            try:
                await self._one(found, rng)
            finally:
                self._sending -= 1

    async def _one(self, found: httpx.AsyncClient, rng: np.random.Generator) -> None:
        kind = rng.random()
        if kind < BAD:
            upload, fields = bad_request(rng, self._uploads)
            self._bad(await transcribe(found, upload, **fields))
            return
        upload = self._uploads[int(rng.integers(len(self._uploads)))]
        if kind < BAD + LEAVING:
            await self._leave(transcribe(found, upload), rng.uniform(0, LEFT_SECONDS))
            return
        answer = await transcribe(found, upload)
        self.seconds.append(answer.seconds)
        right = answer.status == httpx.codes.OK and answer.text == upload.text
        self.outcomes["right" if right else f"wrong ({answer.status})"] += 1

    def _bad(self, answer: Answer) -> None:
        broken = answer.status >= httpx.codes.INTERNAL_SERVER_ERROR
        self.outcomes[f"bad: {answer.status}" + " (wrong)" * broken] += 1

    async def _leave(self, request: Any, after: float) -> None:
        try:
            await asyncio.wait_for(request, after)
            self.outcomes["answered before it left"] += 1
        except TimeoutError:
            self.outcomes["left"] += 1


def figures(found: Soak) -> dict[str, Any]:
    """What is told of a soak."""
    looks = [look for look, _ in found.looks]
    middle = next(one for look, one in found.looks if 2 * look.requests >= found.sent)
    half = len(found.seconds) // 2
    drift = [
        latencies(part)["p95_seconds"] for part in (found.seconds[:half], found.seconds[half:])
    ]
    last = found.looks[-1][1]
    return {
        "requests": found.sent,
        "minutes": round(looks[-1].seconds / 60, 2),
        "outcomes": dict(sorted(found.outcomes.items())),
        "wrong": sum(count for name, count in found.outcomes.items() if "wrong" in name),
        **growth(looks),
        "mb_grown_in_the_last_half": round(last.resident_mb - middle.resident_mb, 1),
        "in_the_middle": asdict(middle),
        "at_last": asdict(last),
        **latencies(found.seconds),
        "p95_seconds_of_the_halves": drift,
        "looks": [
            (look.seconds, look.requests, one.resident_mb, one.files, look.held)
            for look, one in found.looks
        ],
    }


def soaked(minutes: float, requests: int, uploads: Sequence[Upload], leak: int) -> dict[str, Any]:
    """One soak, of a server of which every request leaves so many bytes behind."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "held"
        file.touch()
        os.environ |= {"LEAKED_BYTES": str(leak), "HELD_FILE": str(file)}
        with running(turnout_server(None, script="serve_watched.py")) as server:

            async def work() -> Soak:
                one = Soak(server, Watch(server, file), uploads)
                await one.run(minutes, requests)
                return one

            found = figures(asyncio.run(work()))
    print({k: v for k, v in found.items() if k != "looks"}, flush=True)
    return found


def soak(minutes: float, requests: int, uploads: Sequence[Upload]) -> dict[str, Any]:
    """The soak, and the shorter one with the planted leak."""
    sound = soaked(minutes, requests, uploads, 0)
    leaking = soaked(LEAK_SHARE * minutes, round(LEAK_SHARE * requests), uploads, LEAKED_BYTES)
    return {"sound": sound, "leaking": leaking, "planted_leak_is_seen": is_seen(leaking)}


def is_seen(leaking: dict[str, Any]) -> bool:
    """Whether the soak says that the server grows, and by what was planted: something else that
    grows is no proof."""
    found = leaking["left_by_a_request"].get("malloc_bytes")
    told = found is None or LEAKED_BYTES / 2 < found["a_request"] < 2 * LEAKED_BYTES
    return leaking["grows"] and told
