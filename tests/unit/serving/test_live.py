"""Live streams of real speech to a real server: the right words at the right time, and what costs a
stream its connection and nobody else anything."""

import json
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

import turnout
from tests.served import ROOT, Served, served
from tests.unit.serving.streams import (
    EXAMPLES,
    PATH,
    RATE,
    Event,
    begun,
    encoded,
    of_type,
    opened,
    rest,
    sound,
    stream,
    until,
)
from turnout.audio.waveform import Waveform, read_audio
from turnout.serving import live_stream
from turnout.serving.live_audio import MOST_FRAME_BYTES, SampleFormat, StreamReader
from turnout.text.transcript import Transcript

KEY = "a-key-of-the-tests"
REFERENCES = json.loads((EXAMPLES / "references.json").read_text())
MODEL = turnout.load(threads=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("uploads"), api_keys=(KEY,)) as found:
        yield found


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
    # Twice as fast as it is spoken, or, where the machine does much else, more slowly: the texts in
    # between are as many as the clock lets be.
    for pace in (0.05, 0.2, 0.8):
        events, code = stream(server, data, pace=pace)
        assert code == 1000
        partly = Counter(partial["turn"] for partial in of_type(events, "partial"))
        if min(partly[turn] for turn in range(2)) >= 2:
            break
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
        ({"domain": "x"}, "refused", 1008, "the domain 'x' is unknown"),
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
    # It is refused before all of it is sent; where the client still sends, TCP may lose the reason.
    codes = set()
    for _ in range(50):
        with opened(server) as connection, pytest.raises(ConnectionClosed) as closed:
            connection.send(bytes(3_000_000))
            connection.recv(30)
        codes.add(closed.value.rcvd and closed.value.rcvd.code)
        assert codes <= {None, 1009}
        if 1009 in codes:
            break
    assert 1009 in codes


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
