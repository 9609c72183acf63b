"""uvicorn's WebSocket, but that a closed connection is let go of even if its peer does not read.

uvicorn closes its transport, which waits until the peer has taken what is still to be sent: for
ever, where it takes nothing.
"""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LAST_SECONDS = 10.0
"""Behind the end of the work for a connection, in which the peer may take the rest."""


class LiveProtocol(WebSocketsSansIOProtocol):
    """Give it to uvicorn as `ws`."""

    async def run_asgi(self) -> None:
        """The work for one connection; afterwards its days are numbered."""
        await super().run_asgi()
        # Of a transport that is closed by then, nothing is left to abort.
        self.loop.call_later(LAST_SECONDS, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """A peer that has not answered a ping in time is not waited for."""
        super().keepalive_timeout()
        self.transport.abort()
