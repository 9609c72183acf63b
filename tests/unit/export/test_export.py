"""Whole folders through the export; slow, since tracing is."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.models import exported, saved
from turnout.backends.onnx import OnnxBackend
from turnout.errors import ExportError, ModelFolderError
from turnout.export import folder as export_room
from turnout.export.folder import export_folder
from turnout.model_folder.folder import DECODER, ENCODER, WEIGHTS, ModelFolder, write_folder
from turnout.transcription.transcriber import load

pytestmark = pytest.mark.slow


def test_the_graphs_join_the_weights_and_become_the_default() -> None:
    folder = ModelFolder.open(exported("supervised"))
    before = ModelFolder.open(saved("supervised"))
    assert set(folder.digests) == {*before.digests, ENCODER, DECODER}
    assert folder.read(WEIGHTS) == before.read(WEIGHTS)
    assert isinstance(load(folder.path).backend, OnnxBackend)
    result = load(folder.path, threads=1).transcribe(b"".join(tone_wav()), task="both")
    assert result.duration_seconds == 0.5


def tone_wav() -> list[bytes]:
    import io

    import soundfile

    from tests.doubles import tone

    file = io.BytesIO()
    soundfile.write(file, tone(0.5), 16_000, format="WAV")
    return [file.getvalue()]


def test_the_graphs_are_small_dynamic_and_say_nothing_of_this_machine() -> None:
    folder = ModelFolder.open(exported("supervised"))
    weights = len(folder.read(WEIGHTS))
    for name in (ENCODER, DECODER):
        data = folder.read(name)
        assert str(Path.cwd()).encode() not in data
        graph = onnx.ModelProto.FromString(data).graph
        half = [t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
        full = [t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
        values = {kind: sum(int(np.prod(t.dims)) for t in tensors) for kind, tensors in
                  (("half", half), ("full", full))}  # fmt: skip
        assert values["full"] < 0.02 * values["half"]
        assert 2 * values["half"] < weights
    assert len(folder.read(ENCODER)) + len(folder.read(DECODER)) < 2.5 * weights


def test_a_folder_without_weights_cannot_be_exported(tmp_path: Path) -> None:
    files = ModelFolder.open(exported("supervised")).files()
    del files[WEIGHTS]
    write_folder(tmp_path / "model", files)
    with pytest.raises(ModelFolderError, match=r"model\.safetensors is not listed"):
        export_folder(tmp_path / "model")


def test_graphs_that_differ_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    shutil.copytree(saved("supervised"), path)
    other = ModelFolder.open(exported("supervised"))
    # the encoder of this model, the decoder of another seed's: what a wrong trace would give
    graphs = {ENCODER: other.read(ENCODER), DECODER: spoiled(other.read(DECODER))}
    monkeypatch.setattr(export_room, "graphs_of", lambda _: graphs)
    with pytest.raises(ExportError, match="of the decoder differ"):
        export_folder(path)
    assert not ModelFolder.open(path).has(ENCODER)


def spoiled(graph: bytes) -> bytes:
    """The same graph with one weight changed."""
    model = onnx.ModelProto.FromString(graph)
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    array = onnx.numpy_helper.to_array(tensor) * np.float16(1.01)
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return model.SerializeToString()
