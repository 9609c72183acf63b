"""Whole folders through the export; slow, since tracing is."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load as load_tensors

from tests.adapted import base_in, supervised
from tests.models import EXPORTED, exported, saved
from tests.tiny_whisper import whisper_config
from turnout.backends.onnx import OnnxBackend
from turnout.backends.sessions import weight_names
from turnout.cli import main
from turnout.config import RoutingConfig
from turnout.errors import ExportError, ModelFolderError
from turnout.export import save, tracing
from turnout.export.save import export_folder
from turnout.hub import whisper_graphs
from turnout.model_folder import CONFIG, DECODER, ENCODER, WEIGHTS, ModelFolder, write_folder
from turnout.transcription.transcriber import load

pytestmark = pytest.mark.slow
VERSION_1 = Path(__file__).parents[2] / "data" / "model-v1"


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


@pytest.mark.parametrize("shape", EXPORTED)
def test_the_graphs_hold_no_weights_and_say_nothing_of_this_machine(shape: str) -> None:
    folder = ModelFolder.open(exported(shape))
    stored = load_tensors(folder.read(WEIGHTS))
    wanted: set[str] = set()
    for name in {ENCODER, DECODER} & folder.digests.keys():
        data = folder.read(name)
        assert str(Path.cwd()).encode() not in data
        inside = [
            tensor
            for tensor in onnx.ModelProto.FromString(data).graph.initializer
            if tensor.data_location != onnx.TensorProto.EXTERNAL
        ]
        assert sum(len(tensor.raw_data) for tensor in inside) < 500, "weights, or a table"
        wanted |= set(weight_names(data))
    assert wanted == stored.keys()


def test_a_folder_of_version_1_becomes_one_of_version_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    shutil.copytree(VERSION_1, path)
    before = ModelFolder.open(VERSION_1)
    # Another model's: tracing takes long, and what it gives is shown above.
    graphs = whisper_graphs.graphs_of(whisper_config())
    monkeypatch.setattr(tracing, "graphs_of", lambda _: graphs)
    compared: list[object] = []
    monkeypatch.setattr(save, "open_onnx", lambda folder, _: compared.append(folder.files()))
    monkeypatch.setattr(save, "check_parity", lambda *given: compared.append(given))
    export_folder(path)
    after = ModelFolder.open(path)
    assert compared[0] == after.files() and len(compared) == 2
    assert graphs == {name: after.read(name) for name in graphs}
    assert json.loads(after.read(CONFIG))["format_version"] == 2
    assert after.config == before.config
    assert after.read(WEIGHTS) == before.read(WEIGHTS)
    assert all(weight_names(after.read(name)) for name in (ENCODER, DECODER))


@pytest.mark.parametrize("stacks", [(), ("encoder", "decoder")], ids=["dense", "supervised"])
def test_whispers_graphs_are_those_that_are_built_for_it(
    tmp_path: Path, stacks: tuple[str, ...]
) -> None:
    routings = dict.fromkeys(stacks, RoutingConfig(kind="supervised"))
    path = supervised(base_in(tmp_path), tmp_path / "model", routings)
    before = ModelFolder.open(path)
    files = {name: data for name, data in before.files().items() if not name.endswith(".onnx")}
    write_folder(path, files)
    export_folder(path)
    assert ModelFolder.open(path).digests == before.digests


@pytest.mark.parametrize("place", ["letters", "base"])
def test_where_int8_cannot_be_written_is_told_before_the_model_is_changed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
) -> None:
    base = base_in(tmp_path)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("dear")
    monkeypatch.setattr(save, "load_model", lambda _: pytest.fail("a minute's work came first"))
    words = ["export", "--model", str(base), "--precision", "int8", "-o", str(tmp_path / place)]
    assert main(words) != 0
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "is not a model folder" in line or "is the model itself" in line


def test_graphs_without_the_weights_they_want_are_refused(tmp_path: Path) -> None:
    files = ModelFolder.open(exported("supervised")).files()
    del files[WEIGHTS]
    write_folder(tmp_path / "model", files)
    with pytest.raises(ModelFolderError, match=r"model\.safetensors is not listed"):
        load(tmp_path / "model")


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
    monkeypatch.setattr(tracing, "graphs_of", lambda _: graphs)
    with pytest.raises(ExportError, match="of the decoder differ"):
        export_folder(path)
    assert not ModelFolder.open(path).has(ENCODER)


def spoiled(graph: bytes) -> bytes:
    """The same graph with its largest constant of floats changed."""
    model = onnx.ModelProto.FromString(graph)
    inside = [one for one in model.graph.initializer if one.data_type == one.FLOAT and one.raw_data]
    tensor = max(inside, key=lambda one: len(one.raw_data))
    array = onnx.numpy_helper.to_array(tensor) * np.float32(1.01)
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return model.SerializeToString()
