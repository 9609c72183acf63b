"""T18: clients that send nothing, or slowly, or read nothing, or send too much, cost themselves
alone. T22: no way round the key.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.routing import Route

from tests.reliability.examples import examples
from tests.reliability.serving import eventually
from tests.reliability.tally import Tally
from tests.served import (
    TRANSCRIPTIONS,
    Served,
    answered,
    multipart,
    request_of,
    served,
)
from turnout.serving.guard import LINGER_BYTES, OPEN_PATHS, App
from turnout.serving.guard_connection import LAST_SECONDS, READ_AT_ONCE, Connection
from turnout.serving.static import page_files

KEY = "the-key-of-this-server"
AUTH = f"Authorization: Bearer {KEY}"
LIMIT_SECONDS = 3.0
"""In place of the 30 s of a server of people's: nothing else is different."""
SLACK_SECONDS = 2.0
"""At the full size; the small one runs beside other tests."""
HELD_SECONDS = 60.0
"""After which one that is still held is held for good."""
KEEP_ALIVE_SECONDS = 5.0
"""uvicorn's, for a connection that asks for nothing."""
ANSWERING_SECONDS = 17.0
"""As long as it may take, so that all are let go within the 30 s that T18 allows; at the small
size, beside other tests, it may take until they are held for good."""
HUGE = 300_000_000
MOST_BEFORE_401 = 65_536


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With short deadlines."""
    with served(
        tmp_path_factory.mktemp("uploads"),
        api_keys=(KEY,),
        header_seconds=LIMIT_SECONDS,
        body_stall_seconds=LIMIT_SECONDS,
        max_upload_bytes=2_000_000,
        page=True,
    ) as found:
        yield found


@pytest.mark.counts("T18", "slow clients")
def test_slow_clients_are_let_go(tally: Tally, server: Served) -> None:
    count, most = tally.size(10, 200), LIMIT_SECONDS + SLACK_SECONDS
    form = multipart((b'name="file"; filename="a.flac"', examples()[0].path.read_bytes()))
    whole = request_of(TRANSCRIPTIONS, form, headers=(AUTH,))
    slow = {
        "header": whole[:40],
        "body": whole[: len(whole) - len(form) + 200],
    }
    alone = sorted(seconds_of_good_one(server) for _ in range(5))[-1]
    sockets = [(kind, server.connect()) for _ in range(count) for kind in slow]
    for kind, connection in sockets:
        connection.sendall(slow[kind])
        connection.setblocking(False)
    began = time.monotonic()
    waits, beside = set(range(len(sockets))), []
    ended: dict[int, float] = {}
    while waits and time.monotonic() - began < HELD_SECONDS:
        beside.append(seconds_of_good_one(server))
        for number in list(waits):
            if is_closed(sockets[number][1]):
                ended[number] = time.monotonic() - began
                waits.discard(number)
    for number, (kind, connection) in enumerate(sockets):
        with tally.trial(f"{kind} {number}"):
            assert number in ended, "it is still held"
            assert not tally.full or ended[number] <= most, f"after {ended[number]:.1f} s"
        connection.close()
    beside.sort()
    p95 = beside[int(0.95 * len(beside))]
    if tally.full:  # that each was answered is asserted at any size
        with tally.trial("good clients meanwhile"):
            assert p95 <= 2 * alone + 2.0, f"p95 {p95:.2f} s, alone {alone:.2f} s"
    tally.measure(longest_held_seconds=round(max(ended.values(), default=0), 2))
    tally.measure(good_p95_seconds=round(p95, 3), good_alone_seconds=round(alone, 3))


def seconds_of_good_one(server: Served) -> float:
    """What a good client waits for its text."""
    began = time.monotonic()
    assert server.post().status_code == 200
    return time.monotonic() - began


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has; a byte is sent now and then, as a slow client does."""
    try:
        data = connection.recv(65_536)
    except BlockingIOError:
        with contextlib.suppress(OSError):
            connection.send(b"x")
        return False
    except OSError:
        return True
    return not data


@pytest.mark.counts("T18", "readers that do not read")
def test_answers_that_nobody_reads_are_let_go(tally: Tally, server: Served) -> None:
    # Many answers, and long ones, asked for on one connection, none of which is read.
    longest_file = max(page_files().items(), key=lambda file: len(file[1].content))[0]
    request = request_of(longest_file, method="GET", headers=(AUTH,))
    count = tally.size(4, 200)
    held = [server.connect(small=True) for _ in range(count)]
    for connection in held:
        connection.settimeout(0.2)
        with contextlib.suppress(OSError):
            for _ in range(8):
                connection.sendall(request * 500)
    connections = server.server.server_state.connections
    were_held = eventually(lambda: len(connections) >= count, 5)
    began = time.monotonic()
    # Held by a stall, or idle until uvicorn closes it, and then for its last words; before that the
    # server answers thousands of requests, which takes a busy machine a while.
    answering = ANSWERING_SECONDS if tally.full else HELD_SECONDS
    longest = LIMIT_SECONDS + KEEP_ALIVE_SECONDS + LAST_SECONDS + answering
    eventually(lambda: not connections, longest)
    left = len(connections)
    for connection in held:
        connection.close()
    with tally.trial("they were held at first"):
        assert were_held
    with tally.trial("all are closed"):
        assert not left, f"{left} of {count} are still held"
    with tally.trial("the server goes on"):
        assert server.post().status_code == 200
    tally.measure(held_seconds=round(time.monotonic() - began, 1))


class Reads:
    """How much the server's connections have read."""

    def __init__(self) -> None:
        self.total = 0
        self.when_answered: int | None = None

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """While this lasts."""
        transport_type: Any = asyncio.selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
        original, answer = Connection.data_received, transport_type.write

        def received(connection: Connection, data: bytes) -> None:
            self.total += len(data)
            original(connection, data)

        def written(transport: Any, data: bytes) -> None:
            if self.when_answered is None and data[:5] == b"HTTP/":
                self.when_answered = self.total
            answer(transport, data)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Connection, "data_received", received)
            patch.setattr(transport_type, "write", written)
            yield


@pytest.mark.counts("T18", "300 MB without a key")
def test_without_a_key_next_to_nothing_is_read(tally: Tally, server: Served) -> None:
    for how in ("a length", "chunks"):
        for key in (None, "wrong-key-of-theirs"):
            with tally.trial(f"{how}, {'no' if key is None else 'a wrong'} key"):
                reads = Reads()
                with reads.counted():
                    status, sent = flood(server, how, key)
                assert status == 401, f"status {status}"
                assert reads.when_answered is not None
                assert reads.when_answered <= MOST_BEFORE_401, f"{reads.when_answered:,} bytes"
                assert reads.total <= LINGER_BYTES + 4 * READ_AT_ONCE, f"{reads.total:,} in all"
                assert sent < HUGE, "all of it was taken"
                tally.measure(read_before_401=reads.when_answered, read_in_all=reads.total)
    reads = Reads()
    with reads.counted():  # the negative control: a body that is read before it is judged
        assert server.post(file=("a.wav", b"\0" * 1_900_000)).status_code == 400
    tally.controlled((reads.when_answered or 0) > MOST_BEFORE_401)


def flood(server: Served, how: str, key: str | None) -> tuple[int, int]:
    """Send 300 MB as fast as they are taken: the status, and how much was sent."""
    auth = () if key is None else (f"Authorization: Bearer {key}",)
    head = request_of(TRANSCRIPTIONS, headers=auth)
    length = b"Content-Length: 0"
    if how == "chunks":
        head, part = head.replace(length, b"Transfer-Encoding: chunked"), b"10000\r\n%s\r\n"
    else:
        head, part = head.replace(length, b"Content-Length: %d" % HUGE), b"%s"
    data = part % (b"\0" * 65_536)
    sent = 0
    with server.connect() as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(head)
            while sent < HUGE:
                connection.sendall(data)
                sent += len(data)
        return answered(connection)[0], sent


def wrong_keys(random: Random) -> str:
    """Nearly the key."""
    place = random.randrange(1, len(KEY))
    return random.choice(
        (
            KEY[:place],
            KEY[place:],
            KEY[:place] + chr(ord(KEY[place]) ^ 1) + KEY[place + 1 :],
            KEY.swapcase(),
            KEY + random.choice("x\xe9\x80-"),
            f" {KEY} x",
            KEY * 2,
            random.randbytes(random.randrange(40)).hex(),
            "",
            "\xff" * random.randrange(1, 60),
            "k" * random.randrange(1, 5000),
            f"{KEY},{KEY}",
            f'"{KEY}"',
        )
    )


@pytest.mark.counts("T22", "wrong keys")
def test_wrong_keys_are_refused(tally: Tally, server: Served) -> None:
    with server.connect() as connection:
        for number in range(tally.size(300, 10_000)):
            random = tally.random(number)
            scheme = random.choice(("Bearer", "bearer", "Basic", "Token", "Bearer ", "", "BEARER"))
            key = KEY if scheme in ("Basic", "Token", "Bearer ", "") else wrong_keys(random)
            request = request_of(
                "/v1/models", method="GET", headers=(f"Authorization: {scheme} {key}",)
            )
            with tally.trial(f"{number}: {scheme} {key[:40]!r}"):
                connection.sendall(request)
                status, head, _ = answered(connection)
                assert status == 401, f"status {status}"
                assert b"www-authenticate: bearer" in head.lower()
    with tally.trial("a header of 1 MB"):
        long = f"Authorization: Bearer {'k' * 10**6}"
        with contextlib.suppress(ConnectionError):  # it is not read to its end
            status, _, _ = server.ask(request_of("/v1/models", method="GET", headers=(long,)))
            assert status in (0, 400, 401), f"status {status}"
    with tally.trial("a NUL"):
        status, _, _ = server.ask(request_of("/v1/models", method="GET", headers=(f"{AUTH}\0",)))
        assert status in (400, 401), f"status {status}"
    right = request_of("/v1/models", method="GET", headers=(AUTH,))
    tally.controlled(server.ask(right)[0] == 200)


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
WRITINGS: tuple[Callable[[str], str], ...] = (
    lambda path: path,
    lambda path: f"/{path}",
    lambda path: f"{path}/",
    lambda path: path.replace("/v1", "/%76%31"),
    lambda path: path[0] + path[1:].replace("/", "%2f"),
    lambda path: f"{path}?x=/health",
    lambda path: f"{path};/health",
    lambda path: f"/health/..{path}",
    lambda path: f"/health%2f..{path}",
    lambda path: path.upper(),
    lambda path: f"{path}%00",
    lambda path: f"http://a/{path}",
)
HOSTS = ("a/?x=", "127.0.0.1/health?", "127.0.0.1#/health")


@pytest.mark.counts("T22", "routes and methods")
def test_every_route_wants_the_key(tally: Tally, server: Served) -> None:
    routes = [route for route in server.serving.inner.routes if hasattr(route, "path")]
    opened = OPEN_PATHS | set(page_files())
    paths = {getattr(route, "path").replace("{name:path}", "commands") for route in routes}  # noqa: B009
    with tally.trial("the routes are known"):
        assert {"/v1/models", "/v1/audio/transcriptions", "/metrics", "/health"} <= paths
        assert any(isinstance(route, Route) for route in routes)
    if not tally.full:  # the page's files are all alike
        paths -= set(sorted(path for path in paths if path.startswith("/page/"))[1:])
    for path in sorted(paths):
        for method in METHODS:
            few = not tally.full and method != "GET"
            for writing in WRITINGS[:1] if few else WRITINGS:
                target = writing(path)
                with tally.trial(f"{method} {target}"):
                    status = status_of(server, method, target)
                    if unquote(target.partition("?")[0]) in opened:
                        assert status in (200, 405), f"status {status}"
                    else:
                        assert status in (400, 401), f"status {status}"
            for host in () if few else HOSTS:
                with tally.trial(f"{method} {path}, host {host}"):
                    status = status_of(server, method, path, host)
                    assert status == 400, f"status {status}"


def status_of(server: Served, method: str, target: str, host: str = "127.0.0.1") -> int:
    """What a request without a key is answered."""
    request = request_of(target, method=method, headers=("Connection: close",))
    return server.ask(request.replace(b"Host: 127.0.0.1", f"Host: {host}".encode()))[0]


@pytest.mark.counts("T22", "a hole is seen")
def test_a_hole_in_the_guard_is_seen(tally: Tally, tmp_path: Path) -> None:
    def holed(app: App) -> App:
        async def around(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"].endswith("/"):
                key = (b"authorization", f"Bearer {KEY}".encode())
                scope = {**scope, "path": scope["path"].rstrip("/"),
                         "headers": [*scope["headers"], key]}  # fmt: skip
            await app(scope, receive, send)

        return around

    with served(tmp_path, api_keys=(KEY,), around=holed) as server:
        with tally.trial("the hole"):
            assert server.ask(request_of("/v1/models/", method="GET"))[0] == 200
        tally.controlled(server.ask(request_of("/v1/models", method="GET"))[0] == 401)
