"""Recordings that nobody wrote down -> cuts with the texts that a model heard, to train on.

    FOLDER/cuts.jsonl.gz      what was kept
    FOLDER/kept.jsonl.gz      the same of shards,
    FOLDER/shards             and the shards with these labels
    FOLDER/dropped.jsonl.gz   the others, with their reasons
    FOLDER/report.json, .html what was dropped and why, and what failed
    FOLDER/heard, second-*    what was heard, part by part

Recordings are not copied. A run that was stopped goes on behind its last part; one that is through
chooses anew among what was heard, where other labels are asked for.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from turnout.config.labelling import LabelConfig
from turnout.config.plain import to_plain
from turnout.corpora.manifest import Fields, Place
from turnout.errors import GuidanceError, ManifestError, UsageError
from turnout.files import sha256_of, write_whole
from turnout.labelling.choice import Chosen, base_of, chosen
from turnout.labelling.cluster import Actors, Cluster, Unit
from turnout.labelling.hearing import Told
from turnout.labelling.inputs import Inputs, Sharded, cut_inputs, open_inputs
from turnout.labelling.labels import Label
from turnout.labelling.lines import Lines, Watched, check_apart, missing, packed_lines, units_of
from turnout.labelling.models import Again, Models, Row, labels_in, model_digest, model_name
from turnout.labelling.page import page
from turnout.labelling.parts import Parts, reserved
from turnout.labelling.relabelling import Relabelling
from turnout.labelling.report import Report
from turnout.shards.address import shown_address

CUTS, KEPT, DROPPED = "cuts.jsonl.gz", "kept.jsonl.gz", "dropped.jsonl.gz"
REPORT = "report.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Labeller:
    """Models, and what is to come of what they hear."""

    models: Models
    config: LabelConfig
    part_minutes: float
    """Of sound, after which what was heard is put away."""
    shards: str | None = None
    """Address for the shards that come of shards; None is in the labels' folder."""
    cluster: Cluster | None = None
    """Where it is heard; None is here."""

    def label(self, source: Path | str, output: Path, watched: Watched) -> Report:
        """Label a source into a folder.

        Raises UsageError and ManifestError for what is no source, GuidanceError where a model
        cannot do what is asked, StorageError where the folder holds others' labels, ShardError for
        shards that cannot be read at all.
        """
        self._check()
        inputs = open_inputs(source)
        shards = self._shards(inputs, output)
        if shards is None:
            check_apart(Path(source), output, (CUTS, DROPPED, REPORT))
        total = sum(1 for _ in inputs.read())
        if not total:
            raise ManifestError(str(source), None, None, "holds no cut")
        with reserved(output):
            if shards is not None:
                shards.check()
            work = _Work(self, *self._parts(output, inputs))
            name = CUTS if shards is None else KEPT
            with watched(total) as told, packed_lines(output, name, DROPPED) as (kept, dropped):
                tell = told
                if self.cluster is not None and work.lacks(inputs):
                    digests = [model_digest(model) for model in self.models.all]
                    with self.cluster.opened(digests) as actors:
                        work.fill(inputs, told, actors)
                    tell = ignored
                report = work.all(inputs, tell, Report(self._facts(source)), (kept, dropped))
            report.place = str(output / name)
            if shards is not None:
                report.failures.update(shards.write(output / name, report.kept.labels).left_out)
                report.place = shards.shown
            write_whole(output / REPORT, report.to_json().encode())
            write_whole(output / "report.html", page(report).encode())
        return report

    def _check(self) -> None:
        """Raise GuidanceError or UsageError, before anything is heard, for what cannot be done."""
        for model in self.models.all:
            model.transcribe_files([], self.models.options)
        known = self.models.transcriber.backend.config.vocabulary.languages
        unknown = set(map(base_of, self.config.languages)).difference(map(base_of, known))
        if unknown:
            raise GuidanceError(
                f"--languages names {', '.join(sorted(unknown))}, unknown to this model: choose "
                f"among {', '.join(known)}"
            )

    def _shards(self, inputs: Inputs, output: Path) -> Relabelling | None:
        """What makes shards of labels, where shards are labelled; raises UsageError."""
        if inputs.shards is not None:
            return Relabelling.of(inputs.shards, output, self.shards)
        if self.shards is not None:
            raise UsageError(
                "--shards is for labels of shards: 'turnout shard' makes those of cuts"
            )
        return None

    def _parts(self, output: Path, inputs: Inputs) -> tuple[Parts, Parts | None]:
        """Where the parts of both models lie, ready."""
        options = to_plain(self.models.options)
        del options["batch_size"]  # a smaller one, for want of memory, hears the same
        job = {
            "format": FORMAT,
            "input": inputs.digest,
            "model": model_digest(self.models.transcriber),
            "options": options,
            "part_minutes": self.part_minutes,
        }
        first = Parts(output / "heard", job)
        first.begin()
        if self.models.second is None:
            return first, None
        other = {"first": job, "model": model_digest(self.models.second)}
        name = f"second-{sha256_of(json.dumps(other).encode())[:8]}"
        second = Parts(output / name, other)
        second.begin()
        return first, second

    def _facts(self, source: Path | str) -> Row:
        return {
            "source": shown_address(str(source)),
            "model": model_name(self.models.transcriber),
            "second": self.models.second and model_name(self.models.second),
            "options": to_plain(self.models.options),
            "choice": to_plain(self.config),
        }


@dataclass(frozen=True)
class _Work:
    """One labelling."""

    asked: Labeller
    first: Parts
    second: Parts | None

    def parts(self, inputs: Inputs) -> Iterator[Unit]:
        """The inputs, part by part."""
        return units_of(inputs, self.asked.part_minutes)

    def labels(self, inputs: Inputs) -> Iterator[Unit]:
        """The labels of all parts, which were heard."""
        begin = 0
        for unit in self.parts(inputs):
            labels = labels_in(self.first.again(unit.number, unit.first, len(unit.items)))
            yield Unit(unit.number, begin, [again(label, inputs) for label in labels])
            begin += len(labels)

    def passes(self, inputs: Inputs) -> Iterator[tuple[Iterator[Unit], Parts]]:
        """What each model hears, and where that is put; the second's once the first is through."""
        yield self.parts(inputs), self.first
        if self.second is not None:
            yield self.labels(inputs), self.second

    def lacks(self, inputs: Inputs) -> bool:
        """Whether anything is still to be heard."""
        return any(
            parts.rows(unit.number, unit.first, len(unit.items)) is None
            for units, parts in self.passes(inputs)
            for unit in units
        )

    def fill(self, inputs: Inputs, told: Told, actors: Actors) -> None:
        """Have every part heard that is not there yet, wherever there is room."""
        for units, parts in self.passes(inputs):
            tell = told if parts is self.first else ignored
            for unit, rows in actors.rows(missing(units, parts, tell)):
                parts.write(unit.number, unit.first, rows)
                for row in rows:
                    tell(sum(label.seconds for label in labels_in([row])))

    def all(self, inputs: Inputs, told: Told, report: Report, files: tuple[Lines, Lines]) -> Report:
        """Every part, heard where it is not there yet; its labels written into one of two files."""
        labelled = 0
        for unit in self.parts(inputs):
            rows = self.first.rows(unit.number, unit.first, len(unit.items))
            if rows is None:
                rows = self.asked.models.heard(unit.items, told)
                self.first.write(unit.number, unit.first, rows)
            else:
                for _ in rows:
                    told(0.0)
            labels = labels_in(rows)
            texts = self._compared(unit.number, labelled, [again(one, inputs) for one in labels])
            report.inputs += len(rows)
            report.failures.update(row["failed"] for row in rows if "failed" in row)
            report.warnings += [line for row in rows for line in row.get("warnings", ())]
            for label, text in zip(labels, texts, strict=True):
                one = chosen(label, self.asked.config, text, compared=self.second is not None)
                report.add(one)
                files[not one.kept].add(_line(one))
            labelled += len(labels)
        return report

    def _compared(self, number: int, first: int, labels: Sequence[Again]) -> list[str | None]:
        """What the second model wrote of each label; None where there is no such, or it heard
        nothing of it."""
        if self.second is None:
            return [None] * len(labels)
        rows = self.second.rows(number, first, len(labels))
        if rows is None:
            rows = self.asked.models.compared(labels)
            self.second.write(number, first, rows)
        return [row["text"] for row in rows]


def again(label: Label, inputs: Inputs) -> Again:
    """What a second model hears of a label: the sound that has a text."""
    if not label.text:
        return Again(None)
    if inputs.shards is not None and label.shard is not None:
        origin = inputs.shards.of(*label.shard)
        return Again(Sharded(origin=origin, seconds=label.seconds, span=label.span))
    (sound,) = cut_inputs([Fields(label.cut, Place(label.id))], Path())
    return Again(sound)


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


def ignored(_seconds: float) -> None:
    """Tell nobody."""
