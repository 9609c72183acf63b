"""Recordings that nobody wrote down -> cuts with the texts that a model heard, to train on.

    FOLDER/cuts.jsonl.gz      what was kept
    FOLDER/dropped.jsonl.gz   the others, with their reasons
    FOLDER/report.json, .html what was dropped and why, and what failed
    FOLDER/heard, second-*    what was heard, part by part

Recordings are not copied. A run that was stopped goes on behind its last part; one that is through
chooses anew among what was heard, where other labels are asked for.
"""

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnout.config import TranscriptionOptions
from turnout.config.labelling import LabelConfig
from turnout.config.plain import to_plain
from turnout.corpora.manifest import Fields, Place
from turnout.errors import GuidanceError, ManifestError, UsageError, one_line
from turnout.files import sha256_of, whole_file, write_whole
from turnout.labelling.choice import Chosen, base_of, chosen
from turnout.labelling.hearing import HeardInput, Told, hear
from turnout.labelling.inputs import Inputs, Line, cut_inputs, open_inputs, parts_of
from turnout.labelling.labels import Label, labels_of
from turnout.labelling.page import page
from turnout.labelling.parts import Parts, Row, reserved, unwritable
from turnout.labelling.report import Report
from turnout.transcription.transcriber import Transcriber

CUTS, DROPPED = "cuts.jsonl.gz", "dropped.jsonl.gz"
FORMAT = 1
Watched = Callable[[int], AbstractContextManager[Told]]
"""Given the number of inputs, what hears the seconds of each."""


@dataclass(frozen=True, kw_only=True)
class Labeller:
    """Models and what is asked of them."""

    transcriber: Transcriber
    second: Transcriber | None = None
    """Whose texts are compared with the first one's."""
    options: TranscriptionOptions
    config: LabelConfig
    part_minutes: float
    """Of sound, after which what was heard is put away."""

    def label(self, source: Path, output: Path, watched: Watched) -> Report:
        """Label a source into a folder.

        Raises UsageError and ManifestError for what is no source, GuidanceError where a model
        cannot do what is asked, StorageError where the folder holds others' labels.
        """
        self._check()
        inputs = open_inputs(source)
        check_apart(source, output)
        total = sum(1 for _ in inputs.read())
        if not total:
            raise ManifestError(str(source), None, None, "holds no cut")
        with reserved(output):
            work = _Work(self, *self._parts(output, inputs))
            with watched(total) as told, _written(output) as (kept, dropped):
                report = work.all(inputs, told, Report(self._facts(source)), (kept, dropped))
            write_whole(output / "report.json", report.to_json().encode())
            write_whole(output / "report.html", page(report).encode())
        return report

    def _check(self) -> None:
        """Raise GuidanceError or UsageError, before anything is heard, for what cannot be done."""
        for model in filter(None, (self.transcriber, self.second)):
            model.transcribe_files([], self.options)
        known = self.transcriber.backend.config.vocabulary.languages
        unknown = set(map(base_of, self.config.languages)).difference(map(base_of, known))
        if unknown:
            raise GuidanceError(
                f"--languages names {', '.join(sorted(unknown))}, unknown to this model: choose "
                f"among {', '.join(known)}"
            )

    def _parts(self, output: Path, inputs: Inputs) -> tuple[Parts, Parts | None]:
        """Where the parts of both models lie, ready."""
        options = to_plain(self.options)
        del options["batch_size"]  # a smaller one, for want of memory, hears the same
        job = {
            "format": FORMAT,
            "input": inputs.digest,
            "model": model_digest(self.transcriber),
            "options": options,
            "part_minutes": self.part_minutes,
        }
        first = Parts(output / "heard", job)
        first.begin()
        if self.second is None:
            return first, None
        other = {"first": job, "model": model_digest(self.second)}
        name = f"second-{sha256_of(json.dumps(other).encode())[:8]}"
        second = Parts(output / name, other)
        second.begin()
        return first, second

    def _facts(self, source: Path) -> Row:
        return {
            "source": one_line(str(source)),
            "model": model_name(self.transcriber),
            "second": None if self.second is None else model_name(self.second),
            "options": to_plain(self.options),
            "choice": to_plain(self.config),
        }


@dataclass(frozen=True)
class _Work:
    """One labelling."""

    asked: Labeller
    first: Parts
    second: Parts | None

    def all(
        self, inputs: Inputs, told: Told, report: Report, files: "tuple[_Lines, _Lines]"
    ) -> Report:
        """Every part, heard where it is not there yet; its labels written into one of two files."""
        begin = labelled = 0
        for number, part in enumerate(parts_of(inputs.read(), 60 * self.asked.part_minutes)):
            rows = self.first.rows(number, begin, len(part))
            if rows is None:
                rows = self._heard(part, told)
                self.first.write(number, begin, rows)
            else:
                for _ in rows:
                    told(0.0)
            labels = [Label(**plain) for row in rows for plain in row.get("labels", ())]
            texts = self._compared(number, labelled, labels)
            report.inputs += len(rows)
            report.failed += [row["failed"] for row in rows if "failed" in row]
            report.warnings += [line for row in rows for line in row.get("warnings", ())]
            for label, text in zip(labels, texts, strict=True):
                one = chosen(label, self.asked.config, text, compared=self.second is not None)
                report.add(one)
                files[not one.kept].add(_line(one))
            begin, labelled = begin + len(part), labelled + len(labels)
        return report

    def _heard(self, part: Sequence[Line], told: Told) -> list[Row]:
        asked = self.asked
        name = model_name(asked.transcriber)
        window = asked.transcriber.backend.config.window_seconds
        rows: list[Row] = []
        for heard in hear(asked.transcriber, part, asked.options, told):
            if not isinstance(heard, HeardInput):
                rows.append({"failed": one_line(str(heard))})
                continue
            row: Row = {"labels": [to_plain(one) for one in labels_of(heard, window, name)]}
            if heard.transcript.warnings:
                path = heard.measured.entry.audio
                row["warnings"] = [one_line(f"{path}: {w}") for w in heard.transcript.warnings]
            rows.append(row)
        return rows

    def _compared(self, number: int, first: int, labels: Sequence[Label]) -> list[str | None]:
        """What the second model wrote of each label; None where there is no such, or it heard
        nothing of it."""
        if self.second is None:
            return [None] * len(labels)
        rows = self.second.rows(number, first, len(labels))
        if rows is None:
            rows = self._reheard(labels)
            self.second.write(number, first, rows)
        return [row["text"] for row in rows]

    def _reheard(self, labels: Sequence[Label]) -> list[Row]:
        assert self.asked.second is not None
        spoken = [place for place, label in enumerate(labels) if label.text]
        lines = [Fields(labels[place].cut, Place(labels[place].id)) for place in spoken]
        part = list(cut_inputs(lines, Path()))
        texts: dict[int, str] = {}
        answers = hear(self.asked.second, part, self.asked.options, lambda _: None)
        for place, heard in zip(spoken, answers, strict=True):
            if isinstance(heard, HeardInput):
                texts[place] = heard.transcript.text
        return [{"text": texts.get(place)} for place in range(len(labels))]


@dataclass(frozen=True)
class _Lines:
    """A packed file of JSON lines; the same lines are the same bytes."""

    file: gzip.GzipFile

    def add(self, content: Any) -> None:
        """One more."""
        self.file.write(json.dumps(content, ensure_ascii=False).encode() + b"\n")


@contextmanager
def _written(output: Path) -> Iterator[tuple[_Lines, _Lines]]:
    """The files of what is kept and of what is dropped, both there once the context ends."""
    try:
        with ExitStack() as opened:
            lines = []
            for name in (CUTS, DROPPED):
                partial = opened.enter_context(whole_file(output / name))
                raw = opened.enter_context(partial.open("wb"))
                # Without the name and the time that gzip would write down.
                lines.append(_Lines(opened.enter_context(gzip.GzipFile("", "wb", 9, raw, 0))))
            yield lines[0], lines[1]
    except OSError as error:
        raise unwritable(output, error) from error


def _line(one: Chosen) -> Row:
    """A cut as it is written, with what a second model has to say and why it is dropped."""
    more: Row = {}
    if one.disagreement is not None:
        more["disagreement"] = round(one.disagreement, 1)
    if one.reasons:
        more["dropped"] = [reason.name.lower() for reason in one.reasons]
    (said,) = one.label.cut["supervisions"]
    told = {**said, "custom": {**said["custom"], **more}}
    return {**one.label.cut, "supervisions": [told]}


def check_apart(source: Path, output: Path) -> None:
    """Raise UsageError where what is read would be written over."""
    for name in (CUTS, DROPPED):
        place = output / name
        if place.exists() and place.samefile(source):
            raise UsageError(
                f"{source}: is what is read, and would be written over: name another -o"
            )


def model_name(transcriber: Transcriber) -> str:
    """What a model is called, with its adapters."""
    name = "unnamed" if transcriber.folder is None else one_line(transcriber.folder.path.name)
    adapters = transcriber.adapted.names if transcriber.adapted else ()
    return "+".join((name, *adapters))


def model_digest(transcriber: Transcriber) -> str:
    """The same for the same files, wherever they lie."""
    files = {} if transcriber.folder is None else dict(transcriber.folder.digests)
    return sha256_of(json.dumps([model_name(transcriber), files], sort_keys=True).encode())
