"""`turnout label`."""

from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from turnout.cli.cluster import ClusterOptions, cluster_of
from turnout.cli.options import MODEL, ModelOptions, transcriber_of
from turnout.cli.terminal import complain, hushed_libraries, note, show
from turnout.config.labelling import LabelConfig
from turnout.config.transcription import AUTO, TaskName, TranscriptionOptions
from turnout.errors import UsageError
from turnout.progress import Pace, pace_progress

if TYPE_CHECKING:
    from turnout.labelling.models import Models
    from turnout.labelling.report import Report

MOST_LISTED = 20
"""Failures on the terminal; the report has all of them."""


@dataclass(frozen=True, kw_only=True)
class HearingOptions(TranscriptionOptions):
    """Without what a label has no use for."""

    task: Annotated[TaskName, Parameter(parse=False)] = "transcribe"
    target_language: Annotated[str | None, Parameter(parse=False)] = None
    word_timestamps: Annotated[bool, Parameter(parse=False)] = False
    track: Annotated[int | None, Parameter(parse=False)] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WorkOptions(ClusterOptions):
    """What is compared, how often work is put away, and where it is done."""

    second: str | None = None
    """Another model: labels are dropped of which it writes something else (--max-disagreement)."""
    part_minutes: float = 20.0
    """Minutes of sound after which what was heard is put away: a killed run loses no more."""
    shards: str | None = None
    """Folder or address for the shards that come of shards; by default the folder 'shards' in the
    output's, where those of another choice are replaced."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.part_minutes < inf:
            raise UsageError(
                f"--part-minutes is {self.part_minutes:g}: it must be above 0, and finite"
            )


OPTIONS = HearingOptions()
CHOICE = LabelConfig()
WORK = WorkOptions()


def label(
    source: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "--output-dir", "-o"))],
    work: WorkOptions = WORK,
    choice: Annotated[LabelConfig, Parameter(name="*")] = CHOICE,
    options: Annotated[HearingOptions, Parameter(name="*")] = OPTIONS,
    model: ModelOptions = MODEL,
) -> int:
    """Write labels for speech that has none: cuts to train on, with how sure each text is.

    Stopped and started again, it goes on. With other bounds, it chooses anew among what was heard.

    Parameters
    ----------
    source
        Cuts (`*.jsonl.gz`), with texts or without; JSON lines with `audio_filepath`; a folder of
        recordings, which are cut at pauses where they are longer than the model's window; or
        shards, in a folder or at an address.
    output
        Folder for the labels: `cuts.jsonl.gz`, or `shards` where shards were labelled, is for
        `turnout train`; `dropped.jsonl.gz`, `report.json` and `report.html` say what was dropped
        and why.
    """
    check_choice(choice, options)
    from turnout.labelling.label import Labeller

    labeller = Labeller(
        models=models_of(work.here(model), work.second, options),
        config=choice,
        part_minutes=work.part_minutes,
        shards=work.shards,
        cluster=cluster_of(work, partial(models_of, work.there(model), work.second, options)),
    )
    pace = Pace()
    with hushed_libraries():
        report = labeller.label(
            source, output, lambda total: pace_progress("labelling", total, pace)
        )
    return told(report, output, pace)


def models_of(model: ModelOptions, second: str | None, options: HearingOptions) -> "Models":
    """The models, ready; the second one has no adapters."""
    from turnout.labelling.models import Models

    other = None if second is None else replace(model, model=second, adapter=())
    return Models(
        transcriber=transcriber_of(model),
        second=None if other is None else transcriber_of(other),
        options=options,
    )


def check_choice(choice: LabelConfig, options: HearingOptions) -> None:
    """Raise UsageError where what is told is chosen by as if it were found."""
    if options.language in (None, AUTO):
        return
    for name in ("languages", "min_language_probability"):
        if getattr(choice, name):
            raise UsageError(
                f"--{name.replace('_', '-')} chooses by the language that is found, and --language "
                f"{options.language} finds none: leave out one of them"
            )


def told(report: "Report", output: Path, pace: Pace) -> int:
    """Say what came out; 1 where some inputs could not be heard."""
    show(report)
    note(f"heard now: {pace}" if pace.hours else "nothing was heard anew")
    note(f"labels -> {report.place}; what was dropped and why -> {output}/report.html")
    for line in report.failed[:MOST_LISTED]:
        complain(f"failed: {line}")
    if len(report.failed) > MOST_LISTED:
        count = report.failures.total()
        complain(f"failed in all: {count:,}: {output}/report.json lists them")
    if report.warnings:
        count = len(report.warnings)
        complain(f"warnings on recordings: {count:,}: {output}/report.json lists them")
    return int(bool(report.failed))
