"""Files and folders written whole or not at all, their digests, and locks: the one place for it.

Until it is complete, what is written lies beside its place as `.partial-*`; what gives way to it
lies there as `.replaced-*` for that moment. Nothing here knows what the files hold.
"""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from uuid import uuid4

from turnout.errors import StorageError

PARTIAL, REPLACED = ".partial-", ".replaced-"
UNSYNCED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)
"""What some network and FUSE mounts answer of a folder, and every one of a folder that may be
written but not read."""


def sha256_of(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def open_regular(path: Path) -> BufferedReader:
    """A file to be read; raises OSError for what might never end or never begin, such as a pipe."""
    # A pipe that nobody writes to must not hold up opening either; Windows has neither flag's need.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        what = "is a directory" if stat.S_ISDIR(mode) else "is a pipe or device"
        raise OSError(errno.EINVAL, f"{what}: a regular file is needed")
    return os.fdopen(handle, "rb")


def write_synced(path: Path, data: bytes) -> None:
    """Write a file, and return when it lies on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names where that can be, lies on the disk."""
    if os.name != "posix":  # Windows opens no folder, and need not
        return
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in UNSYNCED or not path.is_dir():
            raise


def write_whole(path: Path, data: bytes) -> None:
    """Put a file into its place whole or not at all; raises StorageError."""
    try:
        with whole_file(path) as partial:
            partial.write_bytes(data)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write what takes the place of `path` when the context ends; raises OSError, and
    leaves what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        yield partial
        sync(partial)
        partial.replace(path)
        with suppress(OSError):  # it is in its place, whatever is said of the folder
            sync(path.parent)
    finally:
        # On a disk that went read-only this fails as well: the first error is the one to be told.
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(place: Path, gone: Container[str] | None = None) -> Iterator[Path]:
    """A new folder that takes the place of another when the context ends; see `put_in_place`."""
    partial = partial_of(place)
    try:
        partial.mkdir(parents=True)
        yield partial
        put_in_place(partial, place, gone)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def partial_of(path: Path) -> Path:
    """A name of nobody else's beside `path`, with its ending, since libraries look at that."""
    # The end of the name alone: the whole, and a prefix, may be more than a file system takes.
    return path.with_name(f"{PARTIAL}{uuid4().hex[:8]}-{path.name[-40:]}")


def put_in_place(partial: Path, place: Path, gone: Container[str] | None = None) -> None:
    """Move a complete folder `.partial-*` to its place. Of a folder that was there the entries in
    `gone` are deleted, all of them where it is None; the others move along.

    Raises OSError, and leaves what was there.
    """
    for path in partial.iterdir():
        sync(path)
    replaced = partial.with_name(partial.name.replace(PARTIAL, REPLACED, 1))
    shutil.rmtree(replaced, ignore_errors=True)
    old = [] if gone is None else [entry for entry in place.glob("*") if entry.name not in gone]
    staying = [entry for entry in old if not (partial / entry.name).exists()]
    try:
        for entry in staying:
            entry.rename(partial / entry.name)
        sync(partial)
        if place.exists():
            place.rename(replaced)
        partial.rename(place)
    except BaseException:  # Ctrl-C as well: who wrote `partial` deletes it, and all that is in it
        if replaced.exists() and not place.exists():
            replaced.rename(place)
        for entry in staying:
            with suppress(OSError):
                (partial / entry.name).rename(entry)
        raise
    with suppress(OSError):  # it is in its place, whatever is said of the folder
        sync(place.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def remove_leftovers(folder: Path, ending: str = "") -> None:
    """Delete what killed processes left of files and folders whose names end so; nobody else may
    be writing them."""
    for prefix in (PARTIAL, REPLACED):
        for path in folder.glob(f"{prefix}*{ending}"):
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):  # a folder is gone by now; a file is not
                path.unlink()


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock that ends with this process; raises BlockingIOError where another process has
    it and `wait` is False."""
    from fcntl import LOCK_EX, LOCK_NB, lockf  # noqa: PLC0415 - Windows has none, and reads models

    with path.open("w") as file:
        # A POSIX lock: unlike flock's, the processes that prepare batches do not inherit it.
        lockf(file, LOCK_EX if wait else LOCK_EX | LOCK_NB)
        yield
