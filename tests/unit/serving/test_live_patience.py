"""Live streams to a server of little patience: who says nothing, too much or leaves costs nobody
else anything."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.served import Served, served
from tests.unit.serving.streams import begun, encoded, opened, rest, sound, until
from turnout.serving.live_audio import SampleFormat


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with two places, for short streams."""
    with served(tmp_path_factory.mktemp("uploads"), max_live=2, max_duration=5.0) as found:
        yield found


def test_who_says_nothing_is_let_go_of(tmp_path: Path) -> None:
    with (
        served(tmp_path, header_seconds=0.5) as server,
        opened(server) as connection,
    ):
        events, code = rest(connection)
    assert events[0]["error"]["code"] == "stalled"
    assert "the first message must be" in events[0]["error"]["message"]
    assert code == 1008


def test_who_says_nothing_more_is_let_go_of(tmp_path: Path) -> None:
    with served(tmp_path, body_stall_seconds=1.0) as server, begun(server) as (connection, ready):
        assert ready["stall_seconds"] == 1.0
        for _ in range(8):  # what comes slowly is no stall
            began = time.monotonic()
            connection.send(bytes(320))
            time.sleep(0.2)
        events, code = rest(connection)
        assert time.monotonic() - began > 0.9, "it was not waited for"
    assert (events[0]["error"]["code"], code) == ("stalled", 1008)


def test_a_stream_may_not_be_longer_than_a_recording(small: Served) -> None:
    with begun(small) as (connection, _):
        for _ in range(6):
            connection.send(bytes(32_000))
        events, code = rest(connection)
    assert (events[0]["error"]["code"], code) == ("too_long", 1008)


def test_a_place_is_not_held_by_messages_without_sound(tmp_path: Path) -> None:
    with served(tmp_path, max_duration=1.0) as server:
        with begun(server) as (connection, _):
            with suppress(ConnectionClosed):
                for _ in range(40):
                    connection.send(b"")
                    time.sleep(0.1)
            events, code = rest(connection)
        assert (events[0]["error"]["code"], code) == ("too_long", 1008)
        lines = server.get("/metrics").text.splitlines()
    assert "turnout_live_streams 0.0" in lines
    assert 'turnout_live_closed_total{code="1008"} 1.0' in lines


def test_more_streams_than_places_are_told_to_come_later(small: Served) -> None:
    with begun(small), begun(small) as (other, _):
        with begun(small) as (third, event):
            assert event["error"] == {
                "message": "all 2 places for live streams are taken: connect again later",
                "type": "rate_limit_error",
                "param": None,
                "code": "server_busy",
            }
            assert rest(third)[1] == 1013
        # One that leaves, politely or not, leaves its place.
        other.socket.shutdown(socket.SHUT_RDWR)
        until(lambda: there_is_room(small))
    until(lambda: there_is_room(small))


def there_is_room(server: Served) -> bool:
    with begun(server) as (_, event):
        return event["type"] == "ready"


def test_a_client_that_leaves_takes_its_work_with_it(small: Served) -> None:
    data = encoded(sound("english-1.flac", pause=0.1), SampleFormat())
    with begun(small) as (connection, _):
        connection.send(data[:60_000])
        connection.socket.shutdown(socket.SHUT_RDWR)
    status = small.serving.service.status
    until(lambda: (status().queued, status().running) == (0, 0))

    async def tasks() -> int:
        return len(asyncio.all_tasks())

    def count() -> int:
        return asyncio.run_coroutine_threadsafe(tasks(), small.loop).result()

    until(lambda: count() <= 3)


def test_streams_are_told_when_the_server_stops(tmp_path: Path) -> None:
    with served(tmp_path / "uploads") as found, begun(found) as (connection, _):
        found.loop.call_soon_threadsafe(found.server.begin_stop)
        events, code = rest(connection)
    assert events[0]["error"]["code"] == "server_stopping"
    assert code == 1012
