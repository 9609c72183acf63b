"""`turnout export`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from turnout.cli.terminal import note, say
from turnout.errors import UsageError


def export(
    *,
    model: str,
    half: bool = False,
    precision: Literal["float16", "int8"] | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    adapter: tuple[str, ...] = (),
) -> int:
    """Write a model folder's ONNX graphs and check them against PyTorch, which takes a minute.

    Parameters
    ----------
    model
        Model folder, as training writes it, or the name of one that is fetched. It is changed, so
        there is no default.
    half
        Round the weights to float16 first, in the folder too: half the size.
    precision
        'float16' is --half. 'int8' writes a second folder, in which matrices are int8: a quarter of
        the size, for ONNX Runtime alone.
    output
        Model folder to write in int8.
    adapter
        Folder or name of an adapter of that model, whose experts are checked as well; may be given
        again.
    """
    if half and precision == "int8":
        raise UsageError("--half is float16, and --precision says int8: give one of them")
    if (precision == "int8") != (output is not None):
        raise UsageError(
            "--precision int8 and --output belong together: int8 is written beside the model, from "
            "which it cannot be told again"
        )
    from turnout.export.save import export_folder, export_int8

    if output is None:
        path = export_folder(model, half=half or precision == "float16", adapters=adapter, say=note)
    else:
        path = export_int8(model, output, adapters=adapter, say=note)
    say(str(path))
    return 0
