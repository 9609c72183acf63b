"""Where shards lie: a folder, read and written with nothing but Python, or any address of fsspec's.

A name is read in parts of known length, and written whole or not at all. Whoever waits for a store
waits for a limited time.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Protocol, TypeVar
from urllib.parse import unquote

from turnout.errors import ShardError, StorageError, UsageError, one_line
from turnout.files import locked, open_regular, remove_leftovers, whole_file
from turnout.shards.address import check_address, scheme_of

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds that a store may take for one part."""
LOCK = ".sharding.lock"
ENDINGS = (".tar", ".index.json", "-manifest.json")
"""Of what is half written when this is killed."""


class Store(Protocol):
    """A place of shards, by names that turnout gave. Reading raises ShardError, writing
    StorageError, each in one line and without what an address has of secrets."""

    shown: str
    """The place, to be told."""

    def size(self, name: str) -> int | None:
        """Bytes; None where nothing has this name."""
        ...

    def part(self, name: str, start: int, stop: int) -> bytes:
        """Exactly these bytes."""
        ...

    def whole(self, name: str, most: int) -> bytes | None:
        """All bytes, `most` of them at most; None where nothing has this name."""
        ...

    def written(self, name: str) -> AbstractContextManager[Path]:
        """Where to write what has this name once the context ends."""
        ...

    def reserved(self) -> AbstractContextManager[None]:
        """In which nobody else writes here."""
        ...


def open_store(address: str, patience: float = PATIENCE) -> Store:
    """The store at a path or address.

    Raises UsageError for one that nothing can be at, MissingExtra without fsspec.
    """
    if not address:
        raise UsageError("the name of a folder or address of shards is empty: give its path")
    check_address(address)
    scheme = scheme_of(address)
    if scheme in (None, "file"):
        path = address if scheme is None else unquote(address.partition("://")[2])
        return Folder(Path(path), patience)
    # Here, not above: folders need no fsspec.
    from turnout.shards.remote import RemoteStore  # noqa: PLC0415

    return RemoteStore(address, patience)


class Folder:
    """Shards in a folder of this machine, or of a disk that it has mounted."""

    def __init__(self, folder: Path, patience: float) -> None:
        self.folder = folder
        self.shown = one_line(str(folder))
        self._patience = patience

    def size(self, name: str) -> int | None:
        """As of `Store`."""
        path = self.folder / name
        return path.stat().st_size if path.is_file() else None

    def part(self, name: str, start: int, stop: int) -> bytes:
        """As of `Store`."""

        def read() -> bytes:
            with open_regular(self.folder / name) as file:
                file.seek(start)
                return file.read(stop - start)

        place = one_line(str(self.folder / name))
        try:
            data = within(self._patience, read, place)
        except OSError as error:
            raise ShardError(f"{place}: cannot be read ({error.strerror or error})") from error
        return complete(data, start, stop, place)

    def whole(self, name: str, most: int) -> bytes | None:
        """As of `Store`."""
        size = self.size(name)
        if size is None:
            return None
        return self.part(name, 0, allowed(size, most, one_line(str(self.folder / name))))

    @contextmanager
    def written(self, name: str) -> Iterator[Path]:
        """As of `Store`."""
        place = self.folder / name
        try:
            with whole_file(place) as partial:
                yield partial
        except OSError as error:
            reason = error.strerror or error
            raise StorageError(f"{place}: cannot be written ({reason})") from error

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """As of `Store`; what a killed process left half written is deleted."""
        with ExitStack() as held:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(self.folder / LOCK, wait=False, threads=True))
            except BlockingIOError as error:
                reason = "another process writes shards there: wait for it, or name another place"
                raise StorageError(f"{self.shown}: {reason}") from error
            except OSError as error:
                reason = error.strerror or error
                raise StorageError(f"{self.shown}: cannot be written ({reason})") from error
            for ending in ENDINGS:
                remove_leftovers(self.folder, ending)
            yield


def within(seconds: float, call: Callable[[], T], place: str) -> T:
    """What a call gives; ShardError where it takes longer, and the call is left to itself: nothing
    stops what waits for a disk or a network that does not answer."""
    answers: Queue[tuple[T | None, BaseException | None]] = Queue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))

    # A daemon: the process does not wait for it in the end.
    Thread(target=run, daemon=True).start()
    try:
        result, error = answers.get(timeout=seconds)
    except Empty:
        reason = f"the store did not answer within {seconds:g} s"
        raise ShardError(f"{place}: {reason}", silent=True) from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def complete(data: bytes, start: int, stop: int, place: str) -> bytes:
    """The data themselves; raises ShardError where they are not as many as were asked for."""
    if len(data) == stop - start:
        return data
    if len(data) > stop - start:
        raise ShardError(
            f"{place}: more came than was asked for: a store is needed that gives parts"
        )
    # One line for all that lies behind the end, which nobody knows who asks behind it.
    end = f"at byte {start + len(data):,}" if data or not start else "before what was asked for"
    raise ShardError(f"{place}: is cut short: it ends {end}")


def allowed(size: int, most: int, place: str) -> int:
    """The size itself; raises ShardError beyond what is taken."""
    if size > most:
        raise ShardError(f"{place}: has {size:,} bytes, and at most {most:,} are taken")
    return size
