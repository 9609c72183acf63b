"""`turnout inspect`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from turnout.cli.options import MODEL, SPEECH, ModelOptions, Recordings, SpeechOptions


def inspect(
    audio: Recordings,
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output-dir", "-o"))] = Path(),
    speech: SpeechOptions = SPEECH,
    model: ModelOptions = MODEL,
) -> int:
    """Show which expert each frame took, layer by layer, under the spectrogram and the words.

    Writes `<stem>.routing.png` and `<stem>.routing.json` for each recording, `routing.json` for
    all of them together, and prints load, agreement of the layers, and experts that took nothing.

    Parameters
    ----------
    output
        Folder for the files.
    """
    raise NotImplementedError
