"""`turnout evaluate`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from turnout.cli.cluster import ClusterOptions, cluster_of
from turnout.cli.configuration import read_config
from turnout.cli.options import MODEL, ModelOptions, existing, transcriber_of
from turnout.cli.terminal import complain, hushed_libraries, note, show
from turnout.config.plain import from_plain
from turnout.config.sets import SetChannel, SetsConfig
from turnout.config.transcription import TaskName, TranscriptionOptions
from turnout.errors import ConfigError, UsageError, amount
from turnout.files import write_whole
from turnout.progress import progress

if TYPE_CHECKING:
    from turnout.evaluation.report import Report
    from turnout.evaluation.sets import SetsReport
    from turnout.labelling.scoring import BulkScorer, Scorer

HEARD = ".heard"
"""Ending of the folder of what a cluster heard, beside the report."""
Asked = Sequence[str] | SetsConfig
"""Data, or the sets of a file."""


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(TranscriptionOptions):
    """Without word times, which no score counts."""

    task: TaskName = "both"
    """Which references are used; 'both' takes all that the data have and the model can do."""
    word_timestamps: Annotated[bool, Parameter(parse=False)] = False


OPTIONS = EvaluationOptions()
WHERE = ClusterOptions()


def evaluate(
    *data: Annotated[str, Parameter(name="DATA")],
    sets: Path | None = None,
    options: Annotated[EvaluationOptions, Parameter(name="*")] = OPTIONS,
    limit: int | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    where: ClusterOptions = WHERE,
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
        JSON file for the report, each utterance's texts included. With --engine, what was heard is
        put away beside it, in a folder of the same name that ends in `.heard`: the same command
        goes on after it was stopped.
    """
    if bool(data) == (sets is not None):
        raise UsageError("name data to score (cuts or a corpus), or a file of sets with --sets")
    check_report(output)
    asked = data if sets is None else read_sets(sets)
    with hushed_libraries():
        if where.engine is None:
            report = scored_here(asked, options, limit, model)
        else:
            bulk = bulk_scorer(asked, options, output, where, model)
            report = replace(bulk, limit=limit).scored(asked, watched)
    keep(report, output)
    return told(report)


def check_report(output: Path | None) -> None:
    """Raise UsageError where a report could not be written, before anything is heard for it."""
    if output is None:
        return
    if not output.name or output.is_dir() or not existing(output.parent).is_dir():
        raise UsageError(f"--output is {output}: a file of a folder is needed for the report")


def scored_here(
    asked: Asked, options: EvaluationOptions, limit: int | None, model: ModelOptions
) -> "Report | SetsReport":
    """The scores of what this process hears."""
    from turnout.evaluation.evaluate import evaluate as evaluate_model
    from turnout.evaluation.sets import evaluate_sets

    transcriber = transcriber_of(model)
    if isinstance(asked, SetsConfig):
        return evaluate_sets(transcriber, asked, options, limit=limit, watched=watched)
    bar = partial(watched, "")
    return evaluate_model(transcriber, asked, options, limit=limit, watched=bar)


def watched(name: str, outcomes: Iterable[Any], total: int) -> Iterable[Any]:
    """With a bar: of a set's outcomes, or of data that are no set."""
    return progress(outcomes, f"scoring {name}".strip(), total)


def told(report: "Report | SetsReport") -> int:
    """Say what there is to be known of a report; 1 where something could not be heard."""
    from turnout.evaluation.sets import SetsReport, lines_of

    if isinstance(report, SetsReport):
        warnings = lines_of(report, lambda one: one.warnings)
        failed = lines_of(report, lambda one: one.failed)
    else:
        warnings, failed = list(report.warnings), list(report.failed)
    for line in warnings:
        complain(f"warning: {line}")
    for line in failed:
        complain(f"error: {line}")
    if not isinstance(report, SetsReport):
        told_uncounted(report)
    return int(bool(failed))


def told_uncounted(report: "Report") -> None:
    """Say which texts are in no score, or are empty in it."""
    if report.left_out:
        complain(f"no text that this model could write: {amount(report.left_out, 'utterance')}")
    if report.unserved:
        complain(
            f"counted as empty: {amount(report.unserved, 'text')}: the model cannot do what was "
            "asked with the language that it found"
        )


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


def bulk_scorer(
    asked: Asked,
    options: EvaluationOptions,
    output: Path | None,
    where: ClusterOptions,
    model: ModelOptions,
) -> "BulkScorer":
    """The model, here and on a cluster; raises UsageError without a place for what is heard."""
    if output is None:
        raise UsageError(
            "--engine ray puts away what was heard beside the report: name one with --output"
        )
    from turnout.labelling.scoring import BulkScorer

    channels = tuple(one.channel for one in asked.sets) if isinstance(asked, SetsConfig) else ()
    there = partial(scorer_of, where.there(model), options, tuple(map(whole, channels)))
    cluster = cluster_of(where, there)
    assert cluster is not None
    scorer = scorer_of(where.here(model), options, channels)
    return BulkScorer(scorer=scorer, cluster=cluster, folder=heard_beside(output))


def heard_beside(output: Path) -> Path:
    """Where a report's cluster puts away what it heard."""
    return output.with_name(output.name.removesuffix(".json") + HEARD)


def scorer_of(
    model: ModelOptions, options: EvaluationOptions, channels: Sequence[SetChannel | None]
) -> "Scorer":
    """The model, ready, with the channels of sets."""
    from turnout.labelling.scoring import Scorer

    return Scorer.of(transcriber_of(model), options, channels)


def whole(channel: SetChannel | None) -> SetChannel | None:
    """The channel with the whole paths of its folders: an actor may be at home in another."""
    if channel is None:
        return None
    folders = {name: getattr(channel, name) for name in ("noises", "rooms")}
    found = {name: str(Path(path).absolute()) for name, path in folders.items() if path}
    return replace(channel, **found)
