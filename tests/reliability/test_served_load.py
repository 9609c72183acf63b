"""T16: beyond its capacity a server says so, and goes on at its best. T26: after thousands of
requests, good and bad, it is as it was.
"""

import contextlib
import math
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx
import numpy as np
import pytest

from tests.containers import encode
from tests.reliability.bombs import flac_of_silence
from tests.reliability.examples import examples
from tests.reliability.serving import Process, check_error, eventually, serving, transcribed
from tests.reliability.tally import Tally
from tests.reliability.test_served_files import damaged
from tests.served import TRANSCRIPTIONS, multipart, request_of

PLACES = 4
TIMES = 4
"""As many clients for each place."""
BACK_OFF_SECONDS = 0.3
"""Less than Retry-After says: they do not obey, so that the load stays."""
LOAD_SECONDS = 120.0
"""At the small size, after which a server that gives no answers is given up."""
ENOUGH = 12
"""Right answers, at the small size."""
MOST_PER_ANSWER = 1.25
"""Processor time of an answer under too many clients, to that of one under as many as there are
places."""
MOST_PER_REFUSAL = 0.1
"""The same of a refusal: 0.02 to 0.03 as it is, 0.9 where the work is done first."""


@dataclass
class Load:
    """What clients met with."""

    right: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    refused_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of the server."""

    @property
    def pace(self) -> float:
        """Right answers a second."""
        return self.right / self.seconds

    @property
    def cost(self) -> float:
        """Processor time of the server for each right answer."""
        return self.cpu_seconds / max(self.right, 1)


def load(server: Process, expected: dict[Path, bytes], clients: int, enough: float) -> Load:
    """What so many clients meet with, each asking again as soon as it is answered, until `enough`
    answers were right, or for LOAD_SECONDS. The time begins when all of them are there: making one
    takes a busy machine a while."""
    found, lock, began_at = Load(), threading.Lock(), list[float]()
    cpu_seconds = server.cpu_seconds()
    ready = threading.Barrier(clients, lambda: began_at.append(time.monotonic()))

    def one(number: int) -> None:
        random = Random(number)
        with server.client() as client:
            ready.wait()
            while time.monotonic() < began_at[0] + LOAD_SECONDS and found.right < enough:
                path = random.choice(list(expected))
                began = time.monotonic()
                try:
                    response = transcribed(client, path)
                except httpx.HTTPError as error:
                    with lock:
                        found.wrong.append(repr(error))
                    continue
                with lock:
                    note(found, response, expected[path], time.monotonic() - began)
                if response.status_code == 429:
                    time.sleep(BACK_OFF_SECONDS * random.random())

    threads = [threading.Thread(target=one, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.seconds = time.monotonic() - began_at[0]
    found.cpu_seconds = server.cpu_seconds() - cpu_seconds
    return found


def note(found: Load, response: httpx.Response, expected: bytes, seconds: float) -> None:
    """Count an answer."""
    found.statuses[response.status_code] += 1
    if response.status_code == 200:
        if response.content == expected:
            found.right += 1
        else:
            found.wrong.append(f"another text: {response.text[:200]}")
    elif response.status_code == 429:
        found.refused_seconds.append(seconds)
        try:
            check_error(response)
            assert int(response.headers["retry-after"]) >= 1
        except (AssertionError, KeyError, ValueError) as error:
            found.wrong.append(f"429: {error!r}")
    else:
        found.wrong.append(f"{response.status_code}: {response.text[:200]}")


def longer_ones(folder: Path) -> list[Path]:
    """Recordings of some 10 s: the server is to be what takes the time, not its clients."""
    found = []
    for number, one in enumerate(examples()[:4]):
        found.append(folder / f"{number}.flac")
        samples = np.tile(one.samples, 1 + 160_000 // len(one.samples))
        found[-1].write_bytes(encode(samples, 16_000, "FLAC", "PCM_16"))
    return found


def check_cost(best: Load, over: Load) -> None:
    """The server spends its processor on answers, and little on those whom it refuses."""
    allowed = MOST_PER_ANSWER * over.right + MOST_PER_REFUSAL * over.statuses[429]
    spent = over.cpu_seconds / best.cost
    assert spent <= allowed, (
        f"{over.right} answers and {over.statuses[429]} refusals cost as much as {spent:.1f} "
        f"answers, more than {allowed:.1f}"
    )


@pytest.mark.counts("T16", "overload")
def test_beyond_capacity_a_server_says_so_and_goes_on(tally: Tally, tmp_path: Path) -> None:
    """The small size runs beside other tests: it measures no time, but what the server spends."""
    enough = math.inf if tally.full else ENOUGH
    words = ("--max-concurrent", str(PLACES // 2), "--max-queue", str(PLACES // 2))
    with serving(tmp_path, *words) as server, server.client() as client:
        paths = longer_ones(tmp_path)
        expected = {path: transcribed(client, path).content for path in paths}
        best = load(server, expected, PLACES, enough)
        over = load(server, expected, TIMES * PLACES, enough)
        with tally.trial("the server is well"):
            assert client.get("/ready").status_code == 200
            assert not server.left_behind(), server.left_behind()
    for name, found in (("1 times", best), (f"{TIMES} times", over)):
        with tally.trial(f"every answer at {name} the capacity"):
            assert not found.wrong, f"{len(found.wrong)}: {found.wrong[:3]}"
            assert set(found.statuses) <= {200, 429}
            assert found.right >= ENOUGH, f"{found.right} in {found.seconds:.0f} s"
    with tally.trial("some are told to come later"):
        assert over.statuses[429], "the queue has no end"
    with tally.trial("refusing costs little"):
        check_cost(best, over)
    late = sorted(over.refused_seconds or [0.0])[int(0.95 * len(over.refused_seconds))]
    if tally.full:
        with tally.trial("at once, and the pace stays"):
            assert over.pace >= 0.9 * best.pace, (over.pace, best.pace)
            assert late <= 0.25, f"p95 {late:.2f} s"
    tally.trials += sum(best.statuses.values()) + sum(over.statuses.values())
    tally.measure(best_per_second=round(best.pace, 2), over_per_second=round(over.pace, 2))
    tally.measure(best_cpu_each=round(best.cost, 3), over_cpu_each=round(over.cost, 3))
    tally.measure(answered=over.statuses[200], refused=over.statuses[429])
    tally.measure(refused_p95_seconds=round(late, 3))
    tally.controlled(wrong_answers_are_seen() and work_for_nothing_is_seen())


def wrong_answers_are_seen() -> bool:
    """The negative control: another's text, a 429 that says not when, and a 500."""
    found = Load()
    note(found, httpx.Response(200, content=b"another"), b"mine", 0.0)
    note(found, httpx.Response(429, json={"error": {}}), b"mine", 0.0)
    note(found, httpx.Response(500, content=b""), b"mine", 0.0)
    return len(found.wrong) == 3


def work_for_nothing_is_seen() -> bool:
    """The negative control: a server that transcribes what it then refuses."""
    statuses = Counter({200: ENOUGH, 429: 3 * ENOUGH})
    over = Load(ENOUGH, statuses, cpu_seconds=0.1 * statuses.total())
    try:
        check_cost(Load(ENOUGH, cpu_seconds=0.1 * ENOUGH), over)
    except AssertionError:
        return True
    return False


@dataclass(frozen=True)
class Soak:
    """How a soak is run, and how much a request may leave behind."""

    requests: int
    warm_up: int
    bytes_each: int
    """Growth of the server's memory for each request, at most."""
    leaked_bytes: int
    """Planted in the server that must be seen."""


LEAKING = "tests.reliability.leaking_server"
SMALL = Soak(60, 30, 600_000, 2_000_000)
FULL = Soak(10_000, 2_000, 500, 1_000)
SAMPLE_EVERY = 10
BOMB_SECONDS = 3_000
LIMITS = ("--max-duration", "600")
MOST_GROWTH_MB = 64.0
GOLDEN_EVERY = 20


@dataclass
class Soaked:
    """What became of a server."""

    wrong: list[str] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)
    """From the end of the warm-up on."""
    at: list[int] = field(default_factory=list)
    """After so many requests."""
    files: tuple[int, int] = (0, 0)
    """Open, at the end of the warm-up and at the end."""
    threads: tuple[int, int] = (0, 0)
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def bytes_each(self) -> float:
        """The slope of memory over requests."""
        return float(np.polyfit(self.at, self.resident_mb, 1)[0]) * 2**20

    @property
    def growth_mb(self) -> float:
        """Between the two."""
        return self.resident_mb[-1] - self.resident_mb[0]


def soak(server: Process, how: Soak, random_of: object) -> Soaked:
    """Good requests, damaged files, clients that leave, and bombs."""
    found = Soaked()
    good = [one.path for one in examples()]
    bomb = flac_of_silence(BOMB_SECONDS)
    with server.client() as client:
        expected = {path: transcribed(client, path).content for path in good}
        for number in range(how.requests):
            random: Random = random_of(number)  # type: ignore[operator]
            kind = random.choices(("good", "damaged", "left", "bomb"), (84, 10, 5, 1))[0]
            found.outcomes[kind] += 1
            one_request(server, client, kind, random, bomb)
            if number % GOLDEN_EVERY == 0:
                path = random.choice(good)
                if transcribed(client, path).content != expected[path]:
                    found.wrong.append(f"{number}: another text")
            if number >= how.warm_up and number % SAMPLE_EVERY == 0:
                found.at.append(number)
                found.resident_mb.append(server.resident_mb())
            if number == how.warm_up:
                found.files = (server.open_files(), 0)
                found.threads = (server.threads(), 0)
        eventually(lambda: not server.left_behind(), 5)
        time.sleep(1)
        found.files = (found.files[0], server.open_files())
        found.threads = (found.threads[0], server.threads())
    mistakes = [line for line in server.lines() if line["level"] == "error"]
    found.wrong += [str(line) for line in mistakes]
    found.wrong += [f"left behind: {name}" for name in server.left_behind()]
    return found


def one_request(
    server: Process, client: httpx.Client, kind: str, random: Random, bomb: bytes
) -> None:
    """One of the kinds."""
    good = random.choice(examples()).path
    if kind == "left":
        form = multipart((b'name="file"; filename="a"', good.read_bytes()))
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            share = random.random()
            connection.sendall(request_of(TRANSCRIPTIONS, form)[: int(share * len(form)) + 50])
            with contextlib.suppress(OSError):
                time.sleep(0.05 * random.random())
        return
    if kind == "good":
        transcribed(client, good, stream=random.choice(("true", "false")))
    elif kind == "damaged":
        transcribed(client, damaged(random))
    else:
        transcribed(client, ("bomb.flac", bomb))


@pytest.mark.slow
@pytest.mark.counts("T26", "soak")
def test_after_many_requests_a_server_is_as_it_was(
    tally: Tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = FULL if tally.full else SMALL
    with serving(tmp_path / "sound", *LIMITS) as server:
        found = soak(server, how, tally.random)
    tally.trials += how.requests
    with tally.trial("every answer, and nothing is left"):
        assert not found.wrong, f"{len(found.wrong)}: {found.wrong[:3]}"
    with tally.trial("memory"):
        assert found.bytes_each <= how.bytes_each, f"{found.bytes_each:,.0f} bytes a request"
        assert found.growth_mb <= MOST_GROWTH_MB, f"{found.growth_mb:.1f} MB"
    with tally.trial("open files and threads"):
        assert found.files[1] <= found.files[0] + 5, found.files
        assert found.threads[1] <= found.threads[0] + 5, found.threads
    if tally.full:
        monkeypatch.setenv("LEAKED_BYTES", str(how.leaked_bytes))
        with serving(tmp_path / "leaking", *LIMITS, module=LEAKING) as server:
            leaking = soak(server, how, tally.random)
        with tally.trial("the leak is all that is wrong with the other"):
            assert not leaking.wrong, leaking.wrong[:3]
        tally.controlled(leaking.bytes_each > how.bytes_each)
        tally.measure(bytes_a_request_of_the_leak=round(leaking.bytes_each))
    tally.measure(**found.outcomes)
    tally.measure(bytes_a_request=round(found.bytes_each), growth_mb=round(found.growth_mb, 1))
    tally.measure(open_files=list(found.files), threads=list(found.threads))
