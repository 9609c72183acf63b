"""Who does not read is let go of, whatever is still to be sent."""

import asyncio
import json
import socket

import pytest
import uvicorn
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect

from turnout.serving import live_channel, live_protocol
from turnout.serving.live_channel import Channel
from turnout.serving.live_messages import REFUSED, StreamError
from turnout.serving.live_protocol import LiveProtocol

EVENT = {"type": "partial", "text": "a" * 100_000}


class Talker:
    """Sends so many events, as long as it is listened to."""

    def __init__(self, count: int = 500) -> None:
        self.count = count
        self.ended: asyncio.Queue[BaseException | None] = asyncio.Queue()

    async def __call__(self, scope, receive, send) -> None:
        connection = WebSocket(scope, receive, send)
        await connection.accept()
        channel = Channel(connection, 0.3)
        try:
            for _ in range(self.count):
                await channel.send(EVENT)
        except (StreamError, WebSocketDisconnect) as error:
            await channel.close(REFUSED, "refused")
            await self.ended.put(error)
        else:
            await channel.close(1000, "the stream ended")
            await self.ended.put(None)


async def with_server(talker: Talker, protocol: type, act) -> None:
    """Do this with the port of a server, and its connections."""
    quiet = {"lifespan": "off", "log_config": None, "ws_ping_interval": None}
    config = uvicorn.Config(talker, ws=protocol, ws_per_message_deflate=False, **quiet)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        task = asyncio.ensure_future(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            await act(listener.getsockname()[1], server.server_state.connections)
        finally:
            server.force_exit = server.should_exit = True
            await task


def handshake(port: int) -> socket.socket:
    """A client that will never read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    return client


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_channel, "FAREWELL_SECONDS", 0.2)
    monkeypatch.setattr(live_protocol, "LAST_SECONDS", 0.2)


def test_who_reads_gets_everything_and_the_end() -> None:
    talker = Talker(10)

    async def act(port: int, _: set[object]) -> None:
        async with connect(f"ws://127.0.0.1:{port}", max_size=None, proxy=None) as client:
            events = [json.loads(message) async for message in client]
        assert events == [EVENT] * 10 + [
            {"type": "closed", "code": 1000, "reason": "the stream ended"}
        ]
        assert await talker.ended.get() is None

    asyncio.run(with_server(talker, LiveProtocol, act))


async def let_go_of(talker: Talker, port: int, connections: set[object]) -> bool:
    """Whether a client that does not read loses its connection within two seconds."""
    with handshake(port):
        error = await asyncio.wait_for(talker.ended.get(), 5)
        assert isinstance(error, StreamError)
        assert (error.closing, error.code) == (REFUSED, "not_read")
        for _ in range(200):
            if not connections:
                return True
            await asyncio.sleep(0.01)
    return False


def test_who_does_not_read_is_let_go_of() -> None:
    talker = Talker()

    async def act(port: int, connections: set[object]) -> None:
        assert await let_go_of(talker, port, connections)

    asyncio.run(with_server(talker, LiveProtocol, act))


def test_uvicorn_alone_would_wait_for_ever() -> None:
    """Otherwise LiveProtocol is not needed any more."""
    talker = Talker()

    async def act(port: int, connections: set[object]) -> None:
        assert not await let_go_of(talker, port, connections)

    asyncio.run(with_server(talker, WebSocketsSansIOProtocol, act))


def test_a_client_that_is_gone_is_not_waited_for() -> None:
    class Gone:
        async def receive(self) -> dict[str, object]:
            return {"type": "websocket.disconnect", "code": 1005}

        async def send_text(self, _: str) -> None:
            raise WebSocketDisconnect(1006)

    async def act() -> None:
        channel = Channel(Gone(), 1.0)  # type: ignore[arg-type]
        with pytest.raises(WebSocketDisconnect):
            await channel.receive(1.0, "")
        await channel.close(1000, "")
        assert channel.is_free

    asyncio.run(act())
