"""A connection whose client has to get on: uvicorn waits for headers, and for readers, for ever.

Deadlines of bodies are `guard.py`'s. Of what TLS needs, see `run.py`.
"""

import asyncio
from typing import Any, cast

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from turnout.serving.errors import Refused

READ_AT_ONCE = 32_768
"""Bytes: what comes with a header is read before anybody has looked at it."""
LONGEST_HEADER = 32_768
LAST_SECONDS = 5.0
"""For the rest of an answer, once it is written."""


class Connection(H11Protocol):
    """uvicorn's, with deadlines."""

    def __init__(
        self, config: Config, state: ServerState, header_seconds: float, stall_seconds: float
    ) -> None:
        super().__init__(config, state, {})
        self._header_seconds = header_seconds
        self._stall_seconds = stall_seconds
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The header of the first request is due."""
        if hasattr(transport, "max_size"):  # asyncio's own, without TLS
            cast(Any, transport).max_size = READ_AT_ONCE
        super().connection_made(transport)
        self._header_timer = self.loop.call_later(self._header_seconds, self._header_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        self._header_timer = stopped(self._header_timer)
        self._write_timer = stopped(self._write_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A part of a header begins its time, and its end ends it."""
        try:
            super().data_received(data)
        except Exception:
            # Such as a length of thousands of digits, which h11 leaves to Python to refuse.
            self.transport.abort()
            return
        if self.conn.their_state is not h11.IDLE:
            self._header_timer = stopped(self._header_timer)
        elif self._header_timer is None and not self.transport.is_closing():
            self._header_timer = self.loop.call_later(self._header_seconds, self._header_is_late)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """From here on the connection is another's, which may still find the header unusable."""
        self._header_timer = stopped(self._header_timer)
        super().handle_websocket_upgrade(event)
        self.loop.call_later(self._header_seconds, self._drop_unless_shaken)

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self._stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It goes on."""
        self._write_timer = stopped(self._write_timer)
        super().resume_writing()

    def on_response_complete(self) -> None:
        """An answer is written; its reader has a little time for the rest of it."""
        super().on_response_complete()
        if self.transport.is_closing():
            self.loop.call_later(LAST_SECONDS, self.transport.abort)

    def timeout_keep_alive_handler(self) -> None:
        """As uvicorn's, without waiting for a reader."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(LAST_SECONDS, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """What is no request at all is told so in JSON, too."""
        self._last_words(Refused(400, f"this is no HTTP request: {msg}", code="bad_request"))

    def _drop_unless_shaken(self) -> None:
        # Of a header that its parser refuses, such as one with a body, uvicorn tells nobody.
        if not getattr(self.transport.get_protocol(), "handshake_initiated", True):
            self.transport.abort()

    def _header_is_late(self) -> None:
        self._header_timer = None
        if self.transport.is_closing():
            return
        message = f"the request's header took longer than {self._header_seconds:g} s"
        self._last_words(Refused(408, message, code="header_stalled"))

    def _last_words(self, refused: Refused) -> None:
        response = refused.response()
        headers = [*response.raw_headers, (b"connection", b"close")]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            events = (
                h11.Response(status_code=refused.status, headers=headers),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            )
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None and not self.cycle.response_complete:
            # Whoever works on it still is to stop: nothing more can be sent.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
        self.loop.call_later(LAST_SECONDS, self.transport.abort)


def stopped(timer: asyncio.TimerHandle | None) -> None:
    """No timer in its place."""
    if timer is not None:
        timer.cancel()
