"""`turnout evaluate`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from turnout.cli.options import MODEL, SPEECH, ModelOptions, SpeechOptions
from turnout.cli.transcribe import TaskName


def evaluate(
    data: list[Path],
    /,
    *,
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
    raise NotImplementedError
