"""T18, live: streams that lie, flood, babble or vanish cost their own connection. The good one
among them has its words, and nothing of the others is left.
"""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from tests.reliability.examples import examples
from tests.reliability.serving import eventually
from tests.reliability.tally import Tally
from tests.served import Served, served
from turnout.audio.waveform import read_audio
from turnout.serving import live
from turnout.serving.live_messages import REASONS

PATH = live.PATH
KEY = "the-key-of-this-server"
PLACES = 4
PATIENCE_SECONDS = 1.0
HANDSHAKE = (
    f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
).encode()
Act = Callable[[Any, Random], None]


def sound(number: int) -> tuple[bytes, str]:
    """An example between two pauses, as a stream, and its text."""
    example = examples()[number % len(examples())]
    pause = np.zeros(9_600, np.float32)
    samples = np.concatenate([pause, read_audio(example.path).samples, pause])
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes(), example.text


def start(random: Random, **changes: Any) -> str:
    """A first message, as a client would send it, but for the changes."""
    message = {"type": "start", "key": KEY, "task": random.choice(["transcribe", "both"])}
    return json.dumps({**message, **changes})


def speak(connection: Any, random: Random, most: int = 80_000) -> None:
    """Begin as a good stream does."""
    connection.send(start(random))
    connection.recv(20)
    data, _ = sound(random.randrange(12))
    for first in range(0, random.randrange(3200, most), 3200):
        connection.send(data[first : first + 3200])


def wrong_start(connection: Any, random: Random) -> None:
    wrong = [
        {"key": random.randbytes(8).hex()}, {"key": None}, {"key": KEY[:-1]}, {"type": "begin"},
        {"rate": random.randrange(100_000)}, {"format": "opus"}, {"model": "../../etc/passwd"},
        {"language": "\u202e\u0000"}, {"silence_ms": -1}, {"beam_size": 10**9}, {"task": ["both"]},
        {"prompt": "a" * random.randrange(1, 40_000)}, {random.randbytes(4).hex(): 1},
    ]  # fmt: skip
    connection.send(start(random, **random.choice(wrong)))


def no_start(connection: Any, random: Random) -> None:
    nothing = [
        "", "{", "null", "[" * 9_000, '"start"', '{"type": NaN}', random.randbytes(99).hex(),
        random.randbytes(random.randrange(1, 5_000)), r'{"type": "\udc00"}',
    ]  # fmt: skip
    connection.send(random.choice(nothing))


def silent(_: Any, __: Random) -> None:
    """Says nothing at all."""


def stalls(connection: Any, random: Random) -> None:
    speak(connection, random)


def odd_frames(connection: Any, random: Random) -> None:
    speak(connection, random)
    connection.send(random.randbytes(2 * random.randrange(1_000) + 1))


def huge_frame(connection: Any, random: Random) -> None:
    speak(connection, random)
    connection.send(bytes(random.choice([65_538, 200_000, 1_048_578, 3_000_000])))


def a_file(connection: Any, random: Random) -> None:
    connection.send(start(random))
    connection.recv(20)
    connection.send(random.choice(examples()).path.read_bytes()[:4_000])
    connection.send(bytes(1))  # of MP3 without tags the first frame looks like samples


def talk(connection: Any, random: Random) -> None:
    speak(connection, random)
    connection.send(random.choice(["{}", "more", start(random), '{"type": "end", "x": 1}']))


def flood(connection: Any, random: Random) -> None:
    speak(connection, random)
    frame = random.choice([bytes(32_000), random.randbytes(32_000)])
    for _ in range(80):
        connection.send(frame)


def vanish(connection: Any, random: Random) -> None:
    speak(connection, random, 160_000)
    connection.socket.shutdown(socket.SHUT_RDWR)


def leave(connection: Any, random: Random) -> None:
    speak(connection, random, 160_000)
    connection.close()


KINDS: tuple[Act, ...] = (
    wrong_start, no_start, silent, stalls, odd_frames, huge_frame, a_file, talk, flood, vanish,
    leave,
)  # fmt: skip


def ended(connection: Any) -> int | None:
    """The code with which a connection is closed, once it was told why; None where it broke off."""
    events: list[dict[str, Any]] = []
    try:
        while True:
            events.append(json.loads(connection.recv(20)))
    except ConnectionClosed as closed:
        code = None if closed.rcvd is None else closed.rcvd.code
    told = [event for event in events if event["type"] == "error"]
    if told:
        message = told[0]["error"]["message"]
        assert message and message.isprintable() and ".py" not in message, message
        assert events[-1]["type"] == "closed" and events[-1]["code"] == code
        assert len(told) == 1 and code in REASONS
    return code


def misbehave(server: Served, random: Random) -> str:
    """One bad stream to its end; what it did and how it was closed."""
    act = random.choice(KINDS)
    address = f"ws://127.0.0.1:{server.port}{PATH}"
    with connect(address, proxy=None, compression=None, max_size=None) as connection:
        try:
            act(connection, random)
        except ConnectionClosed:  # told, perhaps, before all of it was sent
            pass
        except TimeoutError as error:
            raise AssertionError(f"{act.__name__}: no answer") from error
        code = ended(connection)
    if act in (vanish, leave):
        return f"{act.__name__} {code if act is leave else ''}"
    assert code is not None, f"{act.__name__}: it broke off"
    assert code != 1011, f"{act.__name__}: the server is at fault"
    return f"{act.__name__} {code}"


def garble(server: Served, random: Random) -> None:
    """Bytes that are no WebSocket's."""
    with server.connect() as connection:
        connection.sendall(HANDSHAKE)
        if random.random() < 0.8:
            connection.recv(65_536)
        with suppress(OSError):
            connection.sendall(random.randbytes(random.choice([1, 2, 30, 5_000, 70_000])))
            connection.shutdown(random.choice([socket.SHUT_WR, socket.SHUT_RDWR]))
        connection.settimeout(PATIENCE_SECONDS + 10)
        with suppress(OSError):
            while connection.recv(65_536):
                pass


def good(server: Served, number: int) -> str:
    """The text of an example that is streamed as it should be."""
    data, _ = sound(number)
    address = f"ws://127.0.0.1:{server.port}{PATH}"
    with connect(address, proxy=None, compression=None) as connection:
        connection.send(json.dumps({"type": "start", "key": KEY}))
        events = [json.loads(connection.recv(20))]
        if events[0]["type"] != "ready":
            return events[0]["error"]["message"]
        for first in range(0, len(data), 3200):
            connection.send(data[first : first + 3200])
        connection.send('{"type": "end"}')
        with suppress(ConnectionClosed):
            while True:
                events.append(json.loads(connection.recv(20)))
    return " ".join(event["text"] for event in events if event["type"] == "final")


@contextmanager
def patient(folder: Path) -> Iterator[Served]:
    """A server with few places and short deadlines."""
    with served(
        folder, api_keys=(KEY,), max_live=PLACES, header_seconds=PATIENCE_SECONDS,
        body_stall_seconds=PATIENCE_SECONDS,
    ) as found:  # fmt: skip
        yield found


def open_files() -> int:
    """Of this process, in which the server is."""
    return len(list(Path("/proc/self/fd").iterdir()))


def tasks_of(server: Served) -> int:
    """How many the server's loop has."""

    async def count() -> int:
        return len(asyncio.all_tasks())

    return asyncio.run_coroutine_threadsafe(count(), server.loop).result()


@pytest.mark.counts("T18", "live streams")
def test_bad_streams_cost_their_own_connection(
    tally: Tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = tally.size(12, 2_000)
    outcomes: dict[str, int] = {}
    with patient(tmp_path / "uploads") as server:
        good(server, 0)
        files, tasks = open_files(), tasks_of(server)
        for number in range(count):
            random = tally.random(number)
            with tally.trial(f"stream {number}"):
                try:
                    outcome = misbehave(server, random)
                except InvalidHandshake as error:
                    raise AssertionError(f"the handshake failed: {error}") from error
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
                garble(server, random)
            if number % 6 == 5:
                with tally.trial(f"the good stream behind {number}"):
                    assert good(server, number) == sound(number)[1]
        with tally.trial("nothing is left of them"):
            status = server.serving.service.status
            assert eventually(lambda: not (status().running or status().queued), 5)
            assert eventually(lambda: open_files() <= files, 15), "open files"
            assert eventually(lambda: tasks_of(server) <= tasks, 5), "tasks"
    tally.measure(**dict(sorted(outcomes.items())))
    # The negative control: places that are not given back are missed.
    monkeypatch.setattr(live.LiveStreams, "_place", leaking(live.LiveStreams._place))
    with patient(tmp_path / "leaking") as server:
        texts = [good(server, number) for number in range(PLACES + 1)]
        tally.controlled(texts[-1] != sound(PLACES)[1])


def leaking(place: Any) -> Any:
    """Places that stay taken by whoever had them."""

    @contextmanager
    def taken(self: Any, kind: str, most: int) -> Iterator[None]:
        with place(self, kind, most):
            self._counts[kind] += int(kind == "heard")
            yield

    return taken
