"""The server over a long time: what it takes of the machine must not grow.

A tenth of the requests are bad (damaged files, no sound, impossible fields), a twentieth of the
clients leave before they have their answer, the others must have the text that the model writes by
itself. Every few seconds memory (the server's and its children's, shared pages in parts), open
files and threads are looked at. After a warm-up, the slope of the memory is a line's through these
points, by Theil and Sen, per request. The same again for a shorter time with a planted leak: what
does not see that, proves nothing.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import httpx
import numpy as np
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
LOOK_SECONDS = 2.0
WARM_UP = 0.25
"""Of the requests, before what is taken counts."""
MOST_BYTES = 4096
"""Of a request, that may stay: less than the planted leak by far."""
LEAKED_BYTES = 40_000
LEAK_SHARE = 0.1
"""Of the minutes and requests."""
LEFT_SECONDS = 0.15


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


class Soak:
    """What happens in one."""

    def __init__(self, server: Server, uploads: Sequence[Upload]) -> None:
        self._server = server
        self._uploads = uploads
        self.sent = 0
        self.outcomes: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.looks: list[tuple[float, int, Taken]] = []
        """When, after how many requests, and what was taken."""

    async def run(self, minutes: float, requests: int) -> None:
        """At least so long, and so many."""
        began = time.monotonic()

        def going() -> bool:
            return time.monotonic() - began < 60 * minutes or self.sent < requests

        async with client(self._server) as found:
            clients = [self._send(found, number, going) for number in range(CLIENTS)]
            work = asyncio.gather(*clients)
            while not work.done():
                self.looks.append((time.monotonic() - began, self.sent, taken(self._server)))
                await asyncio.wait([work], timeout=LOOK_SECONDS)
            await work

    async def _send(self, found: httpx.AsyncClient, number: int, going: Any) -> None:
        rng = np.random.default_rng((1, number))
        while going():
            self.sent += 1
            kind = rng.random()
            if kind < BAD:
                upload, fields = bad_request(rng, self._uploads)
                self._bad(await transcribe(found, upload, **fields))
                continue
            upload = self._uploads[int(rng.integers(len(self._uploads)))]
            if kind < BAD + LEAVING:
                await self._leave(transcribe(found, upload), rng.uniform(0, LEFT_SECONDS))
                continue
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


def slope(looks: Sequence[tuple[float, int, Taken]]) -> float:
    """Bytes that a request leaves behind: the median of the slopes between any two looks."""
    requests = np.array([sent for _, sent, _ in looks], float)
    memory = np.array([one.resident_mb for _, _, one in looks]) * 2**20
    first, second = np.triu_indices(len(looks), k=1)
    apart = requests[second] - requests[first]
    far = apart > requests[-1] / 10  # near ones say nothing
    if not far.any():
        raise SystemExit("the soak is too short to see anything: give it more --requests")
    return float(np.median((memory[second] - memory[first])[far] / apart[far]))


def figures(found: Soak) -> dict[str, Any]:
    """What is told of a soak."""
    warm = [look for look in found.looks if look[1] >= WARM_UP * found.sent]
    first, last = warm[0][2], warm[-1][2]
    half = len(found.seconds) // 2
    drift = [
        latencies(part)["p95_seconds"] for part in (found.seconds[:half], found.seconds[half:])
    ]
    left = slope(warm)
    return {
        "requests": found.sent,
        "minutes": round(found.looks[-1][0] / 60, 2),
        "outcomes": dict(sorted(found.outcomes.items())),
        "wrong": sum(count for name, count in found.outcomes.items() if "wrong" in name),
        "bytes_left_by_a_request": round(left),
        "mb_grown_after_the_warm_up": round(last.resident_mb - first.resident_mb, 1),
        "mb_an_hour": round(
            left / 2**20 * 3600 * (warm[-1][1] - warm[0][1]) / (warm[-1][0] - warm[0][0]), 2
        ),
        "at_first": asdict(first),
        "at_last": asdict(last),
        **latencies(found.seconds),
        "p95_seconds_of_the_halves": drift,
        "grows": left > MOST_BYTES,
        "looks": [(round(at), sent, one.resident_mb, one.files) for at, sent, one in found.looks],
    }


def soak(minutes: float, requests: int, uploads: Sequence[Upload]) -> dict[str, Any]:
    """The soak, and the shorter one with the planted leak."""
    found = {}
    for name, script, share in (("sound", None, 1.0), ("leaking", "serve_leaking.py", LEAK_SHARE)):
        os.environ["LEAKED_BYTES"] = str(LEAKED_BYTES)
        with running(turnout_server(None, script=script)) as server:
            one = Soak(server, uploads)
            asyncio.run(one.run(share * minutes, round(share * requests)))
            found[name] = figures(one)
        print(name, {k: v for k, v in found[name].items() if k != "looks"}, flush=True)
    return {**found, "planted_leak_is_seen": found["leaking"]["grows"]}
