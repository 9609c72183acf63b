"""One live stream: frames in, events out.

Three things go on at once: frames are heard, turns that ended are decoded in their order, and of
the turn that goes on a text is told from time to time. All decoding is the service's, as of any
recording. What a stream may hold back is bounded: by how far it may be ahead of the clock, and by
how far the model may be behind it.
"""

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.websockets import WebSocketDisconnect

from turnout.audio.waveform import Waveform
from turnout.config import TranscriptionOptions
from turnout.config.serving import ServingConfig
from turnout.errors import Busy, Stopping, TurnoutError
from turnout.serving.errors import refusal_of
from turnout.serving.live_audio import SampleFormat, StreamReader
from turnout.serving.live_channel import Channel
from turnout.serving.live_messages import (
    BUSY,
    FAILED,
    REFUSED,
    Start,
    StreamError,
    check_end,
    final_event,
    partial_task,
    seconds,
    warnings_of,
)
from turnout.serving.live_messages import STOPPING as STOPPED
from turnout.serving.live_turns import STEP_SAMPLES, StableText, Turn, TurnBegan, TurnFinder
from turnout.serving.metrics import Metrics
from turnout.serving.service import Service
from turnout.text.transcript import Transcript

Floats = NDArray[np.float32]

MOST_AHEAD_SECONDS = 60.0
"""Of the clock: a stream may catch up after a bad connection, or be a short recording."""
MOST_FRAMES_PER_SECOND = 200
"""Telephone switches send 50."""
MOST_BEHIND_SECONDS = 120.0
"""Of speech that waits for the model."""
PARTIAL_SAMPLES = 8_000
"""Half a second more must have been heard before another text is told of a turn that goes on."""
PAUSE_SAMPLES = 3_200
"""Of silence: the turn may be about to end, and its final text finds the model free."""
RETRY_SECONDS = 0.25
"""Before a turn that found no place is offered again."""


class LiveStream:
    """A stream that is ready to be heard, of one channel; `run` hears it."""

    def __init__(
        self,
        channel: Channel,
        service: Service,
        config: ServingConfig,
        start: Start,
        form: SampleFormat,
        metrics: Metrics,
    ) -> None:
        self._channel = channel
        self._metrics = metrics
        self._service = service
        self._config = config
        self._start = start
        self._form = form
        self._reader = StreamReader(form)
        self._turns = TurnFinder(start.silence_ms / 1000)
        self._gathered: list[Floats] = []
        """Read, and too little to be heard."""
        self._ended: asyncio.Queue[tuple[Turn, float] | None] = asyncio.Queue()
        """Turns to be decoded, and when each was known to have ended; None behind the last one."""
        self._behind = 0.0
        """Seconds of speech that waits for the model."""
        self._partial: asyncio.Task[None] | None = None
        self._asked = 0
        """Samples that had been heard when a text was last asked for, or the turn was told of."""
        self._rest_until = 0.0
        """By the clock; no partial text is asked for before."""
        self._stable = StableText()
        self._frames = 0
        self._began = 0.0
        """By the clock."""
        self.turns = 0
        """Whose text was told."""

    @property
    def seconds(self) -> float:
        """Of sound, so far."""
        return self._reader.seconds

    async def run(self, stopping: asyncio.Event) -> None:
        """Hear the stream to its end; raises StreamError or TurnoutError where it cannot go on,
        and WebSocketDisconnect where the client is gone."""
        hearing = asyncio.create_task(self._hear())
        answering = asyncio.create_task(self._answer())
        stopped = asyncio.create_task(stopping.wait())
        tasks: list[asyncio.Task[Any]] = [answering, hearing, stopped]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                hearing.cancel()
                self._ended.put_nowait(None)
                await answering
                raise StreamError("the server is being stopped: connect again later", STOPPED)
            await next(task for task in tasks if task.done())
        finally:
            tasks += [self._partial] if self._partial is not None else []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear(self) -> None:
        """Frames, until the client says that it was the last; then nothing but whether it leaves,
        which raises WebSocketDisconnect."""
        self._began = asyncio.get_running_loop().time()
        awaited = 'send sound, be it silence, or {"type": "end"}'
        patience = self._config.body_stall_seconds
        while isinstance(frame := await self._channel.receive(patience, awaited), bytes):
            samples = self._reader.read(frame)
            self._check_pace()
            await self._take(samples)
            self._consider_partial()
        check_end(frame)
        await self._take(self._reader.finish(), is_last=True)
        for found in self._turns.finish():
            await self._tell(found)
        self._ended.put_nowait(None)
        while True:
            await self._channel.receive(None, "")

    def _check_pace(self) -> None:
        """Raise StreamError where more came than can have been heard, or for too long."""
        self._frames += 1
        elapsed = asyncio.get_running_loop().time() - self._began
        if self._reader.seconds > elapsed + MOST_AHEAD_SECONDS:
            raise StreamError(
                f"the stream is more than {MOST_AHEAD_SECONDS:g} s ahead of the clock: send sound "
                "at the rate that was named, as it is heard, or post a recording to "
                "/v1/audio/transcriptions",
                REFUSED,
                "too_fast",
            )
        if self._frames > MOST_FRAMES_PER_SECOND * (elapsed + MOST_AHEAD_SECONDS):
            raise StreamError(
                f"more than {MOST_FRAMES_PER_SECOND} messages a second: send what was heard every "
                "100 ms",
                REFUSED,
                "too_fast",
            )
        # By the clock as well: empty messages would hold a place for ever.
        if max(self._reader.seconds, elapsed) > self._config.max_duration:
            raise StreamError(
                f"the stream is longer than the {self._config.max_duration:g} s that are allowed: "
                "begin another one",
                REFUSED,
                "too_long",
            )

    async def _take(self, samples: Floats, *, is_last: bool = False) -> None:
        """Hear these, once there are enough for the detector to go on."""
        self._gathered.append(samples)
        if not is_last and sum(map(len, self._gathered)) < STEP_SAMPLES // 2:
            return
        block = np.concatenate(self._gathered)
        self._gathered = []
        # In a thread, since a second of sound takes milliseconds, which others would wait for.
        for found in await asyncio.to_thread(self._turns.hear, block):
            await self._tell(found)

    async def _tell(self, found: TurnBegan | Turn) -> None:
        """That somebody speaks, or has ended; a turn that has ended is to be decoded."""
        if isinstance(found, TurnBegan):
            self._stable = StableText()
            self._asked = self._turns.heard
            event = {"type": "speech_started", "turn": found.number}
            await self._channel.send(event | {"start": seconds(found.start_seconds)})
            return
        await self._drop_partial()
        self._behind += found.seconds
        if self._behind > MOST_BEHIND_SECONDS:
            raise StreamError(
                f"{MOST_BEHIND_SECONDS:g} s of speech wait for the model, which cannot keep up: "
                "take a smaller one, or come back when the server has less to do",
                BUSY,
            )
        await self._channel.send({"type": "speech_ended", **times_of(found)})
        self._ended.put_nowait((found, asyncio.get_running_loop().time()))

    async def _answer(self) -> None:
        """The text of every turn that ended, in order, until there is none to come."""
        while (ended := await self._ended.get()) is not None:
            turn, turn_ended = ended
            transcript = await self._transcript(turn)
            start, end = turn.start_seconds, turn.end_seconds
            await self._channel.send(final_event(turn.number, start, end, transcript))
            self._metrics.live_delay.observe(asyncio.get_running_loop().time() - turn_ended)
            for event in warnings_of(turn.number, transcript):
                await self._channel.send(event)
            self._behind -= turn.seconds
            self.turns += 1

    async def _transcript(self, turn: Turn) -> Transcript:
        """Of a turn that ended; where there is no place for it, it waits for one. Raises
        TurnoutError."""
        clock = asyncio.get_running_loop().time
        until = clock() + self._config.request_seconds
        while True:
            try:
                return await self._decoded(turn, self._start.options)
            except Busy:
                if clock() > until:
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    async def _decoded(self, turn: Turn, options: TranscriptionOptions) -> Transcript:
        """What the model makes of a turn; raises TurnoutError."""
        job = self._service.submit(
            self._start.model,
            Waveform(turn.samples, self._form.rate),
            options,
            name=f"turn {turn.number}",
        )
        try:
            return await job.transcript()
        finally:
            job.cancel()  # where nobody waits for it any more

    def _consider_partial(self) -> None:
        """Ask for a text of the turn that goes on, if one is due and nobody has to wait for it."""
        if not self._start.partials or not self._turns.spoken:
            return
        in_flight = self._partial is not None and not self._partial.done()
        is_last = self._turns.silence >= PAUSE_SAMPLES
        is_soon = self._turns.heard - self._asked < PARTIAL_SAMPLES
        rests = asyncio.get_running_loop().time() < self._rest_until
        if in_flight or is_last or is_soon or rests or not self._channel.is_free:
            return
        if self._behind or self._service.status().queued:
            return
        turn = self._turns.unfinished
        assert turn is not None, "it goes on"
        self._asked = self._turns.heard
        self._partial = asyncio.create_task(self._tell_partial(turn))

    async def _tell_partial(self, turn: Turn) -> None:
        """What is understood so far; nothing where it cannot be had now, as the final text says
        what is wrong."""
        clock = asyncio.get_running_loop().time
        began = clock()
        options = replace(
            self._start.options, task=str(partial_task(self._start.task)), word_timestamps=False
        )
        try:
            transcript = await self._decoded(turn, options)
            shown, stable = self._stable.add(transcript.text, transcript.language)
            texts = {"text": shown, "stable": stable, "language": transcript.language}
            if shown:
                await self._channel.send({"type": "partial", **times_of(turn), **texts})
        except (TurnoutError, StreamError, WebSocketDisconnect):
            return  # whoever hears the stream, or decodes its turns, meets it too
        finally:
            # Half of the time at most: others wait for the model, too, and so does the final text.
            self._rest_until = 2 * clock() - began

    async def _drop_partial(self) -> None:
        """Nothing more of a turn that ended but its final text."""
        if self._partial is not None:
            self._partial.cancel()
            await asyncio.gather(self._partial, return_exceptions=True)
            self._partial = None


def times_of(turn: Turn) -> dict[str, int | float]:
    """Which turn, from when to when."""
    start, end = seconds(turn.start_seconds), seconds(turn.end_seconds)
    return {"turn": turn.number, "start": start, "end": end}


def refusal(error: Exception) -> StreamError:
    """Why a stream cannot go on, from what went wrong: told as over HTTP."""
    told = refusal_of(error)
    closing = FAILED if told.status >= 500 else REFUSED
    if isinstance(error, Busy):
        closing = BUSY
    if isinstance(error, Stopping):
        closing = STOPPED
    return StreamError(told.message, closing, told.code)
