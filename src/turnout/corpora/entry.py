"""One utterance of a corpus: as its manifest states it, and with what its audio measured.

This file knows no kind of manifest.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from turnout.corpora.manifest import Place
from turnout.corpora.spelling import plain_text
from turnout.errors import ManifestError
from turnout.guidance import Bandwidth


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one line says; None is what it leaves open. Texts and speakers are spelled plainly,
    whoever read them."""

    id: str
    audio: Path
    place: Place
    text: str | None
    language: str | None = None
    speaker: str | None = None
    translations: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    bandwidth: Bandwidth | None = None
    domain: str | None = None
    offset: float = 0.0
    duration: float | None = None
    channel: int | None = None
    audio_field: str = "audio_filepath"
    """What the source calls the audio, to be cited; as the next two."""
    language_field: str = "language"
    target_field: str = "target_language"

    def __post_init__(self) -> None:
        translations = {name: plain_text(text) for name, text in self.translations.items()}
        object.__setattr__(self, "translations", translations)
        object.__setattr__(self, "speaker", plain_text(self.speaker or "") or None)
        if self.text is not None:
            object.__setattr__(self, "text", plain_text(self.text))


@dataclass(frozen=True, kw_only=True)
class MeasuredEntry:
    """An entry and its audio: the whole file's figures, then those of the utterance in it."""

    entry: Entry
    native_rate: int
    """Hz."""
    num_samples: int
    """Of the whole file, at its native rate."""
    start: float
    """Seconds into the file."""
    duration: float
    """Seconds."""
    bandwidth: Bandwidth
    """By the file's rate, as stated, or else measured."""


EntryStream = Iterator[Entry | ManifestError | str]
"""What a reader gives: entries, the error in the place of a line that is none, and remarks on the
source as a whole. Whoever reads them decides whether to stop at an error."""


def utterance_id(relative: str, offset: float = 0.0) -> str:
    """An id from a path inside the corpus, and the offset where several share a file."""
    stem = relative.rsplit(".", 1)[0] if "." in Path(relative).name else relative
    stem = unicodedata.normalize("NFC", stem)
    name = re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "utterance"
    return f"{name}-{round(offset * 1000):08d}" if offset else name


@dataclass(frozen=True)
class UniqueIds:
    """Adds a number to the ids that came before."""

    seen: set[str] = field(default_factory=set)

    def __call__(self, entry: Entry) -> Entry:
        """The entry, under an id that no other has."""
        name, number = entry.id, 1
        while name in self.seen:
            number += 1
            name = f"{entry.id}-{number}"
        self.seen.add(name)
        return replace(entry, id=name)
