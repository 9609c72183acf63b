"""Who is let in, who gives way, and who waits for a place."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.served import TRANSCRIPTIONS, Served, answered, error_of, multipart, request_of, served
from tests.unit.serving.services import EXAMPLES, run
from turnout.config.serving import ServingConfig
from turnout.serving import door as doors
from turnout.serving.door import Door, Place
from turnout.serving.errors import Refused
from turnout.serving.metrics import Metrics

LITTLE = multipart((b'name="file"; filename="a.flac"', EXAMPLES[0].read_bytes()))
MUCH = multipart((b'name="file"; filename="a.wav"', bytes(200_000)))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """With two places, so that eight may be on their way."""
    with served(tmp_path, max_concurrent=1, max_queue=1) as found:
        yield found


@pytest.fixture
def hold(server: Served) -> Iterator[Callable[[bytes], socket.socket]]:
    """Begin a request; the connection is there once the server knows of it."""
    with contextlib.ExitStack() as held:

        def begin(content: bytes) -> socket.socket:
            door = server.serving.door
            wanted = door.arriving + 1
            connection = held.enter_context(contextlib.closing(server.connect()))
            connection.sendall(content)
            until = time.monotonic() + 5
            while door.arriving < wanted and time.monotonic() < until:
                time.sleep(0.01)
            assert door.arriving == wanted, "it did not come in"
            return connection

        yield begin


@pytest.mark.parametrize("form", [LITTLE, MUCH], ids=["little", "much"])
def test_uploads_that_hardly_move_take_no_place(
    server: Served, hold: Callable[[bytes], socket.socket], form: bytes
) -> None:
    for _ in range(7):
        hold(request_of(TRANSCRIPTIONS, form)[:-1])
    assert server.post().status_code == 200


def test_where_too_many_are_on_their_way_the_slowest_gives_way(
    server: Served, hold: Callable[[bytes], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of(TRANSCRIPTIONS, MUCH)
    slowest = hold(request[:1000])
    others = [hold(request[:50_000]) for _ in range(7)]
    response = server.post()
    assert (response.status_code, error_of(response)["code"]) == (429, "server_busy")
    monkeypatch.setattr(doors, "SLOW_SECONDS", 0.0)
    assert server.post().status_code == 200
    status, head, body = answered(slowest)
    assert (status, b"slower than theirs" in body) == (429, True)
    assert b"retry-after: " in head.lower()
    for connection in others:
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)


def test_who_leaves_is_forgotten(server: Served, hold: Callable[[bytes], socket.socket]) -> None:
    for connection in [hold(request_of(TRANSCRIPTIONS, MUCH)[:-1]) for _ in range(3)]:
        connection.close()
    door = server.serving.door
    until = time.monotonic() + 5
    while door.inside and time.monotonic() < until:
        time.sleep(0.01)
    assert (door.inside, door.taken, door.arriving, door._bytes) == (0, 0, 0, 0)


def body(*sizes: int) -> Callable[[], Awaitable[Any]]:
    """What a client sends: parts of these sizes, the last of which ends it."""
    parts = [
        {"type": "http.request", "body": bytes(size), "more_body": number < len(sizes)}
        for number, size in enumerate(sizes, 1)
    ]

    async def receive() -> Any:
        return parts.pop(0)

    return receive


class NoService:
    """There is always room."""

    def check_room(self) -> None:
        """As `Service.check_room`."""


def door_of(**settings: Any) -> Door:
    """A door of nothing."""
    return Door(NoService(), ServingConfig(**settings), Metrics())  # type: ignore[arg-type]


async def arrived(place: Place, *sizes: int) -> None:
    """All of a body has come in."""
    receive = place.receiving(body(*sizes))
    for _ in sizes:
        await receive()


def test_what_was_long_to_send_waits_for_a_place_and_goes_first() -> None:
    async def work() -> None:
        door = door_of(max_concurrent=1, max_queue=0)
        with contextlib.ExitStack() as first, door.entered() as large, door.entered() as small:
            at_work = first.enter_context(door.entered())
            await arrived(at_work, 10)
            with pytest.raises(Refused, match="1 requests are waiting"):
                await arrived(small, 10)
            large.began -= 100
            waiting = asyncio.create_task(arrived(large, 10, 10))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            first.close()
            with pytest.raises(Refused):  # the place is promised
                door.check_place()
            await asyncio.wait_for(waiting, 5)
            assert (large.is_taken, door.taken) == (True, 1)
        assert (door.inside, door.taken, door.arriving, door._bytes) == (0, 0, 0, 0)

    run(work())


def test_it_does_not_wait_for_ever() -> None:
    async def work() -> None:
        door = door_of(max_concurrent=1, max_queue=0, body_stall_seconds=0.1)
        with door.entered() as large, door.entered() as at_work:
            await arrived(at_work, 10)
            with pytest.raises(Refused, match="1 requests are waiting") as caught:
                large.began -= 100
                await arrived(large, 10)
            assert caught.value.status == 429
        assert (door.taken, door._whole) == (0, 0)

    run(work())


def test_bodies_take_no_more_room_than_all_places_have(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        door = door_of(max_concurrent=1, max_queue=1, max_upload_bytes=100)
        with door.entered() as slow, door.entered() as quick, door.entered() as last:
            door.count(slow, 60)
            door.count(quick, 100)
            with pytest.raises(Refused, match="3 requests are waiting"):
                door.count(last, 41)
            door.count(last, 40)
            monkeypatch.setattr(doors, "SLOW_SECONDS", 0.0)
            slow.began -= 100
            door.count(last, 50)
            assert slow.gives_way.done()
            assert not quick.gives_way.done()
            assert (door._bytes, door.arriving) == (190, 2)
            with pytest.raises(Refused, match="slower than theirs") as caught:
                await door.while_open(asyncio.sleep(5), slow)
            assert caught.value.status == 429
        assert (door.inside, door._bytes) == (0, 0)

    run(work())
