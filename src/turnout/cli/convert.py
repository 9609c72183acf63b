"""`turnout convert`."""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from turnout.cli.terminal import complain, note, say
from turnout.errors import MissingExtra, UsageError
from turnout.progress import progress

if TYPE_CHECKING:
    from turnout.hub.checkpoint import Checkpoint
    from turnout.hub.rounding import Precision


def convert(
    source: str,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    half: bool = False,
    precision: Literal["float16", "int8"] | None = None,
    to: Literal["turnout", "transformers"] = "turnout",
) -> int:
    """Turn a Whisper checkpoint into a model folder, which `--model` takes; needs no PyTorch.

    Parameters
    ----------
    source
        Folder of Transformers (model.safetensors) or CTranslate2 (model.bin), tokenizer included;
        or a name (whisper-base, hf://owner/name[@revision]): what the cache has, or is fetched.
        With --precision also a model folder, or the name of a model that ships.
    output
        Model folder to write.
    half
        Round float32 to float16: half the size.
    precision
        'float16' is --half; 'int8' rounds the matrices to int8, a quarter of the size, for ONNX
        Runtime alone.
    to
        'transformers' is the way back: a dense model folder of Whisper's shape (or its name) as
        other programs take it, its tensors as they are stored.
    """
    if half and precision == "int8":
        raise UsageError("--half is float16, and --precision says int8: give one of them")
    chosen: Precision = "float16" if half else precision or "stored"
    if to == "transformers":
        return back(source, output, chosen)
    from turnout.hub.resolve import checkpoint_at, in_cache, is_model, open_model

    began = perf_counter()
    if in_cache(source) or (precision is not None and is_model(source)):
        from turnout.hub.copy import copy_model

        where = "in the cache" if in_cache(source) else "there"
        note(f"{source}: copying what is {where}")
        copy_model(open_model(source, note), output, precision=chosen, watched=watched)
    else:
        with checkpoint_at(source, note) as (folder, origin):
            write(folder, output, origin, chosen)
    note(f"converted in {perf_counter() - began:.1f} s")
    say(str(output))
    return 0


def back(model: str, output: Path, precision: "Precision") -> int:
    """Write a model folder as Transformers has it."""
    from turnout.hub.resolve import open_model
    from turnout.hub.to_transformers import to_transformers

    if precision != "stored":
        raise UsageError(
            "--half and --precision are for what is converted to a model folder: there they may be "
            "given"
        )
    for line in to_transformers(open_model(model, note), output):
        complain(f"warning: {line}")
    say(str(output))
    return 0


def write(
    folder: Path, output: Path, origin: Mapping[str, str] | None, precision: "Precision"
) -> None:
    """Convert a checkpoint's folder; with PyTorch where that is there and its shape needs it."""
    from turnout.hub.convert import describe, read_checkpoint, write_checkpoint

    checkpoint = read_checkpoint(folder)
    note(describe(checkpoint, half=precision == "float16"))
    try:
        write_checkpoint(checkpoint, output, origin=origin, precision=precision, watched=watched)
    except MissingExtra:  # its shape is not one whose graphs are built without PyTorch
        if find_spec("torch") is None:
            raise
        write_exported(checkpoint, output, origin, precision)


def write_exported(
    checkpoint: "Checkpoint",
    output: Path,
    origin: Mapping[str, str] | None,
    precision: "Precision",
) -> None:
    """Convert a checkpoint whose graphs PyTorch writes."""
    from turnout.export.save import export_folder
    from turnout.hub.convert import write_checkpoint
    from turnout.hub.copy import copy_model
    from turnout.model_folder import ModelFolder

    floats: Precision = "stored" if precision == "int8" else precision
    with TemporaryDirectory() as place:
        path = Path(place) / "model" if precision == "int8" else output
        write_checkpoint(
            checkpoint,
            path,
            origin=origin,
            precision=floats,
            watched=watched,
            graphs=lambda _: {},
        )
        export_folder(path)
        if precision == "int8":
            copy_model(ModelFolder.open(path), output, precision=precision, watched=watched)


def watched(names: list[str]) -> Iterable[str]:
    """The names of tensors, under a bar."""
    return progress(names, "converting", len(names))
