"""Models that hear inputs: what becomes of each as plain values, to be put away.

A part's rows depend on nothing but the part, wherever it is heard.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from turnout.config import TranscriptionOptions
from turnout.config.plain import to_plain
from turnout.errors import one_line
from turnout.files import sha256_of
from turnout.labelling.hearing import HeardInput, Told, hear
from turnout.labelling.inputs import Line
from turnout.labelling.labels import Label, labels_of
from turnout.model_folder import called
from turnout.transcription.transcriber import Transcriber

Row = dict[str, Any]
"""Of an input: `labels` and perhaps `warnings`, or `failed`. Of a label: `text`, None where a
second model could hear nothing."""


@dataclass(frozen=True)
class Again:
    """A label that a second model is to hear."""

    sound: Line | None
    """None where there is no text to compare."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """Ready, with what is asked of them."""

    transcriber: Transcriber
    second: Transcriber | None
    """Whose texts are compared with the first one's."""
    options: TranscriptionOptions

    @property
    def all(self) -> Iterator[Transcriber]:
        """The one, or both."""
        yield self.transcriber
        if self.second is not None:
            yield self.second

    def heard(self, part: Sequence[Line], told: Told) -> list[Row]:
        """What became of each input."""
        name = model_name(self.transcriber)
        window = self.transcriber.backend.config.window_seconds
        rows: list[Row] = []
        for heard in hear(self.transcriber, part, self.options, told):
            if not isinstance(heard, HeardInput):
                rows.append({"failed": one_line(str(heard))})
                continue
            row: Row = {"labels": [to_plain(one) for one in labels_of(heard, window, name)]}
            if heard.transcript.warnings:
                entry = heard.measured.entry
                path = entry.audio if heard.origin is None else entry.id
                row["warnings"] = [one_line(f"{path}: {w}") for w in heard.transcript.warnings]
            rows.append(row)
        return rows

    def compared(self, labels: Sequence[Again]) -> list[Row]:
        """What the second model, which there must be, wrote of each label that has a text."""
        assert self.second is not None
        sounds = {place: one.sound for place, one in enumerate(labels) if one.sound is not None}
        texts: dict[int, str] = {}
        answers = hear(self.second, list(sounds.values()), self.options, lambda _: None)
        for place, heard in zip(sounds, answers, strict=True):
            if isinstance(heard, HeardInput):
                texts[place] = heard.transcript.text
        return [{"text": texts.get(place)} for place in range(len(labels))]


def labels_in(rows: Sequence[Row]) -> list[Label]:
    """The labels of inputs, in order."""
    return [Label(**plain) for row in rows for plain in row.get("labels", ())]


def model_name(transcriber: Transcriber) -> str:
    """What a model is called, with its adapters."""
    name = "unnamed" if transcriber.folder is None else called(transcriber.folder.path)
    adapters = transcriber.adapted.names if transcriber.adapted else ()
    return "+".join((name, *adapters))


def model_digest(transcriber: Transcriber) -> str:
    """The same for the same files, wherever they lie."""
    files = {} if transcriber.folder is None else dict(transcriber.folder.digests)
    return sha256_of(json.dumps([model_name(transcriber), files], sort_keys=True).encode())
