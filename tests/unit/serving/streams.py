"""A client of live streams, and the sound that it sends."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import soxr
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.served import ROOT, Served
from turnout.audio.telephone import g711_table
from turnout.audio.waveform import read_audio
from turnout.serving.live_audio import SampleFormat, g711_values

PATH = "/v1/audio/live"
EXAMPLES = ROOT / "examples"
RATE = 16_000
Event = dict[str, Any]


def opened(server: Served, **options: Any) -> Any:
    return connect(
        f"ws://127.0.0.1:{server.port}{PATH}",
        max_size=None,
        proxy=None,
        compression=None,
        **options,
    )


@contextmanager
def begun(server: Served, **start: Any) -> Iterator[tuple[ClientConnection, Event]]:
    """A connection whose first message was sent, and what was answered."""
    with opened(server) as connection:
        connection.send(json.dumps({"type": "start", "key": server.key, **start}))
        yield connection, json.loads(connection.recv(30))


def rest(connection: ClientConnection) -> tuple[list[Event], int]:
    """All that comes, and the code with which the connection is closed."""
    events = []
    while True:
        try:
            events.append(json.loads(connection.recv(30)))
        except ConnectionClosed as closed:
            assert closed.rcvd is not None, "it was not closed, but broke off"
            assert events[-1] == {**events[-1], "type": "closed", "code": closed.rcvd.code}
            return events, closed.rcvd.code


def stream(
    server: Served, data: bytes, *, pace: float = 0.0, **start: Any
) -> tuple[list[Event], int]:
    """The events of a stream that is sent whole, `pace` seconds of a frame of 100 ms apart."""
    with begun(server, **start) as (connection, ready):
        assert ready["type"] == "ready", ready
        size = ready["rate"] // 10 * (2 if ready["format"] == "pcm16" else 1)
        for first in range(0, len(data), size):
            connection.send(data[first : first + size])
            time.sleep(pace)
        connection.send('{"type": "end"}')
        return rest(connection)


def of_type(events: Sequence[Event], *kinds: str) -> list[Event]:
    return [event for event in events if event["type"] in kinds]


def encoded(samples: np.ndarray, form: SampleFormat) -> bytes:
    """Samples at 16 kHz as a stream of this format has them."""
    line = soxr.resample(samples, RATE, form.rate)
    ints = np.clip(np.rint(line * 32768), -32768, 32767).astype("<i2")
    if form.name == "pcm16":
        return ints.tobytes()
    values = np.rint(g711_values(form.name) * 32768).astype(int).tolist()
    code = {value: byte for byte, value in enumerate(values)}
    table = g711_table(form.name)[ints.astype(np.int32) + 32768]
    return bytes(code[value] for value in table.tolist())


def sound(*names: str, pause: float = 1.0) -> np.ndarray:
    """Recordings with silence before, between and behind them."""
    silence = np.zeros(round(pause * RATE), np.float32)
    parts = [part for name in names for part in (silence, read_audio(EXAMPLES / name).samples)]
    return np.concatenate([*parts, silence])


def until(condition: Any, seconds: float = 5.0) -> None:
    """Wait for it."""
    last = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < last, "it did not come to be"
        time.sleep(0.01)
