"""What was heard, part by part, in files that appear whole or not at all: where work was stopped,
the same work goes on behind the parts that are there.

A part's first line has the digest of the others; one that is damaged counts as not made.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnout.errors import StorageError
from turnout.files import locked, remove_leftovers, sha256_of, write_whole

JOB, LOCK = "job.json", ".lock"
Row = dict[str, Any]
"""Plain values."""


@dataclass(frozen=True)
class Parts:
    """The parts of one job, in a folder of their own."""

    folder: Path
    job: Row
    """What they follow from: another job's parts are refused."""

    def begin(self) -> None:
        """Take the folder; raises StorageError where it holds another job's parts."""
        place = self.folder / JOB
        written = (json.dumps(self.job, indent=1) + "\n").encode()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder)
            found = place.read_bytes() if place.exists() else None
        except OSError as error:
            raise unwritable(self.folder, error) from error
        if found is None:
            write_whole(place, written)
        elif found != written:
            raise StorageError(
                f"{self.folder.parent}: holds what was heard of another input, by another model, "
                "with another option of hearing or in other parts: name another output, or delete "
                "it"
            )

    def rows(self, number: int, first: int, count: int) -> list[Row] | None:
        """What became of the inputs of a part, whose numbers begin at `first`; None where it is to
        be made, or was damaged."""
        try:
            head, _, body = self._path(number).read_bytes().partition(b"\n")
            if json.loads(head) != _head(first, count, body):
                return None
            return [json.loads(line) for line in body.splitlines()]
        except (OSError, ValueError, RecursionError):
            return None

    def again(self, number: int, first: int, count: int) -> list[Row]:
        """The same of a part that was made; raises StorageError where it was damaged since."""
        rows = self.rows(number, first, count)
        if rows is None:
            raise StorageError(
                f"{self._path(number)}: was written, and cannot be read: see to the disk; the same "
                "command hears that part again"
            )
        return rows

    def write(self, number: int, first: int, rows: Sequence[Row]) -> None:
        """Put a part into its place; raises StorageError."""
        body = "".join(json.dumps(row) + "\n" for row in rows).encode()
        head = json.dumps(_head(first, len(rows), body)).encode()
        write_whole(self._path(number), head + b"\n" + body)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.jsonl"


@contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is made; raises StorageError where one is there,
    or nothing can be written. What a killed process left half written is deleted."""
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder / LOCK, wait=False, threads=True))
        except BlockingIOError as error:
            reason = "another process writes there: wait for it, or name another output"
            raise StorageError(f"{folder}: {reason}") from error
        except OSError as error:
            raise unwritable(folder, error) from error
        remove_leftovers(folder)
        yield


def unwritable(place: Path, error: OSError) -> StorageError:
    """The error for what cannot be written."""
    return StorageError(f"{place}: cannot be written ({error.strerror or error})")


def _head(first: int, count: int, body: bytes) -> Row:
    return {"first": first, "inputs": count, "sha256": sha256_of(body)}
