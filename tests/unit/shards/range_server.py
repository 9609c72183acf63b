"""A loopback server of a folder that heeds ranges, and whatever goes wrong with one."""

import re
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Served:
    """A folder at an address."""

    folder: Path
    address: str = ""
    wrong: dict[str, str] = field(default_factory=dict)
    """A file's name -> 'silent', 'whole', 'short', 'endless', or a status."""
    times: int = 10**9
    """How often."""
    password: str | None = None
    """Of the user 'me', where one is needed."""
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    """Paths with their queries, and the ranges asked for."""
    ended: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """Serve until the context ends."""
    served = Served(folder)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            answer(self, served)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    served.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        served.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def answer(request: BaseHTTPRequestHandler, served: Served) -> None:
    asked = request.headers.get("range")
    served.seen.append((request.path, asked))
    path = served.folder / urlsplit(request.path).path.lstrip("/")
    wrong = served.wrong.get(path.name, "")
    if wrong and served.times <= 0:
        wrong = ""
    served.times -= bool(wrong)
    if wrong == "silent":
        served.ended.wait()
        return
    status = refusal(request, served, path, wrong)
    data = b"" if status else path.read_bytes()
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "")
    ranged = match is not None and wrong != "whole"
    if match and ranged and not status:
        first, last = int(match[1]), int(match[2])
        status = 416 if first >= len(data) else 0
        data = data[first : last + 1]
    request.send_response(status or (206 if ranged else 200))
    if wrong == "endless":
        request.end_headers()
        with suppress(OSError):  # whoever read it had enough
            while not served.ended.is_set():
                request.wfile.write(bytes(2**16))
        return
    request.send_header("content-length", str(len(data)))
    request.end_headers()
    request.wfile.write(data[: len(data) // 2] if wrong == "short" else data)


def refusal(request: BaseHTTPRequestHandler, served: Served, path: Path, wrong: str) -> int:
    """The status of an answer without the file; 0 where it is given."""
    wanted = b64encode(f"me:{served.password}".encode()).decode()
    if served.password and request.headers.get("authorization") != f"Basic {wanted}":
        return 401
    if wrong.isdigit():
        return int(wrong)
    return 0 if path.is_file() else 404
