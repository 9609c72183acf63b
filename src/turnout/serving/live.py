"""The WebSocket at which live streams are heard: who may, how many, and how each of them ends.

A stream that stalls, floods or is not what it says it is costs its own connection, of which it is
told in one line, and nothing else.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from fastapi import FastAPI
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from turnout.audio.features import SAMPLE_RATE
from turnout.audio.waveform import Waveform
from turnout.config.serving import ServingConfig
from turnout.serving.errors import Refused
from turnout.serving.keys import Keys
from turnout.serving.live_audio import MOST_FRAME_BYTES, SampleFormat
from turnout.serving.live_channel import Channel
from turnout.serving.live_messages import (
    BUSY,
    ENDED,
    FAILED,
    REASONS,
    REFUSED,
    UNEXPECTED,
    Start,
    StreamError,
    error_event,
    read_start,
)
from turnout.serving.live_stream import MOST_AHEAD_SECONDS, LiveStream, refusal
from turnout.serving.logs import log, log_error
from turnout.serving.metrics import Metrics
from turnout.serving.service import Service

PATH = "/v1/audio/live"
STRANGERS = 4
"""Connections that have not said yet who they are, for each one that may be heard."""
SILENCE = np.zeros(SAMPLE_RATE // 10, np.float32)
GONE = 1006
"""What a log says of a client that left: it is never sent."""


def register(
    app: FastAPI, service: Service, config: ServingConfig, keys: Keys, metrics: Metrics
) -> None:
    """Add the route; `app.state.stopping` is an asyncio.Event."""
    streams = LiveStreams(app, service, config, keys, metrics)
    app.router.routes.append(WebSocketRoute(PATH, streams.serve, name="live"))
    app.add_api_route(PATH, no_socket, methods=["GET"], response_model=None)


async def no_socket() -> Response:
    """A request that opens no WebSocket."""
    raise Refused(
        426,
        "this path is a WebSocket: open it as one (ws:// or wss://)",
        code="websocket_needed",
        headers={"Upgrade": "websocket", "Connection": "Upgrade"},
    )


class LiveStreams:
    """All streams of a server."""

    def __init__(
        self, app: FastAPI, service: Service, config: ServingConfig, keys: Keys, metrics: Metrics
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._service = service
        self._config = config
        self._keys = keys
        self._counts = {"strangers": 0, "heard": 0}

    async def serve(self, socket: WebSocket) -> None:
        """One connection, from its handshake to its end."""
        channel = Channel(socket, self._config.body_stall_seconds)
        model: str | None = None
        stream: LiveStream | None = None
        closing = GONE
        try:
            await socket.accept()
            start = await self._introduced(socket, channel)
            heard = self._metrics.live_streams.track_inprogress()
            with self._place("heard", self._config.max_live), heard:
                form, model = await self._understood(start)
                stream = LiveStream(
                    channel, self._service, self._config, start, form, self._metrics
                )
                await channel.send(ready_event(start, form, model, self._config))
                await stream.run(self._app.state.stopping)
            closing = ENDED
            await channel.close(closing, "the stream ended")
        except WebSocketDisconnect:
            pass  # nobody is there to be told; the line below says so
        except Exception as error:  # nothing may be worse than the end of one stream
            told = error if isinstance(error, StreamError) else refusal(error)
            closing = told.closing
            if closing == FAILED:
                log_error("live", error)
            await channel.close(closing, REASONS[closing][1], error_event(told))
        finally:
            seconds, turns = (stream.seconds, stream.turns) if stream else (0.0, 0)
            self._metrics.live_closed.labels(str(closing)).inc()
            self._metrics.live_seconds.inc(seconds)
            log("live", model=model, seconds=round(seconds, 1), turns=turns, code=closing)

    async def _introduced(self, socket: WebSocket, channel: Channel) -> Start:
        """The first message, of somebody who may be heard; raises StreamError."""
        with self._place("strangers", STRANGERS * self._config.max_live):
            awaited = 'the first message must be {"type": "start"}'
            text = await channel.receive(self._config.header_seconds, awaited)
        if isinstance(text, bytes):
            raise StreamError(f"sound came before its description: {awaited}", UNEXPECTED)
        start = read_start(text)
        known = getattr(socket.state, "authorized", False)
        if not known and not self._keys.accepts(start.key or ""):
            raise StreamError(
                'the key is missing or wrong: give it as "key" in the first message',
                REFUSED,
                "invalid_api_key",
            )
        return start

    async def _understood(self, start: Start) -> tuple[SampleFormat, str]:
        """The format of the sound, and the name of the model, which is loaded then and can do what
        is asked; raises StreamError and TurnoutError."""
        form = SampleFormat.of(start.format, start.rate)
        # Of silence nothing is decoded, but its options are checked.
        silence = Waveform(SILENCE, form.rate)
        job = self._service.submit(start.model, silence, start.options, name="live stream")
        try:
            await job.transcript()
        finally:
            job.cancel()
        return form, job.model

    @contextmanager
    def _place(self, kind: str, most: int) -> Iterator[None]:
        """One of so many places; raises StreamError where none is free."""
        if self._counts[kind] >= most:
            raise StreamError(
                f"all {most} places for live streams are taken: connect again later", BUSY
            )
        self._counts[kind] += 1
        try:
            yield
        finally:
            self._counts[kind] -= 1


def ready_event(
    start: Start, form: SampleFormat, model: str, config: ServingConfig
) -> dict[str, object]:
    """That sound may come, how it is understood, and what is too much of it."""
    return {
        "type": "ready",
        "model": model,
        "task": start.task,
        "format": form.name,
        "rate": form.rate,
        "most_frame_bytes": MOST_FRAME_BYTES,
        "most_ahead_seconds": MOST_AHEAD_SECONDS,
        "stall_seconds": config.body_stall_seconds,
    }
