"""A loopback server that stands in for the Hugging Face hub: its list of files, its files, and the
other server that large files come from; and whatever goes wrong on the way."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin")
"""What is stored apart, known by its SHA-256."""


@dataclass
class Fault:
    """What happens to a request whose path holds `where`, so many times."""

    where: str
    times: int = 1
    status: int = 0
    """Answered instead of what was asked for."""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    """The connection ends after so many bytes of the body."""
    pause: float = 0.0
    """Seconds between two parts of the body."""
    body: bytes | None = None
    """Sent in place of the file."""
    whole: bool = False
    """A range is not heeded."""
    late: int = 0
    """A part begins so many bytes behind what was asked for."""


@dataclass
class Repository:
    """Files of a commit."""

    files: dict[str, bytes]
    revisions: tuple[str, ...] = ("main",)
    license: str | None = "mit"
    listed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the list says of a file instead of the truth."""

    @property
    def commit(self) -> str:
        """As git's: of what it holds."""
        parts = sorted(name.encode() + data for name, data in self.files.items())
        return hashlib.sha1(b"".join(parts)).hexdigest()

    def listing(self) -> dict[str, Any]:
        """As `/api/models/owner/name/revision/main?blobs=true` answers."""
        siblings = []
        for name, data in self.files.items():
            sha = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            one: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": sha}
            if name.endswith(LARGE):
                sha256 = hashlib.sha256(data).hexdigest()
                one["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 134}
            siblings.append({**one, **self.listed.get(name, {})})
        card = {"license": self.license} if self.license else None
        return {"id": "x", "sha": self.commit, "siblings": siblings, "cardData": card}


@dataclass
class HubServer:
    """The hub; `seen` are the requests it was sent, those for large files elsewhere among them."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    endpoint: str = ""
    elsewhere: str = ""

    def paths(self, part: str = "") -> list[str]:
        """Of the requests."""
        return [path for path, _ in self.seen if part in path]

    def fault(self, path: str) -> Fault:
        """The next one for the path; none of them where nothing is to go wrong."""
        for fault in self.faults:
            if fault.where in path and fault.times:
                fault.times -= 1
                return fault
        return Fault("")

    def large(self, digest: str) -> bytes | None:
        """A large file by its digest."""
        for repository in self.repositories.values():
            for data in repository.files.values():
                if hashlib.sha256(data).hexdigest() == digest:
                    return data
        return None


def handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    """What answers in the hub's place."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def log_message(self, *_: object) -> None:
            """Not to stderr, which tests look at."""

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path).lstrip("/")
            hub.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
            fault = hub.fault(self.path)
            if fault.status:
                self.answer(fault.status, b"{}", fault.headers)
            elif path.startswith("api/models/"):
                self.listing(path.removeprefix("api/models/"), fault)
            elif path.startswith("elsewhere/"):
                self.body(hub.large(path.removeprefix("elsewhere/")), fault)
            else:
                self.file(path, fault)

        def repository(self, name: str) -> Repository | None:
            found = hub.repositories.get(name)
            if found is None:
                self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            return found

        def listing(self, path: str, fault: Fault) -> None:
            name, _, revision = path.partition("/revision/")
            found = self.repository(name)
            if found is not None and revision in (*found.revisions, found.commit):
                self.body(json.dumps(found.listing()).encode(), fault)
            elif found is not None:
                self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})

        def file(self, path: str, fault: Fault) -> None:
            name, _, rest = path.partition("/resolve/")
            revision, _, file = rest.partition("/")
            found = self.repository(name)
            if found is None:
                return
            data = found.files.get(file)
            if data is None or revision != found.commit:
                self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            elif file.endswith(LARGE) and fault.body is None and fault.cut is None:
                digest = hashlib.sha256(data).hexdigest()
                headers = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data))}
                place = {"Location": f"{hub.elsewhere}/elsewhere/{digest}"}
                self.answer(302, b"", {"X-Repo-Commit": revision, **headers, **place})
            else:
                self.body(data, fault)

        def body(self, data: bytes | None, fault: Fault) -> None:
            if data is None:
                self.answer(404, b"{}", {})
                return
            data = data if fault.body is None else fault.body
            begin, asked = 0, self.headers.get("Range")
            if asked and not fault.whole:
                begin = int(asked.removeprefix("bytes=").rstrip("-")) + fault.late
                if begin >= len(data):
                    self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                    return
                where = {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"}
                self.head(206, len(data) - begin, where)
            else:
                self.head(200, len(data), {})
            self.send(data[begin:], fault)

        def send(self, data: bytes, fault: Fault) -> None:
            data = data if fault.cut is None else data[: fault.cut]
            step = max(len(data) // 4, 1) if fault.pause else max(len(data), 1)
            for begin in range(0, len(data), step):
                self.wfile.write(data[begin : begin + step])
                self.wfile.flush()
                time.sleep(fault.pause)
            if fault.cut is not None:
                self.close_connection = True

        def head(self, status: int, length: int, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(length)}.items():
                self.send_header(name, value)
            self.end_headers()

        def answer(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
            self.head(status, len(data), headers)
            self.wfile.write(data)

    return Handler


class Server(ThreadingHTTPServer):
    """Quiet where whoever asked has gone."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing."""


@contextmanager
def serving() -> Iterator[HubServer]:
    """A hub, and the other server, until the context ends."""
    hub = HubServer()
    servers = [Server(("127.0.0.1", 0), handler(hub)) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    hub.endpoint, hub.elsewhere = (f"http://127.0.0.1:{one.server_address[1]}" for one in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


BASE = "openai/whisper-base"
WEIGHTS = bytes(range(256)) * 40
CONFIG = json.dumps({"model_type": "whisper"}).encode()


def checkpoint(**more: bytes) -> Repository:
    """Files of a repository, those that nobody needs among them."""
    files = {
        ".gitattributes": b"*.bin filter=lfs", "README.md": b"# A model", "config.json": CONFIG,
        "generation_config.json": b"{}", "tokenizer.json": b'{"model": {}}', "vocab.json": b"{}",
        "merges.txt": b"", "pytorch_model.bin": b"\x80\x02pickle", "model.safetensors": WEIGHTS,
    }  # fmt: skip
    return Repository({**files, **more})


def lies_in(cache: Path) -> set[str]:
    """Of files."""
    found = (path.relative_to(cache) for path in cache.rglob("*") if path.is_file())
    return {str(path) for path in found if path.parts[0] != "locks"}
