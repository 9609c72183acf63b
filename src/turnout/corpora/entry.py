"""One utterance as a manifest states it, before anybody looked at its audio.

Readers yield an `Entry`, or the `ManifestError` that stands in its line's place: whoever reads
them decides whether to stop there. A `Note` is of no line. This file knows no manifest format.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from turnout.errors import ManifestError, shown
from turnout.guidance import Bandwidth

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


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one line says; None is what it leaves open."""

    id: str
    audio: Path
    place: Place
    text: str | None
    language: str | None = None
    speaker: str | None = None
    translations: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    bandwidth: Bandwidth | None = None
    offset: float = 0.0
    duration: float | None = None
    channel: int | None = None
    audio_field: str = "audio_filepath"
    """What the source calls the audio, to be cited; as the next two."""
    language_field: str = "language"
    target_field: str = "target_language"


@dataclass(frozen=True)
class Note:
    """What a reader of the summary should know of the source as a whole."""

    text: str


Read = Iterator[Entry | ManifestError | Note]


@dataclass(frozen=True)
class Record:
    """A line's fields with their checks; every getter raises ManifestError citing the line."""

    fields: Mapping[str, Any]
    place: Place

    def text(self, *names: str) -> str | None:
        """The first of these fields that is there, as a string."""
        for name in names:
            value = self.fields.get(name)
            if value is None:
                continue
            if not isinstance(value, str):
                raise self.place.error(name, f"is {shown(value)}: a string was expected")
            return value
        return None

    def given(self, *names: str) -> str:
        """Which of these fields is there, to be cited; the first where none is."""
        return next((name for name in names if self.fields.get(name) is not None), names[0])

    def needed(self, *names: str) -> str:
        """As `text`, but one of the fields must be there and not be empty."""
        value = self.text(*names)
        if value is None:
            raise self.place.error(names[0], f"is missing{self._nearest(names)}")
        if not value.strip():
            raise self.place.error(names[0], "is empty: a value was expected")
        return value

    def word(self, *names: str) -> str | None:
        """As `text`, with an empty string taken as absent; numbers become strings."""
        for name in names:
            value = self.fields.get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                return str(value)
        return (self.text(*names) or "").strip() or None

    def seconds(self, name: str) -> float | None:
        """A time that must not be negative."""
        value = self.fields.get(name)
        if value is None or value == "":
            return None
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = -1.0
        if not 0 <= number <= MOST_SECONDS:
            raise self.place.error(name, f"is {shown(value)}: seconds, 0 or more, were expected")
        return number

    def language(self, *names: str, default: str | None = None) -> str | None:
        """A language code such as 'en' or 'pt-BR'."""
        value = self.word(*names) or default
        if value is not None and not LANGUAGE_CODE.fullmatch(value):
            raise self.place.error(
                self.given(*names),
                f"is {shown(value)}: a language code such as 'en' was expected",
            )
        return value

    def bandwidth(self) -> Bandwidth | None:
        """A stated bandwidth."""
        value = self.word("bandwidth")
        if value is None:
            return None
        if value not in set(Bandwidth):
            raise self.place.error(
                "bandwidth", f"is {shown(value)}: one of {', '.join(Bandwidth)} was expected"
            )
        return Bandwidth(value)

    def split(self, name: str = "split") -> str | None:
        """The split, with the usual words for 'dev' made one."""
        value = self.word(name)
        return None if value is None else split_name(value, self.place, name)

    def channel(self) -> int | None:
        """The channel to take, from 0."""
        value = self.fields.get("channel")
        if value is None or value == "":
            return None
        if not CHANNEL.fullmatch(str(value)):
            raise self.place.error("channel", f"is {shown(value)}: a number from 0 was expected")
        return int(value)

    def _nearest(self, names: tuple[str, ...]) -> str:
        unknown = [key for key in self.fields if key not in names]
        near = [match for name in names for match in get_close_matches(name, unknown, 1, 0.7)]
        return f": did you mean it by '{near[0]}'?" if near else ""


def split_name(value: str, place: Place, name: str = "split") -> str:
    """'validation' -> 'dev'; raises ManifestError where it could not name a file."""
    value = SPLIT_ALIASES.get(value.lower(), value)
    if not re.fullmatch(r"[\w][\w.-]*", value):
        raise place.error(name, f"is {shown(value)}: a word such as 'train' was expected")
    return value


def beside(folder: Path, path: str) -> Path:
    """The audio that a manifest in `folder` names: relative to it, or else to where we are."""
    near = folder / path
    # unlike Path.exists, these do not raise for names too long or with a NUL
    return Path(path) if not os.path.exists(near) and os.path.exists(path) else near  # noqa: PTH110


def utterance_id(relative: str, offset: float = 0.0) -> str:
    """An id from a path inside the corpus, and the offset where several share a file."""
    stem = relative.rsplit(".", 1)[0] if "." in Path(relative).name else relative
    name = re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "utterance"
    return f"{name}-{round(offset * 1000):08d}" if offset else name
