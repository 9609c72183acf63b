"""Lines of a manifest, plain or gzipped: each with its place, its fields checked, damage an error.

A `ManifestError` stands in the place of a line that cannot be used. This file knows no kind of
manifest.
"""

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from turnout.errors import ManifestError, shown
from turnout.guidance import Bandwidth

S = TypeVar("S")
T = TypeVar("T")
LONGEST_LINE = 2**24
"""Bytes; a longer line is no manifest's, and a small gzip could unpack to one without end."""
LANGUAGE_CODE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{1,8})*")
CHANNEL = re.compile("[0-9]{1,9}")
MOST_SECONDS = 1e9
"""32 years; infinity and what becomes it in samples are no times."""
SPLIT_ALIASES = {"validation": "dev", "valid": "dev", "val": "dev", "devel": "dev"}


@dataclass(frozen=True)
class Place:
    """A line of a manifest, to be cited."""

    file: str
    line: int | None = None

    def error(self, name: str | None, reason: str) -> ManifestError:
        """The error that cites this place and the field `name`."""
        return ManifestError(self.file, self.line, name, reason)

    def wrong(self, name: str, value: object, wanted: str) -> ManifestError:
        """The error that cites the field `name`, its value, and what was expected."""
        return self.error(name, f"is {shown(value)}: {wanted} expected")


@dataclass(frozen=True)
class Fields:
    """A line's fields with their checks; every getter raises ManifestError citing the line."""

    values: Mapping[str, Any]
    place: Place

    def text(self, *names: str) -> str | None:
        """The first of these fields that is there, as a string."""
        for name in names:
            value = self.values.get(name)
            if value is None:
                continue
            if not isinstance(value, str):
                raise self.place.wrong(name, value, "a string was")
            return value
        return None

    def given(self, *names: str) -> str:
        """Which of these fields is there, to be cited; the first where none is."""
        return next((name for name in names if self.values.get(name) is not None), names[0])

    def needed(self, name: str) -> str:
        """As `text`, but the field must be there and not be empty."""
        value = self.text(name)
        if value is None:
            near = get_close_matches(name, [key for key in self.values if key != name], 1, 0.7)
            hint = f": did you mean it by '{near[0]}'?" if near else ""
            raise self.place.error(name, f"is missing{hint}")
        if not value.strip():
            raise self.place.error(name, "is empty: a value was expected")
        return value

    def word(self, *names: str) -> str | None:
        """As `text`, with an empty string taken as absent; numbers become strings."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                return str(value)
        return (self.text(*names) or "").strip() or None

    def seconds(self, name: str) -> float | None:
        """A time that must not be negative."""
        value = self.values.get(name)
        if value is None or value == "":
            return None
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = -1.0
        if not 0 <= number <= MOST_SECONDS:
            raise self.place.wrong(name, value, "seconds, 0 or more, were")
        return number

    def language(self, *names: str, default: str | None = None) -> str | None:
        """A language code such as 'en' or 'pt-BR'."""
        value = self.word(*names) or default
        if value is not None and not LANGUAGE_CODE.fullmatch(value):
            raise self.place.wrong(self.given(*names), value, "a language code such as 'en' was")
        return value

    def bandwidth(self) -> Bandwidth | None:
        """A stated bandwidth."""
        value = self.word("bandwidth")
        if value is not None and value not in set(Bandwidth):
            raise self.place.wrong("bandwidth", value, f"one of {', '.join(Bandwidth)} was")
        return None if value is None else Bandwidth(value)

    def split(self) -> str | None:
        """The split, with the usual words for 'dev' made one."""
        value = self.word("split")
        if value is None:
            return None
        value = SPLIT_ALIASES.get(value.lower(), value)
        # It names a file.
        if not re.fullmatch(r"[\w][\w.-]*", value):
            raise self.place.wrong("split", value, "a word such as 'train' was")
        return value

    def translations(self) -> Mapping[str, str]:
        """Text by target language."""
        found = self.values.get("translations") or {}
        if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
            raise self.place.error("translations", "is no mapping of a language to a text")
        return found

    def channel(self) -> int | None:
        """The channel to take, from 0."""
        value = self.values.get("channel")
        if value is None or value == "":
            return None
        if not CHANNEL.fullmatch(str(value)):
            raise self.place.wrong("channel", value, "a number from 0 was")
        return int(value)


def text_lines(source: Path) -> Iterator[tuple[Place, str] | ManifestError]:
    """The lines of a UTF-8 file that are not blank, without their ends."""
    number = 0
    try:
        with gzip.open(source, "rb") if source.suffix == ".gz" else source.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                number += 1
                if line.strip():
                    yield _decoded(line, Place(str(source), number))
                if len(line) == LONGEST_LINE:
                    break  # what follows is the rest of it, not a line
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        yield Place(str(source), number + 1).error(None, f"cannot be read ({reason})")


def json_lines(source: Path) -> Iterator[Fields | ManifestError]:
    """The objects of a JSON lines file."""
    return each(text_lines(source), lambda line: _parsed(*line))


def each(items: Iterable[S | ManifestError], make: Callable[[S], T]) -> Iterator[T | ManifestError]:
    """What is made of each item; the error in the place of one that nothing can be made of."""
    for item in items:
        try:
            if isinstance(item, ManifestError):
                raise item
            yield make(item)
        except ManifestError as error:
            yield error


def _decoded(line: bytes, place: Place) -> tuple[Place, str] | ManifestError:
    if len(line) == LONGEST_LINE:
        return place.error(None, f"is longer than {LONGEST_LINE >> 20} MiB: no line of a manifest")
    try:
        return place, line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        return place.error(None, f"is not UTF-8 (byte {error.start + 1} of the line)")


def _parsed(place: Place, line: str) -> Fields:
    try:
        fields: Any = json.loads(line)
        # lone surrogates such as "\ud800" are JSON, but no text that could be written again
        json.dumps(fields, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        reason = "holds half of a surrogate pair, which is no character"
        raise place.error(None, reason) from error
    except ValueError as error:
        found = str(error)
        if isinstance(error, json.JSONDecodeError):
            found = f"{error.msg} at column {error.colno}"
        reason = f"is not JSON ({found}): one object a line was expected"
        raise place.error(None, reason) from error
    except RecursionError as error:
        reason = "is nested too deeply: a flat JSON object was expected"
        raise place.error(None, reason) from error
    if not isinstance(fields, dict):
        raise place.error(None, f"holds a {type(fields).__name__}: a JSON object was expected")
    return Fields(fields, place)


def beside(folder: Path, path: str) -> Path:
    """The audio that a manifest in `folder` names: relative to it, or else to where we are."""
    near = folder / path
    # unlike Path.exists, these do not raise for names too long or with a NUL
    return Path(path) if not os.path.exists(near) and os.path.exists(path) else near  # noqa: PTH110
