"""`turnout evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from turnout.cli.options import MODEL, ModelOptions, transcriber_of
from turnout.cli.terminal import complain, hushed_libraries, note, show
from turnout.config.transcription import TaskName, TranscriptionOptions
from turnout.files import write_whole
from turnout.progress import progress


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(TranscriptionOptions):
    """Without word times, which no score counts."""

    task: TaskName = "both"
    """Which references are used; 'both' takes all that the data have and the model can do."""
    word_timestamps: Annotated[bool, Parameter(parse=False)] = False


OPTIONS = EvaluationOptions()


def evaluate(
    *data: Annotated[Path, Parameter(name="DATA", required=True)],
    options: Annotated[EvaluationOptions, Parameter(name="*")] = OPTIONS,
    limit: int | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    model: ModelOptions = MODEL,
) -> int:
    """Score a model: WER, CER, BLEU and chrF by bandwidth, task and language.

    Parameters
    ----------
    data
        Cuts (`*.jsonl.gz`), or anything that `turnout prepare` reads.
    limit
        Score this many utterances of each file of data, drawn with a fixed seed.
    output
        JSON file for the report, each utterance's texts included.
    """
    from turnout.evaluation.evaluate import evaluate as evaluate_model

    with hushed_libraries():
        report = evaluate_model(
            transcriber_of(model),
            data,
            options,
            limit=limit,
            watched=lambda results, total: progress(results, "scoring", total),
        )
    # Before anything is shown: whoever reads that may have gone.
    if output is not None:
        write_whole(output, report.to_json().encode())
        note(f"report -> {output}")
    show(report)
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
