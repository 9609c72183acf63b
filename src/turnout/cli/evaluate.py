"""`turnout evaluate`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from turnout.cli.options import MODEL, SPEECH, ModelOptions, SpeechOptions, transcriber_of, words_of
from turnout.cli.terminal import complain, note, show, track, write_file
from turnout.cli.transcribe import TaskName


def evaluate(
    *data: Annotated[Path, Parameter(name="DATA", required=True)],
    task: TaskName = "both",
    limit: int | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    speech: SpeechOptions = SPEECH,
    model: ModelOptions = MODEL,
) -> int:
    """Score a model: WER, CER, BLEU and chrF by bandwidth, task and language.

    Parameters
    ----------
    data
        Cuts (`*.jsonl.gz`), or anything that `turnout prepare` reads.
    task
        Which references are used; 'both' takes all that the data have and the model can do.
    limit
        Score this many utterances of each file of data, drawn with a fixed seed.
    output
        JSON file for the report, each utterance's texts included.
    """
    from turnout.evaluation.evaluate import evaluate as evaluate_model

    report = evaluate_model(
        transcriber_of(model),
        data,
        {**words_of(speech), "task": task},
        limit=limit,
        watched=lambda results, total: track(results, total, "scoring"),
    )
    show(report)
    for line in report.failed:
        complain(f"error: {line}")
    if report.left_out:
        complain(f"{report.left_out} utterances have no text that this model could write")
    if output is not None:
        write_file(output, report.to_json())
        note(f"report -> {output}")
    return int(bool(report.failed))
