"""`turnout label`."""

from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from turnout.cli.options import MODEL, ModelOptions, transcriber_of
from turnout.cli.terminal import complain, hushed_libraries, note, show
from turnout.config.labelling import LabelConfig
from turnout.config.transcription import AUTO, TaskName, TranscriptionOptions
from turnout.errors import UsageError
from turnout.progress import Pace, pace_progress

if TYPE_CHECKING:
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
class WorkOptions:
    """What is compared, and how often work is put away."""

    second: str | None = None
    """Another model: labels are dropped of which it writes something else (--max-disagreement)."""
    part_minutes: float = 20.0
    """Minutes of sound after which what was heard is put away: a killed run loses no more."""

    def __post_init__(self) -> None:
        if not 0 < self.part_minutes < inf:
            raise UsageError(
                f"--part-minutes is {self.part_minutes:g}: it must be above 0, and finite"
            )


OPTIONS = HearingOptions()
CHOICE = LabelConfig()
WORK = WorkOptions()


def label(
    source: Path,
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
        Cuts (`*.jsonl.gz`), with texts or without; JSON lines with `audio_filepath`; or a folder of
        recordings, which are cut at pauses where they are longer than the model's window.
    output
        Folder for the labels: `cuts.jsonl.gz` is for `turnout train`; `dropped.jsonl.gz`,
        `report.json` and `report.html` say what was dropped and why.
    """
    check_choice(choice, options)
    from turnout.labelling.label import Labeller

    labeller = Labeller(
        transcriber=transcriber_of(model),
        second=None if work.second is None else transcriber_of(second_of(model, work.second)),
        options=options,
        config=choice,
        part_minutes=work.part_minutes,
    )
    pace = Pace()
    with hushed_libraries():
        report = labeller.label(
            source, output, lambda total: pace_progress("labelling", total, pace)
        )
    return told(report, output, pace)


def second_of(model: ModelOptions, name: str) -> ModelOptions:
    """The same for another model, which has no adapters."""
    return replace(model, model=name, adapter=())


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
    note(f"labels -> {output / 'cuts.jsonl.gz'}; what was dropped and why -> {output}/report.html")
    for line in report.failed[:MOST_LISTED]:
        complain(f"failed: {line}")
    if len(report.failed) > MOST_LISTED:
        complain(f"failed in all: {len(report.failed):,}: {output}/report.json lists them")
    if report.warnings:
        count = len(report.warnings)
        complain(f"warnings on recordings: {count:,}: {output}/report.json lists them")
    return int(bool(report.failed))
