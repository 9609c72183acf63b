"""One file that comes in parts, and is what the hub lists in the end, or goes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from turnout.errors import FetchError
from turnout.hub.answers import TransientError
from turnout.hub.listing import RemoteFile

CHUNK = 1 << 20
PART = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


class Download:
    """A file and its digest so far. Raises OSError where it cannot be written."""

    def __init__(self, file: RemoteFile, target: Path, watch: Callable[[int], None]) -> None:
        self.file = file
        self.target = target
        self.watch = watch
        self.size = 0
        self.digest = file.hasher()
        target.touch()
        with target.open("rb") as there:
            while chunk := there.read(CHUNK):
                self._count(chunk)
        if self.size > file.size:
            self.begin_anew()

    def begin_anew(self) -> None:
        """As if nothing had come."""
        self.target.write_bytes(b"")
        self.watch(-self.size)
        self.size, self.digest = 0, self.file.hasher()

    def take(self, answer: Any) -> None:
        """Add what an answer (httpx's) to a request from byte `size` on brings.

        Raises TransientError where it ends too soon, FetchError where it brings more than is
        listed.
        """
        if answer.status_code == 416:
            raise self.refused("is shorter than the hub lists")
        if answer.status_code != 206:
            self.begin_anew()  # the whole file comes: not every server knows parts
        elif begin_of(answer) != self.size:
            self.begin_anew()
            raise TransientError("another part came than was asked for")
        with self.target.open("ab") as target:
            # In the parts that come: of larger ones, a break would lose what came of the last.
            for chunk in answer.iter_bytes():
                if self.size + len(chunk) > self.file.size:
                    raise self.refused("is longer than the hub lists")
                target.write(chunk)
                self._count(chunk)
        if self.size < self.file.size:
            raise TransientError(
                f"{self.file.name} ends after {self.size:,} of {self.file.size:,} bytes"
            )

    def _count(self, chunk: bytes) -> None:
        self.digest.update(chunk)
        self.size += len(chunk)
        self.watch(len(chunk))

    def check(self) -> None:
        """Raise FetchError where what is complete is not what the hub lists."""
        if self.digest.hexdigest() != self.file.digest:
            raise self.refused("came damaged (its digest is not the one that the hub lists)")

    def refused(self, why: str) -> FetchError:
        """What to say of a file that goes."""
        self.target.unlink(missing_ok=True)
        return FetchError(
            f"{self.file.name} {why} and was deleted: the same command fetches it anew"
        )


def begin_of(answer: Any) -> int:
    """Where the part begins that an answer brings; -1 where it does not say so."""
    match = PART.fullmatch(answer.headers.get("content-range", ""))
    return int(match[1]) if match and len(match[1]) < 19 else -1
