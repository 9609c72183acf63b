"""A model folder with weights -> the same folder with ONNX graphs, checked against the weights."""

from pathlib import Path

from turnout.backends.onnx import OnnxBackend
from turnout.backends.torch import TorchBackend, load_model
from turnout.export.parity import check_parity
from turnout.export.save import weights_bytes
from turnout.model.speech_model import SpeechModel
from turnout.model_folder.folder import (
    DECODER,
    ENCODER,
    WEIGHTS,
    ModelFolder,
    resolve,
    write_folder,
)


def export_folder(path: str | Path, *, half: bool = False) -> Path:
    """Write `encoder.onnx` and, where there is a decoder, `decoder.onnx` into the folder.

    The graphs store the weights as the folder does; `half` first rounds the folder's own to
    float16. Raises ExportError, and leaves the folder as it was, where log-probabilities differ by
    more than 1e-4.
    """
    folder = ModelFolder.open(resolve(path))
    folder.require(WEIGHTS)
    model = load_model(folder)
    files = folder.files()
    if half:
        model = model.half().float()
        files[WEIGHTS] = weights_bytes(model, half=True)
    graphs = graphs_of(model)
    found = OnnxBackend(folder.config, graphs[ENCODER], graphs.get(DECODER), threads=1)
    check_parity(TorchBackend(model), found)
    write_folder(folder.path, {**files, **graphs})
    return folder.path


def graphs_of(model: SpeechModel) -> dict[str, bytes]:
    """The ONNX files of a model by name."""
    from turnout.export.graphs import (  # noqa: PLC0415 - slow to import
        build_graph,
        decoder_plan,
        encoder_plan,
    )
    from turnout.export.storage import graph_bytes  # noqa: PLC0415

    files = {ENCODER: graph_bytes(build_graph(encoder_plan(model)))}
    if model.decoder is not None:
        files[DECODER] = graph_bytes(build_graph(decoder_plan(model)))
    return files
