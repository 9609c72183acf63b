"""`turnout convert`."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Annotated

from cyclopts import Parameter

from turnout.cli.terminal import note, say
from turnout.errors import MissingExtra


def convert(
    source: Path, /, *, output: Annotated[Path, Parameter(alias="-o")], half: bool = False
) -> int:
    """Turn a Whisper checkpoint into a model folder, which `--model` takes; needs no PyTorch.

    Parameters
    ----------
    source
        Folder of Transformers (model.safetensors) or CTranslate2 (model.bin), tokenizer included.
    output
        Model folder to write.
    half
        Round float32 to float16: half the size.
    """
    from turnout.hub.convert import describe, read_checkpoint, write_checkpoint
    from turnout.progress import progress

    def watched(names: list[str]) -> Iterable[str]:
        return progress(names, "converting", len(names))

    began = perf_counter()
    checkpoint = read_checkpoint(source)
    note(describe(checkpoint, half=half))
    try:
        write_checkpoint(checkpoint, output, half=half, watched=watched)
    except MissingExtra:  # its shape is not one whose graphs are built without PyTorch
        if find_spec("torch") is None:
            raise
        from turnout.export import export_folder

        write_checkpoint(checkpoint, output, half=half, watched=watched, graphs=lambda _: {})
        export_folder(output)
    note(f"converted in {perf_counter() - began:.1f} s")
    say(str(output))
    return 0
