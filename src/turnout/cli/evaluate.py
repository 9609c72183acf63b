"""`turnout evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from turnout.cli.configuration import read_config
from turnout.cli.options import MODEL, ModelOptions, transcriber_of
from turnout.cli.terminal import complain, hushed_libraries, note, show
from turnout.config.plain import from_plain
from turnout.config.sets import SetsConfig
from turnout.config.transcription import TaskName, TranscriptionOptions
from turnout.errors import ConfigError, UsageError
from turnout.files import write_whole
from turnout.progress import progress

if TYPE_CHECKING:
    from turnout.evaluation.report import Report
    from turnout.evaluation.sets import SetsReport


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(TranscriptionOptions):
    """Without word times, which no score counts."""

    task: TaskName = "both"
    """Which references are used; 'both' takes all that the data have and the model can do."""
    word_timestamps: Annotated[bool, Parameter(parse=False)] = False


OPTIONS = EvaluationOptions()


def evaluate(
    *data: Annotated[str, Parameter(name="DATA")],
    sets: Path | None = None,
    options: Annotated[EvaluationOptions, Parameter(name="*")] = OPTIONS,
    limit: int | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    model: ModelOptions = MODEL,
) -> int:
    """Score a model: WER, CER, BLEU and chrF by bandwidth, task and language.

    Parameters
    ----------
    data
        Cuts (`*.jsonl.gz`), shards in a folder or at an address, or anything that `turnout prepare`
        reads.
    sets
        YAML file of several sets, each with what its recordings go through, in place of DATA: one
        table of all of them.
    limit
        Score this many utterances of each file of data, drawn with a fixed seed.
    output
        JSON file for the report, each utterance's texts included.
    """
    if bool(data) == (sets is not None):
        raise UsageError("name data to score (cuts or a corpus), or a file of sets with --sets")
    if sets is not None:
        return evaluate_sets(sets, options, limit, output, model)
    from turnout.evaluation.evaluate import evaluate as evaluate_model

    with hushed_libraries():
        report = evaluate_model(
            transcriber_of(model),
            data,
            options,
            limit=limit,
            watched=lambda results, total: progress(results, "scoring", total),
        )
    keep(report, output)
    for line in report.warnings:
        complain(f"warning: {line}")
    for line in report.failed:
        complain(f"error: {line}")
    if report.left_out:
        complain(f"{report.left_out} utterances have no text that this model could write")
    if report.unserved:
        complain(
            f"{report.unserved} texts count as empty: the model cannot do what was asked with the "
            "language that it found"
        )
    return int(bool(report.failed))


def evaluate_sets(
    path: Path,
    options: EvaluationOptions,
    limit: int | None,
    output: Path | None,
    model: ModelOptions,
) -> int:
    """Score a model on the sets of a file."""
    from turnout.evaluation import sets as room

    asked = read_sets(path)
    with hushed_libraries():
        report = room.evaluate_sets(
            transcriber_of(model),
            asked,
            options,
            limit=limit,
            watched=lambda name, results, total: progress(results, f"scoring {name}", total),
        )
    keep(report, output)
    for line in room.lines_of(report, lambda one: one.warnings):
        complain(f"warning: {line}")
    failed = room.lines_of(report, lambda one: one.failed)
    for line in failed:
        complain(f"error: {line}")
    return int(bool(failed))


def keep(report: "Report | SetsReport", output: Path | None) -> None:
    """Write a report where it is wanted, and show it."""
    # Before anything is shown: whoever reads that may have gone.
    if output is not None:
        write_whole(output, report.to_json().encode())
        note(f"report -> {output}")
    show(report)


def read_sets(path: Path) -> SetsConfig:
    """The sets of a YAML file; raises ConfigError, naming it."""
    content = read_config(path, SetsConfig, option="--sets")
    try:
        return from_plain(SetsConfig, content)
    except ConfigError as error:
        raise ConfigError(f"--sets {path}: {error}") from error
