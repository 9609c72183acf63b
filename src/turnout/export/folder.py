"""A model folder with weights -> the same folder with ONNX graphs, checked against the weights."""

from pathlib import Path

from turnout.backends.onnx import OnnxBackend
from turnout.backends.torch import TorchBackend, load_model
from turnout.export.parity import check_parity
from turnout.export.save import weights_bytes
from turnout.model.speech_model import SpeechModel
from turnout.model_folder import (
    CONFIG,
    DECODER,
    ENCODER,
    WEIGHTS,
    ModelFolder,
    config_bytes,
    resolve,
    write_folder,
)


def export_folder(path: str | Path, *, half: bool = False) -> Path:
    """Write `encoder.onnx` and, where there is a decoder, `decoder.onnx` into the folder, which is
    of the newest format version then.

    The graphs take the weights that the folder has; `half` first rounds them to float16. Raises
    ExportError, and leaves the folder as it was, where log-probabilities differ by more than 1e-4.
    """
    folder = ModelFolder.open(resolve(path))
    folder.require(WEIGHTS)
    model = load_model(folder)
    files = folder.files()
    if half:
        model = model.half().float()
        files[WEIGHTS] = weights_bytes(model, half=True)
    graphs = graphs_of(model)
    # What is compared with the model is what will be written.
    found = OnnxBackend(folder.config, graphs, lambda: files[WEIGHTS], threads=1)
    check_parity(TorchBackend(model), found)
    config = {CONFIG: config_bytes(folder.config, folder.tokenizer)}
    write_folder(folder.path, {**files, **graphs, **config})
    return folder.path


def graphs_of(model: SpeechModel) -> dict[str, bytes]:
    """The ONNX files of a model by name."""
    from turnout.export.graphs import decoder_plan, encoder_plan  # noqa: PLC0415 - slow to import
    from turnout.export.tracing import graph_bytes  # noqa: PLC0415

    files = {ENCODER: graph_bytes(encoder_plan(model))}
    if model.decoder is not None:
        files[DECODER] = graph_bytes(decoder_plan(model))
    return files
