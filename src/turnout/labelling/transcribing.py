"""Many recordings -> their transcripts, heard by a cluster's actors: a line for each input, once,
in the order of the inputs.

    FOLDER/transcripts.jsonl.gz  what was heard of each input, or why nothing was
    FOLDER/report.json           what was asked, and what failed
    FOLDER/heard                 what was heard, part by part

A run that was stopped goes on behind the parts that are there.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from turnout.config import TranscriptionOptions
from turnout.config.plain import from_plain, to_plain
from turnout.errors import ManifestError, one_line, repeated
from turnout.files import sha256_of, write_whole
from turnout.labelling.cluster import Cluster
from turnout.labelling.hearing import HeardInput, Told, hear
from turnout.labelling.inputs import Inputs, Line, open_inputs
from turnout.labelling.lines import Lines, Watched, check_apart, missing, packed_lines, units_of
from turnout.labelling.models import Row, model_digest, model_name
from turnout.labelling.parts import Parts, reserved
from turnout.shards.address import shown_address
from turnout.text.transcript import Transcript
from turnout.text.writers import Format, document, files_of
from turnout.transcription.transcriber import Transcriber

TRANSCRIPTS, REPORT = "transcripts.jsonl.gz", "report.json"
FORMAT = 1
LONGEST_NAME = 150
"""Bytes of a file's name without its endings, which have room in the 255 that file systems take;
longer ones end in a digest."""


@dataclass(frozen=True, kw_only=True)
class Writer:
    """A model that is ready, with what is asked of it."""

    transcriber: Transcriber
    options: TranscriptionOptions

    @property
    def all(self) -> Iterator[Transcriber]:
        """The one."""
        yield self.transcriber

    def heard(self, part: Sequence[Line], told: Told) -> list[Row]:
        """What became of each input: `id`, `audio` and `transcript`, or `failed`."""
        return [
            {
                "id": one.measured.entry.id,
                "audio": one_line(str(one.measured.entry.audio)),
                "transcript": to_plain(one.transcript),
            }
            if isinstance(one, HeardInput)
            else {"failed": one_line(str(one))}
            for one in hear(self.transcriber, part, self.options, told)
        ]


@dataclass
class Outcome:
    """What became of the inputs. Memory is bounded by the lines on what failed."""

    inputs: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class BulkTranscriber:
    """A model, and the cluster whose actors have it as well."""

    writer: Writer
    cluster: Cluster
    part_minutes: float = 20.0
    """Of sound, after which what was heard is put away."""
    formats: tuple[Format, ...] = ()
    """Of files for each input, beside the lines."""

    def transcribe(self, source: Path | str, output: Path, watched: Watched) -> Outcome:
        """Transcribe a source into a folder.

        Raises UsageError and ManifestError for what is no source, GuidanceError where the model
        cannot do what is asked, StorageError where the folder holds something else.
        """
        self.writer.transcriber.transcribe_files([], self.writer.options)
        inputs = open_inputs(source)
        if inputs.shards is None:
            check_apart(Path(source), output, (TRANSCRIPTS, REPORT))
        total = sum(1 for _ in inputs.read())
        if not total:
            raise ManifestError(shown_address(str(source)), None, None, "holds no cut")
        with reserved(output):
            parts = Parts(output / "heard", self._job(inputs))
            parts.begin()
            with watched(total) as told:
                self._fill(parts, inputs, told)
            outcome = self._written(parts, inputs, output, names_beside(Path(source), output))
            report = {
                "source": shown_address(str(source)),
                "model": model_name(self.writer.transcriber),
                "options": to_plain(self.writer.options),
                "inputs": outcome.inputs,
                "failed": repeated(outcome.failures, "inputs"),
                "warnings": outcome.warnings,
            }
            text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
            write_whole(output / REPORT, text.encode())
        return outcome

    def _job(self, inputs: Inputs) -> Row:
        options = to_plain(self.writer.options)
        del options["batch_size"]  # a smaller one, for want of memory, hears the same
        return {
            "format": FORMAT,
            "work": "transcripts",
            "input": inputs.digest,
            "model": model_digest(self.writer.transcriber),
            "options": options,
            "part_minutes": self.part_minutes,
        }

    def _fill(self, parts: Parts, inputs: Inputs, told: Told) -> None:
        """Have every part heard that is not there yet; where all are, no cluster is asked."""
        units = missing(units_of(inputs, self.part_minutes), parts, told)
        first = next(units, None)
        if first is None:
            return
        with self.cluster.opened([model_digest(self.writer.transcriber)]) as actors:
            for unit, rows in actors.rows(chain([first], units)):
                parts.write(unit.number, unit.first, rows)
                for row in rows:
                    told(row["transcript"]["duration_seconds"] if "transcript" in row else 0.0)

    def _written(self, parts: Parts, inputs: Inputs, output: Path, names: set[str]) -> Outcome:
        """What there is of all inputs, as lines and files that have none of these names."""
        outcome = Outcome()
        with packed_lines(output, TRANSCRIPTS) as (lines,):
            for unit in units_of(inputs, self.part_minutes):
                for row in parts.again(unit.number, unit.first, len(unit.items)):
                    outcome.inputs += 1
                    if "failed" in row:
                        outcome.failures[row["failed"]] += 1
                        lines.add(row)
                        continue
                    transcript = from_plain(Transcript, row["transcript"])
                    self._add(row, transcript, lines, outcome)
                    name = new_name(row["id"], names) if self.formats else ""
                    for ending, content in files_of(transcript, self.formats):
                        write_whole(output / f"{name}{ending}", content)
        return outcome

    def _add(self, row: Row, transcript: Transcript, lines: Lines, outcome: Outcome) -> None:
        line: dict[str, Any] = {"id": row["id"], "audio": row["audio"], **document(transcript)}
        if transcript.translation is not None:
            line["translation"] = document(transcript.translation)
        if transcript.warnings:
            line["warnings"] = list(transcript.warnings)
            outcome.warnings += [one_line(f"{row['audio']}: {w}") for w in transcript.warnings]
        lines.add(line)


def names_beside(source: Path, output: Path) -> set[str]:
    """The source's own name, without its endings, where it lies in the folder that is written
    into."""
    beside = source.parent.is_dir() and source.parent.samefile(output)
    return {source.name.partition(".")[0]} if beside else set()


def new_name(identity: str, taken: set[str]) -> str:
    """A file's name without its ending, from an input's id, that nobody has yet; it is taken."""
    name = re.sub(r"[^\w-]+", "-", identity).strip("-") or "utterance"
    if len(name.encode()) > LONGEST_NAME:
        digest = sha256_of(identity.encode("utf-8", "surrogatepass"))
        name = f"{name.encode()[: LONGEST_NAME // 2].decode(errors='ignore')}-{digest[:12]}"
    found, number = name, 2
    while found in taken or found == "report":
        found, number = f"{name}-{number}", number + 1
    taken.add(found)
    return found
