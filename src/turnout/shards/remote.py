"""Shards behind an address: S3, Google's and Azure's stores, HTTP (to read), by fsspec.

fsspec's libraries raise what they like; here it becomes one line, without an address's secrets.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EINVAL, errorcode
from importlib.util import find_spec
from os import strerror
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any, TypeVar, cast

from turnout.errors import MissingExtra, ShardError, StorageError, UsageError, one_line
from turnout.shards.address import (
    WEB,
    bucket_of,
    joined,
    scheme_of,
    scrubbed,
    shown_address,
)
from turnout.shards.store import allowed, complete, within

T = TypeVar("T")
WAITS = (0.5, 2.0)
"""Seconds before a part is asked for again."""
LASTING = (FileNotFoundError, PermissionError, ImportError, NotImplementedError)
"""Errors that do not go away."""
REFUSED = ("403", "401", "forbidden", "access denied", "accessdenied", "unauthorized")


class RemoteStore:
    """Shards at an address; a store as `turnout.shards.store.Store`."""

    def __init__(self, address: str, patience: float) -> None:
        self.shown = shown_address(address)
        self._address = address
        self._patience = patience
        self._files, self._folder = _filesystem(address)
        self._web = scheme_of(address) in WEB

    def size(self, name: str) -> int | None:
        """As of `Store`."""
        try:
            found = self._asked(name, lambda: self._files.info(self._path(name)))
        except FileNotFoundError:
            return None
        return None if found.get("size") is None else int(found["size"])

    def part(self, name: str, start: int, stop: int) -> bytes:
        """As of `Store`."""
        path = self._path(name)

        def ask() -> bytes:
            if self._web:
                return _web_part(self._files, path, start, stop)
            try:
                return self._files.cat_file(path, start=start, end=stop)
            except OSError as error:
                if _lies_behind(error):
                    return b""
                raise

        try:
            return complete(self._asked(name, ask), start, stop, self._told(name))
        except FileNotFoundError as error:
            raise ShardError(f"{self._told(name)}: there is no such file") from error

    def whole(self, name: str, most: int) -> bytes | None:
        """As of `Store`."""
        path = self._path(name)
        try:
            if self._web:
                data = self._asked(name, lambda: _web_part(self._files, path, 0, most + 1))
                allowed(len(data), most, self._told(name))
                return data
            size = self._asked(name, lambda: self._files.info(path))["size"]
            return self.part(name, 0, allowed(int(size), most, self._told(name)))
        except FileNotFoundError:
            self._check_bucket()
            return None

    def _check_bucket(self) -> None:
        """Raise ShardError where what was not found has no bucket either."""
        bucket = bucket_of(self._address)
        if bucket is None:
            return
        try:
            found = within(self._patience, lambda: self._files.exists(bucket), self.shown)
            self._files.invalidate_cache()  # a list of what was there before anything is written
        except Exception:  # whoever may read need not be allowed to ask for this
            return
        if not found:
            raise ShardError(f"{self.shown}: the store has no bucket '{one_line(bucket)}'")

    @contextmanager
    def written(self, name: str) -> Iterator[Path]:
        """As of `Store`: made here, then sent."""
        try:
            with TemporaryDirectory(prefix="turnout-shard-") as folder:
                local = Path(folder) / name
                yield local
                self._send(name, local)
        except OSError as error:
            reason = error.strerror or error
            raise StorageError(f"{self._told(name)}: cannot be written ({reason})") from error

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Stores know no locks: who writes the same, writes the same bytes."""
        if self._web:
            raise UsageError(f"{self.shown}: can be read and not written: name a folder or a store")
        yield

    def _send(self, name: str, local: Path) -> None:
        try:
            # Without the limit of a part: a shard takes as long as the line is slow.
            self._files.put_file(str(local), self._path(name))
        except Exception as error:
            raise StorageError(
                f"{self._told(name)}: cannot be written ({self._why(error)})"
            ) from error

    def _asked(self, name: str, call: Callable[[], T]) -> T:
        """What the store answers; asked again where that may help. Raises FileNotFoundError and
        ShardError."""
        for wait in (*WAITS, None):
            try:
                return within(self._patience, call, self._told(name))
            except (FileNotFoundError, ShardError):
                raise
            except Exception as error:
                why = self._why(error)
                if wait is None or isinstance(error, LASTING) or "refused to let" in why:
                    raise ShardError(f"{self._told(name)}: cannot be read ({why})") from error
            sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _why(self, error: Exception) -> str:
        words = scrubbed(_said(error) or type(error).__name__, self._address)
        if isinstance(error, PermissionError) or any(one in words.lower() for one in REFUSED):
            return f"the store refused to let us in: {words}"
        return words

    def _path(self, name: str) -> str:
        return joined(self._folder, name)

    def _told(self, name: str) -> str:
        return f"{self.shown.rstrip('/')}/{name}"


def _filesystem(address: str) -> tuple[Any, str]:
    """fsspec's file system and path of an address; raises UsageError and MissingExtra."""
    if find_spec("fsspec") is None:
        raise MissingExtra(f"{shown_address(address)}: an address that is no folder", "shards")
    from fsspec.archive import AbstractArchiveFileSystem  # noqa: PLC0415 - an extra
    from fsspec.core import url_to_fs  # noqa: PLC0415

    try:
        files, path = url_to_fs(address)
    except ImportError as error:
        reason = f"needs a package that is not installed ({error})"
        raise UsageError(f"{shown_address(address)}: {reason}") from error
    except Exception as error:
        words = scrubbed(str(error) or type(error).__name__, address)
        raise UsageError(f"{shown_address(address)}: is no address of a store ({words})") from error
    if isinstance(files, AbstractArchiveFileSystem):
        raise UsageError(f"{shown_address(address)}: archives are not opened: name a store")
    return files, path


def _said(error: Exception) -> str:
    """Its words; where no connection came about, the system's and not those of aiohttp, which tells
    of TLS ("ssl:default") where there is none."""
    cause = getattr(error, "os_error", None)
    if not isinstance(cause, OSError):
        return str(error)
    known = strerror(cause.errno) if cause.errno and cause.errno in errorcode else None
    return f"no connection: {known or cause.strerror or cause}"


def _lies_behind(error: OSError) -> bool:
    """Whether a store said that nothing lies where a part was asked for."""
    return error.errno == EINVAL and "range" in str(error).lower()


def _web_part(files: Any, address: str, start: int, stop: int) -> bytes:
    """Bytes of a file on the web, and never more than were asked for, whatever the server sends."""
    from fsspec.asyn import sync  # noqa: PLC0415 - an extra

    async def ask() -> bytes:
        session = await files.set_session()
        # Compressed, a part of a file could not be asked for.
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        async with session.get(files.encode_url(address), headers=headers) as answer:
            if answer.status == 416:  # nothing lies there
                return b""
            if answer.status in (404, 410):
                raise FileNotFoundError(shown_address(address))
            answer.raise_for_status()
            if answer.status != 206 and start:
                raise ShardError(
                    f"{shown_address(address)}: the server gives whole files alone: one is needed "
                    "that gives parts of them ('Range'), as stores and most servers do"
                )
            data = bytearray()
            while len(data) < stop - start:
                piece = await answer.content.read(stop - start - len(data))
                if not piece:
                    break
                data += piece
            return bytes(data)

    return cast(bytes, sync(files.loop, ask))
