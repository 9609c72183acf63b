"""Files and folders written whole or not at all, their digests, and locks: the one place for it.

Until it is complete, what is written lies beside its place as `.partial-*`. A folder changes places
with the one that gives way to it in one step; where a system has none such, that lies there as
`.replaced-*` for a moment. Nothing here knows what the files hold.
"""

import ctypes
import errno
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from uuid import uuid4

from turnout.errors import StorageError

PARTIAL, REPLACED = ".partial-", ".replaced-"
UNSYNCED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)
"""What some network and FUSE mounts answer of a folder, and every one of a folder that may be
written but not read."""


def sha256_of(data: bytes | memoryview) -> str:
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


def write_synced(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write a file, whose bytes may come in parts, and return when it lies on the disk."""
    with path.open("wb") as file:
        file.writelines([data] if isinstance(data, bytes) else data)
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
    """A new folder that takes the place of another when the context ends; see `put_in_place`.

    What killed processes left of an attempt at the same is deleted.
    """
    partial, handle = _new_folder(place)
    try:
        _forget_abandoned(partial)
        yield partial
        put_in_place(partial, place, gone)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def _new_folder(place: Path) -> tuple[Path, int | None]:
    """A partial folder, and the handle that keeps it from being taken for one of a killed process
    as long as it is open."""
    while True:
        partial = partial_of(place)
        partial.mkdir(parents=True)
        handle = _flocked(partial, wait=True)
        # Another may have taken it for abandoned, and deleted it, before it was locked.
        if partial.exists():
            return partial, handle
        if handle is not None:
            os.close(handle)


def _forget_abandoned(partial: Path) -> None:
    """Delete what killed processes left of folders for the same place as `partial`."""
    begin = len(PARTIAL) + 8
    for path in partial.parent.glob(f"{PARTIAL}*"):
        if path.name[begin:] != partial.name[begin:] or path == partial:
            continue
        handle = _flocked(path, wait=False)
        if handle is not None:
            # With its lock held: whoever has just made it waits, and makes another.
            shutil.rmtree(path, ignore_errors=True)
            os.close(handle)


def _flocked(folder: Path, *, wait: bool) -> int | None:
    """A handle that keeps a folder's lock; None where another has it and `wait` is False, or there
    are none."""
    if os.name != "posix":
        return None
    from fcntl import LOCK_EX, LOCK_NB, flock  # noqa: PLC0415 - Windows has none, and reads models

    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        flock(handle, LOCK_EX if wait else LOCK_EX | LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def partial_of(path: Path) -> Path:
    """A name of nobody else's beside `path`, with its ending, since libraries look at that."""
    # The end of the name alone: the whole, and a prefix, may be more than a file system takes.
    return path.with_name(f"{PARTIAL}{uuid4().hex[:8]}-{path.name[-40:]}")


def put_in_place(partial: Path, place: Path, gone: Container[str] | None = None) -> None:
    """Move a complete folder `.partial-*` to its place. Of a folder that was there the entries in
    `gone` are deleted, all of them where it is None; the others stay.

    Whoever looks finds the old folder or the new one, and never none, where the system can exchange
    two. Raises OSError, and leaves what was there.
    """
    for path in partial.iterdir():
        sync(path)
    old = [] if gone is None else [entry for entry in place.glob("*") if entry.name not in gone]
    for entry in old:
        if not (partial / entry.name).exists():
            _keep(entry, partial / entry.name)
    sync(partial)
    moved = not place.exists() and _moved(partial, place)
    if not moved and not exchange(partial, place):
        _in_two_steps(partial, place)
    with suppress(OSError):  # it is in its place, whatever is said of the folder
        sync(place.parent)
    shutil.rmtree(partial, ignore_errors=True)  # what was there


def _moved(partial: Path, place: Path) -> bool:
    """Move a folder to where none was a moment ago; False where there is one now."""
    try:
        partial.rename(place)
    except OSError:
        if not place.exists():
            raise
        return False
    return True


def exchange(one: Path, other: Path) -> bool:
    """Let two paths change places at once; False, and nothing done, where that cannot be."""
    library = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    here, there, swap = os.fsencode(one), os.fsencode(other), 2
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        at = -100  # relative paths begin at the working folder
        return library.renameat2(at, here, at, there, swap) == 0
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        return library.renamex_np(here, there, swap) == 0
    return False


def _in_two_steps(partial: Path, place: Path) -> None:
    """Exchange two folders where the system cannot: for a moment there is none at `place`."""
    replaced = partial.with_name(partial.name.replace(PARTIAL, REPLACED, 1))
    shutil.rmtree(replaced, ignore_errors=True)
    try:
        place.rename(replaced)
        partial.rename(place)
    except BaseException:  # Ctrl-C as well
        if replaced.exists() and not place.exists():
            replaced.rename(place)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _keep(entry: Path, copy: Path) -> None:
    """The same file or folder at a second place: whoever is killed loses neither."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.copytree(entry, copy, symlinks=True, copy_function=_link)
    else:
        _link(entry, copy)


def _link(file: str | Path, copy: str | Path) -> None:
    try:
        os.link(file, copy, follow_symlinks=False)
    except OSError:  # not every file system has links
        shutil.copy2(file, copy, follow_symlinks=False)


def remove_leftovers(folder: Path, ending: str = "") -> None:
    """Delete what killed processes left of files and folders whose names end so; nobody else may
    be writing them."""
    for prefix in (PARTIAL, REPLACED):
        for path in folder.glob(f"{prefix}*{ending}"):
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):  # a folder is gone by now; a file is not
                path.unlink()


@contextmanager
def locked(path: Path, *, wait: bool, threads: bool = False) -> Iterator[None]:
    """Hold a lock that ends with this process; raises BlockingIOError where another process, or
    with `threads` another thread, has it and `wait` is False."""
    from fcntl import LOCK_EX, LOCK_NB, flock, lockf  # noqa: PLC0415 - Windows has none

    with path.open("w") as file:
        # A POSIX lock is not inherited by the processes that prepare batches, as flock's is; but
        # all threads of a process have it together.
        lock = flock if threads else lockf
        lock(file, LOCK_EX if wait else LOCK_EX | LOCK_NB)
        yield
