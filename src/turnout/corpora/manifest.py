"""Lines of a manifest, plain or gzipped: each with its place, its fields checked, damage an error.

A `ManifestError` stands in the place of a line that cannot be used. This file knows no kind of
manifest.
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from turnout.config.routing import DOMAIN
from turnout.corpora.spelling import SPLITS, plain_text, trimmed
from turnout.errors import ManifestError, shown
from turnout.guidance import Bandwidth

S = TypeVar("S")
T = TypeVar("T")
LONGEST_LINE = 2**24
"""Characters; a longer line is no manifest's, and a small gzip could unpack to one without end."""
LANGUAGE_CODE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{1,8})*")
CHANNEL = re.compile("[0-9]{1,9}")
MOST_SECONDS = 1e9
"""32 years; infinity and what becomes it in samples are no times."""
MARK = "\ufeff"
"""The byte order mark, as a letter."""
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
"""Excel's "Unicode text" begins so."""
PEEKED = 2**16
"""Bytes at a file's beginning that tell how its lines end."""


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
        """As `text`, but the field must be there and not be empty; its two ends are trimmed."""
        value = self.text(name)
        if value is None:
            near = get_close_matches(name, [key for key in self.values if key != name], 1, 0.7)
            hint = f": did you mean it by '{near[0]}'?" if near else ""
            raise self.place.error(name, f"is missing{hint}")
        if not trimmed(value):
            raise self.place.error(name, "is empty: a value was expected")
        return trimmed(value)

    def word(self, *names: str) -> str | None:
        """As `text` in its plain spelling, an empty one taken as absent; numbers become strings."""
        for name in names:
            value = self.values.get(name)
            # A column of numbers with gaps is one of fractions, as pandas has it: 7 is 7.0 there.
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            if isinstance(value, int) and not isinstance(value, bool):
                return str(value)
        return plain_text(self.text(*names) or "") or None

    def seconds(self, name: str) -> float | None:
        """A time that must not be negative."""
        value = self.values.get(name)
        if isinstance(value, str):
            value = trimmed(value)
        if value is None or value == "":
            return None
        try:
            # Python itself takes True for 1 and '1_0' for 10.
            odd = isinstance(value, bool) or "_" in str(value)
            number = -1.0 if odd else float(value)
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

    def domain(self) -> str | None:
        """Which kind of recording it is, by a model's name for that."""
        value = self.word("domain")
        if value is not None and not DOMAIN.fullmatch(value):
            raise self.place.wrong("domain", value, "a word such as 'calls' was")
        return value

    def split(self) -> str | None:
        """The split, with the usual words for one made 'train', 'dev' or 'test'."""
        value = self.word("split")
        if value is None:
            return None
        value = SPLITS.get(value.lower(), value)
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
        if isinstance(value, str):
            value = trimmed(value)
        if value is None or value == "":
            return None
        if not CHANNEL.fullmatch(str(value)):
            raise self.place.wrong("channel", value, "a number from 0 was")
        return int(value)


def text_lines(source: Path) -> Iterator[tuple[Place, str] | ManifestError]:
    """The lines of a text file that are not blank, without their ends.

    It is UTF-8, or UTF-16 where it begins with that one's mark. Lines end with LF, CR LF or, where
    the beginning of a file has no LF, CR.
    """
    number = 0
    try:
        packed = source.suffix.lower() == ".gz"
        with gzip.open(source, "rb") if packed else source.open("rb") as file:
            lines = _decoding(cast(BinaryIO, file))
            while line := lines.readline(LONGEST_LINE):
                number += 1
                line = line.removeprefix(MARK)
                if line.strip():
                    yield _checked(line, Place(str(source), number), lines.encoding)
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


def _decoding(file: BinaryIO) -> io.TextIOWrapper:
    """The file as text; bytes that are none become surrogates or, in UTF-16, U+FFFD."""
    head = cast(io.BufferedReader, file).peek(PEEKED)
    wide = head.startswith(UTF16_MARKS)
    text = head.decode("utf-16", "replace") if wide else head.decode("latin-1")
    return io.TextIOWrapper(
        file,
        encoding="utf-16" if wide else "utf-8",
        errors="replace" if wide else "surrogateescape",
        newline="\r" if "\r" in text and "\n" not in text else "\n",
    )


def _checked(line: str, place: Place, encoding: str) -> tuple[Place, str] | ManifestError:
    if len(line) == LONGEST_LINE:
        return place.error(None, f"is longer than {LONGEST_LINE >> 20} MiB: no line of a manifest")
    if "\0" in line:
        wanted = "text in UTF-8, or in UTF-16 with a byte order mark, was expected"
        return place.error(None, f"holds NUL, which is no letter: {wanted}")
    if encoding == "utf-16" and "\ufffd" in line:
        return place.error(None, "is not UTF-16")
    try:
        line.encode("utf-8")
    except UnicodeEncodeError as error:
        byte = len(line[: error.start].encode("utf-8")) + 1
        return place.error(None, f"is not UTF-8 (byte {byte} of the line)")
    return place, line.rstrip("\r\n")


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
