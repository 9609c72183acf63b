"""Live streams of real speech to a real server: the right words at the right time, and what costs a
stream its connection and nobody else anything."""

import asyncio
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import turnout
from tests.served import ROOT, Served, served
from turnout.audio.telephone import g711_table
from turnout.audio.waveform import Waveform, read_audio
from turnout.serving import live_stream
from turnout.serving.live_audio import MOST_FRAME_BYTES, SampleFormat, StreamReader, g711_values
from turnout.text.transcript import Transcript

KEY = "a-key-of-the-tests"
PATH = "/v1/audio/live"
EXAMPLES = ROOT / "examples"
REFERENCES = json.loads((EXAMPLES / "references.json").read_text())
RATE = 16_000
MODEL = turnout.load(threads=1)
Event = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("uploads"), api_keys=(KEY,)) as found:
        yield found


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


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("english-3.wav", SampleFormat("pcm16", 16_000)),
        ("arabic-1.flac", SampleFormat("pcm16", 24_000)),
        ("arabic-telephone-2.wav", SampleFormat("pcm16", 8_000)),
        ("english-telephone-1.wav", SampleFormat("mulaw", 8_000)),
        ("arabic-telephone-1.wav", SampleFormat("alaw", 8_000)),
    ],
)
def test_the_words_are_those_of_the_recording_in_every_format(
    server: Served, name: str, form: SampleFormat
) -> None:
    said = REFERENCES[name]
    data = encoded(sound(name), form)
    events, code = stream(
        server, data, format=form.name, rate=form.rate, task="both", language=said["language"]
    )
    assert code == 1000
    (final,) = of_type(events, "final")
    assert final["text"] == said["text"]
    assert final["translation"] == {
        "text": said["translation"],
        "language": said["target_language"],
    }
    assert final["bandwidth"] == said["bandwidth"]
    # It is what `transcribe` writes for the turn's samples, its words at their place in the stream.
    reader = StreamReader(form)
    heard = np.concatenate([
        *(reader.read(data[i : i + 3200]) for i in range(0, len(data), 3200)), reader.finish(),
    ])  # fmt: skip
    begin, end = (round(final[side] * RATE) for side in ("start", "end"))
    alone = MODEL.transcribe(
        Waveform(heard[begin:end], form.rate), language=said["language"], word_timestamps=True
    )
    assert final["text"] == alone.text
    told = np.array([(word["start"], word["end"]) for word in final["words"]])
    assert told - final["start"] == pytest.approx(word_times(alone), abs=0.002)
    # The recording begins a second after the stream; other silence around it moves little.
    whole = MODEL.transcribe(EXAMPLES / name, language=said["language"], word_timestamps=True)
    assert told - 1.0 == pytest.approx(word_times(whole), abs=0.25)


def word_times(transcript: Transcript) -> np.ndarray:
    words = [word for segment in transcript.segments for word in segment.words]
    return np.array([(word.start, word.end) for word in words])


def test_turns_come_in_order_and_speak_while_somebody_speaks(server: Served) -> None:
    """In real time, with what is found out left to the server."""
    names = ("english-3.wav", "english-telephone-3.flac")
    data = encoded(sound(*names), SampleFormat())
    # Twice as fast as it is spoken: the texts in between are as many as the clock lets be.
    events, code = stream(server, data, pace=0.05)
    assert code == 1000
    finals = of_type(events, "final")
    assert [final["text"] for final in finals] == [REFERENCES[name]["text"] for name in names]
    assert [final["turn"] for final in finals] == [0, 1]
    assert finals[0]["words"][-1]["end"] <= finals[0]["end"] <= finals[1]["start"]
    assert all(final["language"] == "en" for final in finals)
    for turn, final in enumerate(finals):
        mine = [event for event in events if event.get("turn") == turn]
        kinds = [event["type"] for event in mine]
        partials = of_type(mine, "partial")
        assert kinds == ["speech_started", *["partial"] * len(partials), "speech_ended", "final"]
        assert len(partials) >= 2
        stable = ""
        for partial in partials:
            assert partial["start"] == final["start"] == mine[0]["start"] < partial["end"]
            assert partial["stable"].startswith(stable)
            assert partial["text"].startswith(partial["stable"])
            stable = partial["stable"]
        # What was told to stay did stay: of clear speech, the text of the turn begins with it.
        assert stable
        assert final["text"].startswith(stable)


def test_a_stream_that_ends_while_somebody_speaks_has_its_text(server: Served) -> None:
    data = encoded(read_audio(EXAMPLES / "english-1.flac").samples, SampleFormat())
    events, code = stream(server, data[: len(data) * 3 // 10 * 2], partials=False, words=False)
    assert code == 1000
    (final,) = of_type(events, "final")
    said = REFERENCES["english-1.flac"]["text"].split()
    assert final["text"].split()[:2] == said[:2]
    assert final["words"] == []
    assert not of_type(events, "partial")


def test_a_translation_alone_is_told_as_it_grows(server: Served) -> None:
    data = encoded(sound("arabic-telephone-3.flac"), SampleFormat("pcm16", 8_000))
    events, _ = stream(server, data, rate=8_000, task="translate", language="ar", pace=0.03)
    (final,) = of_type(events, "final")
    assert (final["task"], final["language"], final["words"]) == ("translate", "en", [])
    assert final["text"] == REFERENCES["arabic-telephone-3.flac"]["translation"]
    assert all(partial["language"] == "en" for partial in of_type(events, "partial"))


def test_the_example_prints_what_comes(server: Served) -> None:
    """In real time: the text comes within a second of the end of speech, which is the file's."""
    command = [
        sys.executable, ROOT / "examples" / "live_client.py", EXAMPLES / "english-telephone-2.wav",
        "--address", f"ws://127.0.0.1:{server.port}{PATH}", "--format", "mulaw",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"TURNOUT_API_KEY": KEY}
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in (events[0], events[-1])] == ["ready", "closed"]
    (final,) = of_type(events, "final")
    assert final["text"] == REFERENCES["english-telephone-2.wav"]["text"]
    assert final["bandwidth"] == "narrowband"


def decoded_seconds(server: Served) -> float:
    """Of sound, that any model was given."""
    with server.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith("turnout_audio_seconds_total")
    )


def test_silence_costs_no_decoding(server: Served) -> None:
    before = decoded_seconds(server)
    hiss = np.random.default_rng(0).normal(0, 1e-4, 50 * RATE).astype(np.float32)
    hiss[:RATE] *= np.linspace(0, 1, RATE, dtype=np.float32)
    events, code = stream(server, encoded(hiss, SampleFormat()))
    assert [event["type"] for event in events] == ["closed"]
    assert (code, decoded_seconds(server)) == (1000, before)


@pytest.mark.parametrize(
    ("start", "code", "closing", "said"),
    [
        ({"key": "another"}, "invalid_api_key", 1008, "the key is missing or wrong"),
        ({"key": None}, "invalid_api_key", 1008, "the key is missing or wrong"),
        ({"type": "hello"}, "unexpected_message", 1003, "the first message has the type 'hello'"),
        ({"rate": 44_100}, "refused", 1008, "rate is 44100: pcm16 is taken at 8000, 16000, 24000"),
        ({"format": "mulaw", "rate": 16_000}, "refused", 1008, "mulaw is taken at 8000 Hz"),
        ({"beam_size": 0}, "refused", 1008, "beam_size"),
        ({"model": "nobody"}, "model_not_found", 1008, "nobody"),
        ({"language": "xx"}, "refused", 1008, "'xx'"),
        ({"task": "both", "to_language": "xx"}, "refused", 1008, "'xx'"),
        ({"prompt": "a name"}, "refused", 1008, "initial_prompt"),
        ({"surprise": 1}, "refused", 1008, "unknown key 'surprise'"),
    ],
)  # fmt: skip
def test_a_stream_that_cannot_be_had_is_told_why(
    server: Served, start: Event, code: str, closing: int, said: str
) -> None:
    with begun(server, **start) as (connection, event):
        assert event["type"] == "error", event
        assert event["error"]["code"] == code
        assert said in event["error"]["message"]
        assert event["error"]["message"].isprintable()
        assert rest(connection)[1] == closing


@pytest.mark.parametrize(
    ("sent", "code", "closing"),
    [
        (bytes(3), "unreadable_message", 1007),
        (b"RIFF" + bytes(60), "unreadable_message", 1007),
        (bytes(MOST_FRAME_BYTES + 2), "message_too_large", 1009),
        ("AAAA" * 100, "unreadable_message", 1007),
        ('{"type": "pause"}', "unexpected_message", 1003),
        ("x" * 20_000, "message_too_large", 1009),
    ],
)
def test_a_stream_that_is_not_what_it_says_is_closed(
    server: Served, sent: bytes | str, code: str, closing: int
) -> None:
    with begun(server) as (connection, _):
        connection.send(sent)
        events, closed = rest(connection)
    assert [event["type"] for event in events] == ["error", "closed"]
    assert (events[0]["error"]["code"], closed) == (code, closing)


def test_sound_before_the_first_message_and_endless_messages_are_refused(server: Served) -> None:
    with opened(server) as connection:
        connection.send(bytes(320))
        assert rest(connection)[1] == 1003
    with opened(server) as connection:
        with pytest.raises(ConnectionClosed) as closed:
            connection.send(bytes(3_000_000))  # it may be refused before all of it is sent
            connection.recv(10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize(
    ("frame", "count"), [(bytes(32_000), 75), (bytes(2), 2_000)], ids=["too much", "too many"]
)
def test_a_flood_is_stopped_and_nobody_else_notices(
    server: Served, frame: bytes, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_stream, "MOST_FRAMES_PER_SECOND", 20)
    with begun(server) as (flood, _):
        with suppress(ConnectionClosed):  # before all of it is sent
            for _ in range(count):
                flood.send(frame)
        data = encoded(sound("english-3.wav", pause=0.5), SampleFormat())
        events, code = stream(server, data)
        assert code == 1000
        assert of_type(events, "final")[0]["text"] == REFERENCES["english-3.wav"]["text"]
        events, code = rest(flood)
    assert events[0]["error"]["code"] == "too_fast"
    assert code == 1008


def test_a_key_may_come_with_the_handshake(server: Served) -> None:
    """From a telephone switch, which can send headers."""
    headers = {"Authorization": f"Bearer {KEY}"}
    with opened(server, additional_headers=headers) as connection:
        connection.send('{"type": "start"}')
        assert json.loads(connection.recv(30))["type"] == "ready"


def test_a_page_of_another_origin_is_refused(server: Served) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        opened(server, origin="https://elsewhere.example"),
    ):
        pytest.fail("it was let in")
    assert refused.value.response.status_code == 403
    with opened(server, origin=f"http://127.0.0.1:{server.port}"):
        pass


def test_a_line_is_logged_of_every_stream_without_key_or_text(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "turnout.serving")
    data = encoded(sound("english-3.wav"), SampleFormat())
    stream(server, data)
    with begun(server, key="another-key") as (connection, _):
        rest(connection)
    until(lambda: len(lines_of(caplog)) == 2)
    first, second = lines_of(caplog)
    assert (first["model"], first["seconds"], first["turns"], first["code"]) == (
        "commands", round(len(data) / 2 / RATE, 1), 1, 1000,
    )  # fmt: skip
    assert (second["seconds"], second["turns"], second["code"]) == (0.0, 0, 1008)
    for secret in (KEY, "another-key", "six"):
        assert secret not in caplog.text


def lines_of(caplog: pytest.LogCaptureFixture) -> list[Event]:
    found = [json.loads(record.getMessage()) for record in caplog.records
             if record.name == "turnout.serving"]  # fmt: skip
    return [line for line in found if line["event"] == "live"]


def until(condition: Any, seconds: float = 5.0) -> None:
    """Wait for it."""
    last = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < last, "it did not come to be"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of little patience, with two places."""
    with served(
        tmp_path_factory.mktemp("uploads"),
        max_live=2, header_seconds=0.5, body_stall_seconds=0.5, max_duration=5.0,
    ) as found:  # fmt: skip
        yield found


def test_who_says_nothing_is_let_go_of(strict: Served) -> None:
    with opened(strict) as connection:
        events, code = rest(connection)
        assert events[0]["error"]["code"] == "stalled"
        assert "the first message must be" in events[0]["error"]["message"]
        assert code == 1008
    with begun(strict) as (connection, ready):
        assert ready["stall_seconds"] == 0.5
        for _ in range(8):  # what comes slowly is no stall
            connection.send(bytes(320))
            time.sleep(0.1)
        began = time.monotonic()
        events, code = rest(connection)
        assert 0.3 < time.monotonic() - began < 2
    assert (events[0]["error"]["code"], code) == ("stalled", 1008)


def test_a_stream_may_not_be_longer_than_a_recording(strict: Served) -> None:
    with begun(strict) as (connection, _):
        for _ in range(6):
            connection.send(bytes(32_000))
        events, code = rest(connection)
    assert (events[0]["error"]["code"], code) == ("too_long", 1008)


def test_more_streams_than_places_are_told_to_come_later(strict: Served) -> None:
    with begun(strict), begun(strict) as (other, _):
        with begun(strict) as (third, event):
            assert event["error"] == {
                "message": "all 2 places for live streams are taken: connect again later",
                "type": "rate_limit_error",
                "param": None,
                "code": "server_busy",
            }
            assert rest(third)[1] == 1013
        # One that leaves, politely or not, leaves its place.
        other.socket.shutdown(socket.SHUT_RDWR)
        until(lambda: there_is_room(strict))
    until(lambda: there_is_room(strict))


def there_is_room(server: Served) -> bool:
    with begun(server) as (_, event):
        return event["type"] == "ready"


def test_a_client_that_leaves_takes_its_work_with_it(strict: Served) -> None:
    data = encoded(sound("english-1.flac", pause=0.1), SampleFormat())
    with begun(strict) as (connection, _):
        connection.send(data[:60_000])
        connection.socket.shutdown(socket.SHUT_RDWR)
    status = strict.serving.service.status
    until(lambda: (status().queued, status().running) == (0, 0), 2.0)

    async def tasks() -> int:
        return len(asyncio.all_tasks())

    def count() -> int:
        return asyncio.run_coroutine_threadsafe(tasks(), strict.loop).result()

    until(lambda: count() <= 3)


def test_streams_are_told_when_the_server_stops(tmp_path: Path) -> None:
    with served(tmp_path / "uploads") as found, begun(found) as (connection, _):
        found.loop.call_soon_threadsafe(found.server.begin_stop)
        events, code = rest(connection)
    assert events[0]["error"]["code"] == "server_stopping"
    assert code == 1012
