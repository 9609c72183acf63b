"""One stream's turns and texts, with a stand-in that decodes: when it is asked to, and when not."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from starlette.websockets import WebSocketDisconnect

from tests.doubles import hears_every_sound, tone
from turnout.audio.waveform import Waveform
from turnout.config import TranscriptionOptions
from turnout.config.serving import ServingConfig
from turnout.errors import Busy, Cancelled, EngineError, GuidanceError, Stopping, TurnoutError
from turnout.guidance import Bandwidth, Task
from turnout.serving import live_stream, live_turns
from turnout.serving.live_audio import SampleFormat
from turnout.serving.live_messages import BUSY, FAILED, REFUSED, STOPPING, Start, StreamError
from turnout.serving.live_stream import LiveStream, refusal
from turnout.serving.metrics import Metrics
from turnout.text.transcript import Transcript

RATE = 16_000
END = '{"type": "end"}'
Event = dict[str, Any]


@dataclass
class Job:
    """Says, after so long, how much sound it was given."""

    samples: int
    task: str
    seconds: float
    cancelled: bool = False

    async def transcript(self) -> Transcript:
        await asyncio.sleep(self.seconds)
        if self.cancelled:
            raise Cancelled("it was")
        return Transcript(
            text=f"heard {self.samples}", language="en", task=Task.TRANSCRIBE,
            duration_seconds=self.samples / RATE, bandwidth=Bandwidth.WIDEBAND,
        )  # fmt: skip

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Service:
    """Takes everything, unless told what to say first."""

    seconds: float = 0.0
    answers: list[TurnoutError] = field(default_factory=list)
    queued: int = 0
    jobs: list[Job] = field(default_factory=list)

    def submit(
        self, _: str | None, source: Waveform, options: TranscriptionOptions, **named: str
    ) -> Job:
        assert list(named) == ["name"]
        if self.answers:
            raise self.answers.pop(0)
        self.jobs.append(Job(len(source.samples), options.task, self.seconds))
        return self.jobs[-1]

    def status(self) -> Any:
        return SimpleNamespace(queued=self.queued)


@dataclass
class Channel:
    """Gives what it was given to give, one after the other, and keeps what it is told."""

    messages: list[bytes | str | float]
    """A number is a pause of so many seconds."""
    events: list[Event] = field(default_factory=list)
    is_free: bool = True

    async def receive(self, _: float | None, __: str) -> bytes | str:
        await asyncio.sleep(0)
        while self.messages and isinstance(self.messages[0], float):
            await asyncio.sleep(self.messages.pop(0))  # type: ignore[arg-type]
        if not self.messages:
            await asyncio.sleep(3600)
        message = self.messages.pop(0)
        assert isinstance(message, bytes | str)
        if message == "gone":
            raise WebSocketDisconnect(1006)
        return message

    async def send(self, event: Event) -> None:
        self.events.append(event)

    def of(self, *kinds: str) -> list[Event]:
        return [event for event in self.events if event["type"] in kinds]


@pytest.fixture(autouse=True)
def every_sound_is_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_turns, "SpeechFinder", hears_every_sound)


def frames(*parts: float) -> list[bytes | str | float]:
    """So many seconds of sound, of silence, of sound and so on, in frames of 100 ms."""
    sounds = [tone(s) if i % 2 == 0 else np.zeros(round(s * RATE)) for i, s in enumerate(parts)]
    data = (np.concatenate(sounds) * 32767).astype("<i2").tobytes()
    return [data[first : first + 3200] for first in range(0, len(data), 3200)]


def run(
    channel: Channel,
    service: Service,
    *,
    stop: Callable[[asyncio.Event], Coroutine[Any, Any, None]] | None = None,
    config: ServingConfig | None = None,
    **start: Any,
) -> LiveStream:
    """Hear the channel to its end."""
    asked = Start(type="start", **start)
    form, settings = SampleFormat(), config or ServingConfig()
    stream = LiveStream(channel, service, settings, asked, form, Metrics())  # type: ignore[arg-type]

    async def body() -> None:
        stopping = asyncio.Event()
        side = asyncio.create_task(stop(stopping)) if stop else None
        try:
            await asyncio.wait_for(stream.run(stopping), 20)
        finally:
            if side is not None:
                await side
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, "tasks are left behind"

    asyncio.run(body())
    return stream


def test_every_turn_has_its_text_in_order() -> None:
    channel = Channel([*frames(1.0, 1.0, 2.0, 1.0, 0.5), END])
    stream = run(channel, Service(), partials=False)
    assert [event["type"] for event in channel.events].count("final") == 3 == stream.turns
    finals = channel.of("final")
    assert [event["turn"] for event in finals] == [0, 1, 2]
    for event in finals:
        assert event["text"] == f"heard {round((event['end'] - event['start']) * RATE)}"
    assert stream.seconds == 5.5


def test_a_turn_that_finds_no_place_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_stream, "RETRY_SECONDS", 0.01)
    service = Service(answers=[Busy("full", 9)] * 5)
    channel = Channel([*frames(1.0), END])
    run(channel, service, partials=False)
    assert len(channel.of("final")) == 1
    assert service.answers == []


def test_where_no_place_ever_comes_the_stream_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_stream, "RETRY_SECONDS", 0.01)
    service = Service(answers=[Busy("full", 9)] * 10_000)
    channel = Channel([*frames(1.0), END])
    with pytest.raises(Busy):
        run(channel, service, partials=False, config=ServingConfig(request_seconds=0.1))


def test_of_a_turn_that_goes_on_one_text_at_a_time_is_asked_for() -> None:
    """Here the model takes longer than the stream: a second and half a second's rest."""
    service = Service(seconds=0.3)
    sound = [piece for frame in frames(3.0, 1.0) for piece in (frame, 0.02)]
    channel = Channel([*sound, END])
    began = time.monotonic()
    run(channel, service, task="both")
    took = time.monotonic() - began
    partials = channel.of("partial")
    (final,) = channel.of("final")
    assert final is channel.events[-1]
    # 0.6 s of sending, or more: a text, and a rest as long as it took; the final one tells both.
    assert [job.task for job in service.jobs] == ["transcribe"] * (len(service.jobs) - 1) + ["both"]
    assert 1 <= len(partials) <= len(service.jobs) - 1 <= 1 + took / 0.6
    assert partials[0]["text"] == f"heard {service.jobs[0].samples}"
    assert partials[0]["end"] < final["end"]


def test_a_text_that_comes_too_late_is_not_told() -> None:
    """The turn is over, and nobody wants it any more: its place is given back."""
    service = Service(seconds=1.0)
    channel = Channel([*frames(1.0, 1.0), END])
    run(channel, service)
    assert [event["type"] for event in channel.events] == [
        "speech_started", "speech_ended", "final",
    ]  # fmt: skip
    assert [job.cancelled for job in service.jobs] == [True, True]  # the last one after its end


@pytest.mark.parametrize("why", ["others wait", "nobody reads", "nobody wants them"])
def test_texts_of_a_turn_that_goes_on_are_left_out_where(why: str) -> None:
    service = Service(queued=int(why == "others wait"))
    channel = Channel([*frames(0.9, 1.0), END], is_free=why != "nobody reads")
    run(channel, service, partials=why != "nobody wants them")
    assert not channel.of("partial")
    assert len(channel.of("final")) == 1


@pytest.mark.parametrize("answers", [[], [Busy("full", 1)], [EngineError("no")]])
def test_a_text_that_cannot_be_had_is_left_out_and_the_next_is_not(
    answers: list[TurnoutError],
) -> None:
    # Each half a second, by frames of 0.1 s and the event loop's leave.
    first = pytest.approx(0.5 * (1 + len(answers)), abs=0.25)
    channel = Channel([*frames(1.9, 1.0), END])
    run(channel, Service(answers=answers))
    ends = [event["end"] for event in channel.of("partial")]
    assert ends[0] == first
    assert len(ends) >= 2
    assert len(channel.of("final")) == 1


def test_a_model_that_cannot_keep_up_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_stream, "MOST_BEHIND_SECONDS", 6.0)
    channel = Channel([*frames(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0), END])
    with pytest.raises(StreamError, match="6 s of speech wait for the model") as ended:
        run(channel, Service(seconds=60), partials=False)
    assert ended.value.closing == BUSY


def test_a_client_that_leaves_ends_what_is_done_for_it() -> None:
    service = Service(seconds=60)
    channel = Channel([*frames(1.0, 1.0, 1.0), 0.05, "gone"])
    with pytest.raises(WebSocketDisconnect):
        run(channel, service)
    assert service.jobs
    assert all(job.cancelled for job in service.jobs)


def test_a_client_that_leaves_behind_the_end_is_noticed() -> None:
    service = Service(seconds=60)
    channel = Channel([*frames(1.0), END, bytes(2), "x", 0.05, "gone"])
    with pytest.raises(WebSocketDisconnect):
        run(channel, service, partials=False)
    assert [job.cancelled for job in service.jobs] == [True]


def test_a_server_that_stops_tells_what_was_said_before() -> None:
    service = Service(seconds=0.2)
    channel = Channel([*frames(1.0, 1.0, 0.5), 60.0])

    async def stop(stopping: asyncio.Event) -> None:
        while not channel.of("speech_ended"):
            await asyncio.sleep(0.01)
        stopping.set()

    with pytest.raises(StreamError, match="being stopped") as ended:
        run(channel, service, stop=stop, partials=False)
    assert ended.value.closing == STOPPING
    assert len(channel.of("final")) == 1


def test_what_the_model_cannot_do_ends_the_stream() -> None:
    channel = Channel([*frames(1.0, 1.0), 60.0])
    with pytest.raises(EngineError):
        run(channel, Service(answers=[EngineError("it fell over")]), partials=False)


@pytest.mark.parametrize(
    ("error", "closing", "code"),
    [
        (Busy("full", 3), BUSY, "server_busy"),
        (Stopping("soon"), STOPPING, "server_stopping"),
        (GuidanceError("no"), REFUSED, None),
        (EngineError("no"), FAILED, "engine_error"),
        (KeyError("secret"), FAILED, "internal_error"),
    ],
)
def test_why_a_stream_ended_is_told_as_over_http(
    error: Exception, closing: int, code: str | None
) -> None:
    told = refusal(error)
    assert (told.closing, told.code) == (closing, code)
    assert "secret" not in str(told)
