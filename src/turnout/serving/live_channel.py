"""A live stream's WebSocket with deadlines: whoever does not send, or does not read, is let go of.

Knows nothing of what is said over it.
"""

import asyncio
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from turnout.serving.live_messages import REFUSED, StreamError, closed_event, written

FAREWELL_SECONDS = 5.0
"""In which the last words are to be taken."""


class Channel:
    """Messages of one accepted connection, both ways."""

    def __init__(self, socket: WebSocket, patience_seconds: float) -> None:
        """`patience_seconds` is how long an event may wait to be taken."""
        self._socket = socket
        self._patience = patience_seconds
        self._sending = asyncio.Lock()

    @property
    def is_free(self) -> bool:
        """Whether everything that was to be sent was taken."""
        return not self._sending.locked()

    async def receive(self, seconds: float | None, awaited: str) -> bytes | str:
        """The next message: sound, or text. Raises StreamError where none comes in this time, and
        WebSocketDisconnect where the client is gone."""
        try:
            async with asyncio.timeout(seconds):
                message = await self._socket.receive()
        except TimeoutError as error:
            raise StreamError(
                f"nothing came for {seconds:g} s: {awaited}", REFUSED, "stalled"
            ) from error
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code") or 1006)
        data = message.get("bytes")
        return message["text"] if data is None else data

    async def send(self, event: dict[str, Any]) -> None:
        """Tell the client; raises StreamError where it does not read."""
        try:
            async with asyncio.timeout(self._patience), self._sending:
                await self._socket.send_text(written(event))
        except TimeoutError as error:
            raise StreamError(
                f"events were not read for {self._patience:g} s: read them as they come",
                REFUSED,
                "not_read",
            ) from error

    async def close(self, closing: int, reason: str, *last: dict[str, Any]) -> None:
        """Tell these last events, say so, and close; of a client that does not listen, or is gone,
        nothing is awaited."""
        with suppress(TimeoutError, WebSocketDisconnect):
            async with asyncio.timeout(FAREWELL_SECONDS), self._sending:
                for event in (*last, closed_event(closing, reason)):
                    await self._socket.send_text(written(event))
                await self._socket.close(closing, reason)
