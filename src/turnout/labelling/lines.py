"""What work on parts shares: which are missing, who is told, and the packed lines that come out."""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnout.errors import UsageError
from turnout.files import whole_file
from turnout.labelling.cluster import Unit
from turnout.labelling.hearing import Told
from turnout.labelling.inputs import Inputs, parts_of
from turnout.labelling.parts import Parts, unwritable

Watched = Callable[[int], AbstractContextManager[Told]]
"""Given the number of inputs, what hears the seconds of each."""


def check_apart(source: Path, output: Path, names: Iterable[str]) -> None:
    """Raise UsageError where what is read is one of the files that are written into a folder."""
    for place in (output / name for name in names):
        if place.exists() and place.samefile(source):
            raise UsageError(
                f"{source}: is what is read, and would be written over: name another -o"
            )


def units_of(inputs: Inputs, part_minutes: float) -> Iterator[Unit]:
    """The inputs, in parts of so much sound."""
    begin = 0
    for number, part in enumerate(parts_of(inputs.read(), 60 * part_minutes)):
        yield Unit(number, begin, part)
        begin += len(part)


def missing(units: Iterator[Unit], parts: Parts, told: Told) -> Iterator[Unit]:
    """The units that were not heard yet; of the items of the others it is told at once."""
    for unit in units:
        if parts.rows(unit.number, unit.first, len(unit.items)) is None:
            yield unit
        else:
            for _ in unit.items:
                told(0.0)


@dataclass(frozen=True)
class Lines:
    """A packed file of JSON lines; the same lines are the same bytes."""

    file: gzip.GzipFile

    def add(self, content: Any) -> None:
        """One more."""
        self.file.write(json.dumps(content, ensure_ascii=False).encode() + b"\n")


@contextmanager
def packed_lines(output: Path, *names: str) -> Iterator[Sequence[Lines]]:
    """Files of lines in a folder, all of them there once the context ends; raises StorageError."""
    try:
        with ExitStack() as opened:
            lines = []
            for name in names:
                partial = opened.enter_context(whole_file(output / name))
                raw = opened.enter_context(partial.open("wb"))
                # Without the name and the time that gzip would write down.
                lines.append(Lines(opened.enter_context(gzip.GzipFile("", "wb", 9, raw, 0))))
            yield lines
    except OSError as error:
        raise unwritable(output, error) from error
