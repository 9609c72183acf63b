"""`turnout convert`."""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from turnout.cli.terminal import note, say
from turnout.errors import MissingExtra, UsageError


def convert(
    source: str,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    half: bool = False,
    to: Literal["turnout", "transformers"] = "turnout",
) -> int:
    """Turn a Whisper checkpoint into a model folder, which `--model` takes; needs no PyTorch.

    Parameters
    ----------
    source
        Folder of Transformers (model.safetensors) or CTranslate2 (model.bin), tokenizer included;
        or a name (whisper-base, hf://owner/name[@revision]), whose files are fetched.
    output
        Model folder to write.
    half
        Round float32 to float16: half the size.
    to
        'transformers' is the way back: a dense model folder of Whisper's shape (or its name) as
        other programs take it, its tensors as they are stored.
    """
    if to == "transformers":
        return back(source, output, half)
    from turnout.hub.resolve import checkpoint_at

    began = perf_counter()
    with checkpoint_at(source, note) as (folder, origin):
        write(folder, output, origin, half)
    note(f"converted in {perf_counter() - began:.1f} s")
    say(str(output))
    return 0


def back(model: str, output: Path, half: bool) -> int:
    """Write a model folder as Transformers has it."""
    from turnout.hub.resolve import open_model
    from turnout.hub.to_transformers import to_transformers

    if half:
        raise UsageError("--half is for what is converted to a model folder: there it may be given")
    to_transformers(open_model(model, note), output)
    say(str(output))
    return 0


def write(folder: Path, output: Path, origin: Mapping[str, str] | None, half: bool) -> None:
    """Convert a checkpoint's folder; with PyTorch where that is there and its shape needs it."""
    from turnout.hub.convert import describe, read_checkpoint, write_checkpoint
    from turnout.progress import progress

    def watched(names: list[str]) -> Iterable[str]:
        return progress(names, "converting", len(names))

    checkpoint = read_checkpoint(folder)
    note(describe(checkpoint, half=half))
    fixed: dict[str, Any] = {"origin": origin, "half": half, "watched": watched}
    try:
        write_checkpoint(checkpoint, output, **fixed)
    except MissingExtra:  # its shape is not one whose graphs are built without PyTorch
        if find_spec("torch") is None:
            raise
        from turnout.export.save import export_folder

        write_checkpoint(checkpoint, output, graphs=lambda _: {}, **fixed)
        export_folder(output)
