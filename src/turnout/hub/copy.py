"""A model folder -> another one of the same model, tensor by tensor: a copy, or in fewer bits."""

from pathlib import Path

from turnout.errors import UsageError
from turnout.hub.card import remade
from turnout.hub.rounding import Precision, in_precision
from turnout.hub.transformers_folder import read_header
from turnout.hub.weights import Watched
from turnout.model_folder import WEIGHTS, ModelFolder, files_of_model, write_folder


def copy_model(
    model: ModelFolder,
    folder: Path,
    *,
    precision: Precision = "stored",
    watched: Watched = lambda names: names,
) -> Path:
    """Write the model, whose graphs hold no weights, to `folder` too, in this precision, whole or
    not at all.

    Raises ModelFolderError, for a model in int8 too, UsageError where it would be written over
    itself, and StorageError, and leaves what was there.
    """
    check_copy(model, folder)
    files = {name: model.read(name) for name in model.digests if name != WEIGHTS}
    files |= {name: card_of(card, precision) for name, card in model.card().items()}
    tensors = read_header(model.path / WEIGHTS)
    write_folder(folder, in_precision(files, tensors, precision, place=model.path, watched=watched))
    return folder


def check_copy(model: ModelFolder, folder: Path) -> None:
    """Raise as `copy_model` does where the model cannot be written to `folder`: before any work."""
    files_of_model(folder)  # something else than a model is not overwritten
    model.require_floats("another precision is made of")
    if folder.resolve() == model.path.resolve():
        raise UsageError(f"{folder} is the model itself: choose another folder with -o")
    model.require(WEIGHTS)


def card_of(card: bytes, precision: Precision) -> bytes:
    """The card of the copy, which says where its matrices are int8."""
    if precision != "int8":
        return card
    said = ["weights: matrices rounded to int8; only ONNX Runtime computes with them"]
    return remade(card.decode("utf-8", "replace"), "A model in int8", said).encode()
