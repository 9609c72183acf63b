"""A server of the embedded model inside the tests' process, as `turnout serve` makes it, in a
thread of its own; and clients that write their requests byte by byte."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from turnout.config.serving import ServingConfig
from turnout.serving.app import Serving, build
from turnout.serving.guard import App
from turnout.serving.metrics import Metrics
from turnout.serving.run import Server, listening_socket
from turnout.serving.service import Service

ROOT = Path(__file__).resolve().parents[1]
ENGLISH = ROOT / "examples" / "english-1.flac"
ARABIC = ROOT / "examples" / "arabic-1.flac"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
TRANSCRIPTIONS = "/v1/audio/transcriptions"
TRANSLATIONS = "/v1/audio/translations"


@dataclass
class Served:
    """A server that listens."""

    port: int
    serving: Serving
    server: Server
    folder: Path
    """Of its uploads."""
    loop: asyncio.AbstractEventLoop
    key: str | None = None
    scheme: str = "http"
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        """A client with the key."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **options)

    def post(self, path: str = TRANSCRIPTIONS, /, **form: Any) -> httpx.Response:
        """A form with the English example, unless it has a file of its own."""
        file = form.pop("file", ENGLISH)
        if isinstance(file, Path):
            file = (file.name, file.read_bytes())
        with self.client() as client:
            return client.post(path, files={"file": file}, data=form)

    def get(self, path: str) -> httpx.Response:
        """A page."""
        with self.client() as client:
            return client.get(path)

    def loop_tasks(self) -> int:
        """How many tasks its loop has."""
        return len(asyncio.all_tasks(self.loop))

    def connect(self, *, small: bool = False) -> socket.socket:
        """A bare connection; a `small` one takes little at once."""
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if small:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Status, header and body of what is answered to these bytes."""
        with self.connect() as connection:
            connection.sendall(request)
            return answered(connection)


def answered(connection: socket.socket) -> tuple[int, bytes, bytes]:
    """Status, header and body of an answer; the status is 0 where there is none."""
    data, length = b"", None
    while True:
        head, gap, body = data.partition(b"\r\n\r\n")
        if gap and head.split()[1] == b"100":  # Continue: the answer comes behind it
            data = body
            continue
        if gap and head.split()[1] == b"101":  # a WebSocket, which has no body
            break
        lengths = [line for line in head.lower().split(b"\r\n") if b"content-length" in line]
        if gap and lengths:
            length = int(lengths[0].split(b":")[1])
            if len(body) >= length:
                break
        try:
            more = connection.recv(65_536)
        except (ConnectionError, TimeoutError):
            break
        if not more:
            break
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    # Behind it may lie the answer to what was left of a request that said it was shorter.
    return int(head.split()[1]) if head else 0, head, body[:length]


@contextmanager
def served(
    folder: Path,
    *,
    around: Callable[[App], App] | None = None,
    opens: Any = None,
    **settings: Any,
) -> Iterator[Served]:
    """A server with these settings; `around` may put something around its application, `opens`
    something in the model's place."""
    config = ServingConfig(port=0, threads=1, **{"page": False, **settings})
    ready: list[Served | BaseException] = []
    is_ready = threading.Event()

    async def run() -> None:
        metrics = Metrics()
        service = Service(config, metrics, opens)
        await service.start()
        serving = build(config, service, metrics, folder)
        if around is not None:
            serving = Serving(around(serving.app), serving.inner, serving.door, service)
        server = Server(serving, config)
        with listening_socket(config) as listener:
            port = listener.getsockname()[1]
            key = config.api_keys[0] if config.api_keys else None
            loop = asyncio.get_running_loop()
            task = asyncio.ensure_future(server.serve(sockets=[listener]))
            while not server.started and not task.done():
                await asyncio.sleep(0.01)
            ready.append(Served(port, serving, server, folder, loop, key))
            is_ready.set()
            await task

    def body() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            ready.append(error)
        finally:
            is_ready.set()

    folder.mkdir(parents=True, exist_ok=True)
    thread = threading.Thread(target=body, name="served", daemon=True)
    thread.start()
    assert is_ready.wait(START_SECONDS), "the server does not start"
    first = ready[0]
    if isinstance(first, BaseException):
        raise first
    try:
        yield first
    finally:
        for _ in range(2):  # the second does not wait for what is not finished
            if not first.loop.is_closed():
                first.loop.call_soon_threadsafe(first.server.begin_stop)
            thread.join(STOP_SECONDS)
            if not thread.is_alive():
                break
    assert not thread.is_alive(), "the server does not stop"
    if len(ready) > 1 and isinstance(ready[1], BaseException):
        raise ready[1]


def error_of(response: httpx.Response) -> dict[str, Any]:
    """OpenAI's error, whole."""
    content = response.json()
    assert set(content) == {"error"}, content
    error = content["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert error["message"]
    assert error["message"].isprintable(), "the message has several lines"
    return error


def events_of(text: str) -> list[dict[str, Any]]:
    """Server-sent events."""
    lines = text.split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def multipart(*parts: tuple[bytes, bytes], boundary: bytes = b"B") -> bytes:
    """A form: what stands behind `form-data; ` in each part's header, and its content."""
    body = b"".join(
        b"--" + boundary + b"\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + content
        + b"\r\n"
        for head, content in parts
    )  # fmt: skip
    return body + b"--" + boundary + b"--\r\n"


def request_of(
    path: str, body: bytes = b"", method: str = "POST", *, headers: tuple[str, ...] = ()
) -> bytes:
    """A whole request, its form's boundary being B."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: multipart/form-data; boundary=B",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
