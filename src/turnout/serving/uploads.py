"""A form that is being uploaded -> its fields, and its file on the disk.

Written as it comes in: no more of a file than a chunk is in memory. How much may come, and how
slowly, is `guard.py`'s; what the fields say is `forms.py`'s.
"""

import asyncio
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from turnout.errors import one_line
from turnout.files import locked
from turnout.serving.errors import Gone, Refused

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

FILE = "file"
MOST_FIELDS = 100
LONGEST_FIELD = 65_536
"""Bytes: a prompt has a few hundred."""
LONGEST_NAME = 80
"""Characters of a file's name in a message."""
WRITTEN_AT_ONCE = 262_144
"""Bytes: another thread writes them, and is not asked for less."""
PROBE_BYTES = 65_536
"""What every disk that is not full has room for."""
LOOK_SECONDS = 1.0
PREFIX = "turnout-serve-"
LOCK = "lock"
SEPARATORS = re.compile(r"[/\\]")
EXTENDED_NAME = re.compile(rb";\s*filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)
"""As older clients write a file's name that is not ASCII; the parser passes over it."""
HOW = "send a form: multipart/form-data with the recording as `file` (curl -F file=@speech.wav)"


@dataclass
class Form:
    """What a request's form held; a context, at whose end the file is deleted."""

    fields: list[tuple[str, str]]
    name: str
    """The file's, as the client calls it, in one line."""
    path: Path
    """Where it lies."""

    def __enter__(self) -> "Form":
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)


@dataclass
class Part:
    """The part of a form that is coming in."""

    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    header_name: bytes = b""
    header_value: bytes = b""
    name: str = ""
    is_file: bool = False
    data: bytearray = field(default_factory=bytearray)


class FormReader:
    """Takes a form's bytes as they come; raises Refused for what is no form of ours."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: list[tuple[str, str]] = []
        self.file_name: str | None = None
        self.file_bytes = 0
        self.has_ended = False
        self.pending: list[bytes] = []
        """Of the file: to be written, and to be taken out."""
        self._part = Part()
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value",
                 "header_end", "headers_finished", "end")  # fmt: skip
        callbacks: Any = {f"on_{name}": getattr(self, f"_{name}") for name in names}
        self._parser = MultipartParser(boundary, callbacks)

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise Refused(400, f"the body is not a form as its header says: {HOW}") from error

    def _part_begin(self) -> None:
        self._part = Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _header_end(self) -> None:
        part = self._part
        part.headers.append((part.header_name.lower(), part.header_value))
        part.header_name = part.header_value = b""

    def _headers_finished(self) -> None:
        disposition = dict(self._part.headers).get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        if b"name" not in options:
            raise Refused(400, f"a part of the form has no name: {HOW}")
        self._part.name = text_of(options[b"name"])
        extended = EXTENDED_NAME.search(disposition)
        if extended is not None:
            options.setdefault(b"filename", unquote_to_bytes(extended[1]))
        if b"filename" not in options:
            if len(self.fields) >= MOST_FIELDS:
                raise Refused(400, f"the form has more than {MOST_FIELDS} fields")
            return
        if self._part.name != FILE:
            name = short(self._part.name)
            raise Refused(400, f"'{name}' holds a file: only `file` does", param=name)
        if self.file_name is not None:
            raise Refused(400, "there are several files: send one in each request", param=FILE)
        self._part.is_file = True
        self.file_name = named(text_of(options[b"filename"]))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            self.pending.append(data[start:end])
            self.file_bytes += end - start
            return
        self._part.data += data[start:end]
        if len(self._part.data) > LONGEST_FIELD:
            name = short(self._part.name)
            message = f"the field '{name}' has more than {LONGEST_FIELD:,} bytes"
            raise Refused(413, message, param=name)

    def _part_end(self) -> None:
        if not self._part.is_file:
            self.fields.append((self._part.name, text_of(bytes(self._part.data))))

    def _end(self) -> None:
        self.has_ended = True

    def check(self) -> str:
        """The file's name, now that all has come; raises Refused where something lacks."""
        if not self.has_ended:
            raise Refused(400, f"the form ends early: its last boundary is missing. {HOW}")
        if self.file_name is None:
            what = "is text" if any(name == FILE for name, _ in self.fields) else "is missing"
            raise Refused(400, f"the recording {what}: {HOW}", param=FILE)
        if not self.file_bytes:
            raise Refused(400, f"{self.file_name}: the file is empty", param=FILE)
        return self.file_name


async def read_form(receive: Receive, content_type: str, folder: Path) -> Form:
    """The form that a request's body is, its file in this folder.

    Raises Refused, Gone where the client leaves meanwhile, and what `receive` does; no file is left
    behind then.
    """
    reader = FormReader(boundary_of(content_type))
    path = folder / uuid4().hex
    try:
        with await asyncio.to_thread(created, path) as file:
            await _receive_all(receive, reader, file)
        return Form(reader.fields, reader.check(), path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def created(path: Path) -> FileIO:
    """A new file that nobody else can read. Cleaners of temporary files take away the folder of a
    server that was idle for days: it is made anew."""
    try:
        return FileIO(path, "x", opener=private)
    except FileNotFoundError:
        path.parent.mkdir(0o700, exist_ok=True)
        if not is_ours(path.parent):
            raise
        return FileIO(path, "x", opener=private)


class Storage:
    """Whether an upload could be stored now; for whoever asks, however often."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looking: asyncio.Task[str] | None = None
        self._until = 0.0

    async def trouble(self) -> str:
        """Why not; empty where it could."""
        if self._looking is None or (self._looking.done() and monotonic() > self._until):
            self._until = monotonic() + LOOK_SECONDS
            self._looking = asyncio.create_task(asyncio.to_thread(probed, self._folder))
        done, _ = await asyncio.wait({self._looking}, timeout=LOOK_SECONDS)
        return self._looking.result() if done else "the folder of uploads does not answer"


def probed(folder: Path) -> str:
    """Why nothing can be written into this folder; empty where something was."""
    path = folder / uuid4().hex
    try:
        with created(path) as file:
            write_all(file, bytes(PROBE_BYTES))
    except OSError as error:
        return f"uploads cannot be stored: {error.strerror or 'no room'}"
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    return ""


def private(path: str, flags: int) -> int:
    """As `os.open`."""
    return os.open(path, flags, 0o600)


async def _receive_all(receive: Receive, reader: FormReader, file: FileIO) -> None:
    waiting = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body = message.get("body", b"")
        more = message.get("more_body", False)
        reader.feed(body)
        waiting += len(body)
        if waiting >= WRITTEN_AT_ONCE or not more:
            data, reader.pending = b"".join(reader.pending), []
            waiting = 0
            if data:
                await asyncio.to_thread(write_all, file, data)


def write_all(file: FileIO, data: bytes) -> None:
    """Write all of it: an unbuffered file may take a part."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def boundary_of(content_type: str) -> bytes:
    """What stands between a form's parts; raises Refused where the type is not a form's."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        given = f"the body is {short(one_line(content_type))}" if content_type else "there is none"
        raise Refused(415, f"{given}: {HOW}")
    boundary = options.get(b"boundary", b"")
    if not boundary or len(boundary) > 200:
        raise Refused(400, f"the form's header has no usable boundary: {HOW}")
    return boundary


def text_of(data: bytes) -> str:
    """Text as forms hold it."""
    return data.decode("utf-8", "replace")


def short(text: str) -> str:
    """What a message can show of something that a client sent."""
    return one_line(text[:LONGEST_NAME])


def named(name: str) -> str:
    """A file's name as messages show it: one line, without folders."""
    return short(SEPARATORS.split(name)[-1]) or "the file"


@contextmanager
def upload_folder() -> Iterator[Path]:
    """A new folder for uploads, that nobody else can read, and that is gone in the end. What killed
    servers left of theirs is deleted."""
    place = Path(tempfile.gettempdir())
    for path in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another server that starts, or ends, may be quicker
            if is_ours(path):
                # One whose server lives is locked.
                with locked(path / LOCK, wait=False, threads=True):
                    shutil.rmtree(path, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix="turnout-new-"))
    with locked(new / LOCK, wait=True, threads=True):
        # Only now, locked, may another server that starts see it.
        folder = new.rename(place / f"{PREFIX}{uuid4().hex}")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def is_ours(path: Path) -> bool:
    """Whether it is a folder, and of this user: anybody may write to the place of temporary files,
    links that lead elsewhere as well."""
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
