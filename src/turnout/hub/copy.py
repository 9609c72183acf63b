"""A model of the cache -> a folder of the user's own, tensor by tensor."""

from pathlib import Path

from turnout.hub.transformers_folder import read_header
from turnout.hub.weights import Watched, weights_parts
from turnout.model_folder import WEIGHTS, ModelFolder, files_of_model, write_folder
from turnout.verified_folder import CARD, read_bytes


def copy_model(
    model: ModelFolder, folder: Path, *, half: bool = False, watched: Watched = lambda names: names
) -> Path:
    """Write the model, whose graphs hold no weights, to `folder` too, whole or not at all; with
    `half` its float32 is rounded to float16.

    Raises ModelFolderError and StorageError, and leaves what was there.
    """
    files_of_model(folder)  # before the work: something else than a model is not overwritten
    files = {name: model.read(name) for name in model.digests if name != WEIGHTS}
    if (model.path / CARD).is_file():
        files[CARD] = read_bytes(model.path, CARD)
    tensors = read_header(model.path / WEIGHTS)
    parts = weights_parts(tensors, half=half, watched=watched)
    write_folder(folder, {**files, WEIGHTS: parts})
    return folder
