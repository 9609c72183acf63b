"""T7: model folders with code in them: none is ever run, and what cannot be used is refused in one
line. (Runs: test_hostile_runs.py; corpora and recipes: test_hostile_corpora.py.)

In the negative controls the same files are read as others read them, and the canary sings.
"""

import gzip
import io
import json
import os
import pickle
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession

from tests.models import saved
from tests.reliability.canaries import NESTED, Canary, Miners, refusal
from tests.reliability.mates import EXAMPLES
from tests.reliability.tally import Tally
from turnout.cli import main
from turnout.errors import TurnoutError
from turnout.model_folder import (
    CONFIG,
    DECODER,
    DIGESTS,
    ENCODER,
    TOKENIZER,
    WEIGHTS,
    ModelFolder,
    resolve,
    write_folder,
)
from turnout.transcription.transcriber import BackendName, load

RECORDING = EXAMPLES / "english-1.flac"
WHERE_FOUND: tuple[tuple[str, str, BackendName], ...] = (
    (WEIGHTS, "torch's zip", "torch"),
    (WEIGHTS, "torch's older file", "torch"),
    (WEIGHTS, "pickle of tensors", "torch"),
    (WEIGHTS, "tar", "torch"),
    (ENCODER, "pickle", "onnx"),
    (DECODER, "pickle of protocol 0", "onnx"),
    (TOKENIZER, "pickle", "onnx"),
    (TOKENIZER, "gzip", "torch"),
    (CONFIG, "pickle of protocol 0", "onnx"),
    (CONFIG, "NumPy objects", "torch"),
)
"""Files that are read, what they are instead, and who reads them."""
OTHER_NAMES = ("pytorch_model.bin", "model.pt", "model.ckpt", "weights.pkl")
"""Files that others read."""
UNREAD = {"torch": (ENCODER, DECODER), "onnx": (WEIGHTS,)}
"""Left out of the folders, to save writing."""


def shipped_files() -> dict[str, bytes]:
    """A model folder that is whole."""
    return ModelFolder.open(resolve("commands")).files()


def opened(folder: Path, backend: BackendName) -> None:
    """All that is read of a model folder."""
    load(folder, backend=backend, threads=1)


def torch_loads(data: bytes) -> None:
    """As it was done before there was safetensors."""
    torch.load(io.BytesIO(data), weights_only=False)


@pytest.mark.counts("T7", "pickles in model folders")
def test_model_folders_with_pickles(tally: Tally, tmp_path: Path) -> None:
    canary = Canary(tmp_path / "canary")
    miners, whole, pickles = Miners(tally, canary), shipped_files(), canary.pickles()
    for number, (name, kind, backend) in enumerate(WHERE_FOUND):
        folder = tmp_path / str(number)
        files = {name: data for name, data in whole.items() if name not in UNREAD[backend]}
        write_folder(folder, {**files, name: pickles[kind]})
        miners.refuse(f"{name} is {kind}", str(folder), opened, folder, backend)
    folder = tmp_path / "digests"
    write_folder(folder, {CONFIG: whole[CONFIG]})
    (folder / DIGESTS).write_bytes(pickles["pickle"])
    miners.refuse(f"{DIGESTS} is pickle", DIGESTS, opened, folder, "onnx")
    bare = {name: data for name, data in whole.items() if name in (CONFIG, TOKENIZER)}
    for name in OTHER_NAMES:
        folder = tmp_path / name
        write_folder(folder, {**bare, name: pickles["torch's zip"]})
        miners.refuse(f"{name} alone", "holds neither", opened, folder, "torch")
    write_folder(tmp_path / "more", {**whole, **dict.fromkeys(OTHER_NAMES, pickles["torch's zip"])})
    with miners.down("pickles beside a model"):
        opened(tmp_path / "more", "torch")
    miners.control(
        zipped=lambda: torch_loads((tmp_path / "0" / WEIGHTS).read_bytes()),
        older=lambda: torch_loads((tmp_path / "1" / WEIGHTS).read_bytes()),
        tensors=lambda: pickle.loads((tmp_path / "2" / WEIGHTS).read_bytes()),
        graph=lambda: pickle.loads((tmp_path / "4" / ENCODER).read_bytes()),
        tokenizer=lambda: pickle.loads(gzip.decompress((tmp_path / "7" / TOKENIZER).read_bytes())),
    )


Nodes = list[onnx.NodeProto]


def graph_of(
    nodes: Nodes, inputs: Sequence[str], outputs: dict[str, int], kind: int = onnx.TensorProto.FLOAT
) -> bytes:
    """A graph with these inputs, of two dimensions each, and outputs by number of dimensions."""
    value, free = onnx.helper.make_tensor_value_info, ("a", "b", "c", "d", "e")
    graph = onnx.helper.make_graph(
        nodes,
        "foreign",
        [value(name, kind, free[:2]) for name in inputs],
        [value(name, kind, free[:size]) for name, size in outputs.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()


def same(source: str, *targets: str) -> Nodes:
    """The source under other names."""
    return [onnx.helper.make_node("Identity", [source], [target]) for target in targets]


def graphs(whole: dict[str, bytes], canary: Canary) -> Iterator[tuple[str, str, bytes, str]]:
    """Graphs that are not turnout's: what is foreign, the file, its bytes, and what is said."""
    mask, boolean = "frame_mask", onnx.TensorProto.BOOL
    names: dict[str, int] = dict.fromkeys(
        ("hidden_mask", "ctc_log_probs", "cross_keys", "cross_values"), 2
    )
    yield "an input x", ENCODER, graph_of(same("x", "y"), ["x"], {"y": 2}), "the input 'x'"
    yield "a long input", DECODER, graph_of(same("x" * 9999, "y"), ["x" * 9999], {"y": 2}), "input"
    yield "no outputs", ENCODER, graph_of(same(mask, "y"), [mask], {"y": 2}, boolean), "lacks the"
    yield "no decoder", DECODER, graph_of(same("counts", "y"), ["counts"], {"y": 2}), "lacks the"
    yield "outputs alike", ENCODER, graph_of(same(mask, *names), [mask], names, boolean), "another"
    shape = onnx.helper.make_tensor("shape", onnx.TensorProto.INT64, [2], [7, 12345])
    fails = [
        onnx.helper.make_node("Constant", [], ["shape"], value=shape),
        onnx.helper.make_node("Reshape", [mask, "shape"], ["hidden_mask"]),
        *same(mask, *list(names)[1:]),
    ]
    yield "a node that fails", ENCODER, graph_of(fails, [mask], names, boolean), "cannot be run"
    wrong = graph_of(same("log_mel", *names), ["log_mel"], names)
    yield "an input of two dimensions", ENCODER, wrong, "cannot be run"
    model = onnx.load_from_string(whole[ENCODER])
    kept = next(item for item in model.graph.initializer if item.raw_data)
    kept.ClearField("raw_data")
    kept.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": str(canary.path), "length": "10"}.items():
        kept.external_data.add(key=key, value=value)
    yield "data outside", ENCODER, model.SerializeToString(), "lacks the tensor"
    constant = onnx.helper.make_node("Constant", [], ["shape"], value=kept)
    used = onnx.helper.make_node("Reshape", [mask, "shape"], ["hidden_mask"])
    outside = graph_of([constant, used, *same(mask, *list(names)[1:])], [mask], names, boolean)
    yield "data outside in a node", ENCODER, outside, "cannot take its graphs"


def transcribed_by(folder: Path) -> None:
    """What `turnout transcribe` does with a model folder."""
    load(folder, backend="onnx", threads=1).transcribe(RECORDING)


@pytest.mark.counts("T7", "foreign graphs")
def test_graphs_that_are_not_turnouts(
    tally: Tally, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    canary = Canary(tmp_path / "canary")
    miners, whole = Miners(tally, canary), shipped_files()
    failed = 0
    for number, (kind, name, graph, said) in enumerate(graphs(whole, canary)):
        folder = tmp_path / str(number)
        write_folder(folder, {**whole, name: graph})
        miners.refuse(f"{kind}, its folder", str(folder), transcribed_by, folder)
        miners.refuse(f"{kind}, what it is", said, transcribed_by, folder)
        with tally.trial(f"{kind}, printed"):
            printed = capfd.readouterr()
            assert not printed.err, printed.err
        with pytest.raises(Exception) as raised:
            session = InferenceSession(graph, providers=["CPUExecutionProvider"])
            session.run(["hidden_mask"], {"frame_mask": np.ones((1, 9), np.float32)})
        failed += not isinstance(raised.value, TurnoutError)
        capfd.readouterr()
    tally.measure(failed_otherwise_without_checks=failed)
    tally.controlled(failed > 0)


@contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """Raises AssertionError in what is inside where it takes longer."""

    def late(*_: object) -> None:
        raise AssertionError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(os.name != "posix", reason="needs pipes and devices as files")
@pytest.mark.counts("T7", "pipes and devices in model folders")
def test_model_folders_with_files_that_never_end(tally: Tally, tmp_path: Path) -> None:
    whole = {name: data for name, data in shipped_files().items() if name not in UNREAD["onnx"]}
    folder = tmp_path / "folder"
    for name in (CONFIG, TOKENIZER, ENCODER, DECODER, DIGESTS):
        for kind in ("pipe", "zeros"):
            write_folder(folder, whole)
            (folder / name).unlink()
            if kind == "pipe":
                os.mkfifo(folder / name)
            else:
                (folder / name).symlink_to("/dev/zero")
            with tally.trial(f"{name} is a {kind}"), deadline(20):
                said = refusal(opened, folder, "onnx")
                assert said is not None
                assert f"{name} cannot be read: is a pipe or device" in said, said
            shutil.rmtree(folder)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AssertionError), deadline(1):
        (tmp_path / "pipe").read_bytes()
    tally.controlled(True)


SIZES: tuple[tuple[tuple[str, ...], int], ...] = (
    (("encoder", "d_model"), 10**7),
    (("encoder", "d_feedforward"), 10**12),
    (("encoder", "num_layers"), 10**9),
    (("encoder", "conv_kernel"), 10**9 + 1),
    (("encoder", "d_model"), 10**30),
    (("encoder", "dropout"), 10**400),
    (("encoder", "routing", "num_experts"), 10**9),
    (("decoder", "num_layers"), 10**9),
    (("decoder", "d_feedforward"), 10**18),
    (("vocabulary", "size"), 10**12),
    (("features", "num_mels"), 10**8),
)
"""Keys of config.json, and what they become."""


@pytest.mark.counts("T7", "sizes in config.json")
def test_configurations_of_impossible_sizes(
    tally: Tally, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is refused before anything is made in that size."""
    whole = ModelFolder.open(saved("hybrid")).files()
    for number, (keys, value) in enumerate(SIZES):
        content = json.loads(whole[CONFIG])
        *path, last = ("model", *keys)
        inner = content
        for key in path:
            inner = inner[key]
        assert last in inner
        inner[last] = value
        folder = tmp_path / str(number)
        write_folder(folder, {**whole, CONFIG: json.dumps(content).encode()})
        name = f"{'.'.join(keys)} {value:.0e}" if value < 10**300 else "much more"
        with tally.trial(name), deadline(20):
            said = refusal(opened, folder, "torch")
            assert said is not None, "was not refused"
            assert CONFIG in said, said
        for words in (("export", str(folder)), ("inspect", str(RECORDING), "--model", str(folder))):
            with tally.trial(f"{name}, turnout {words[0]}"), deadline(20):
                status = main(words)
                lines = capsys.readouterr().err.splitlines()
                assert status in (1, 2), status
                assert len(lines) == 1, lines
                assert lines[0].startswith("turnout: error: "), lines
    with pytest.raises((RuntimeError, MemoryError)):
        torch.nn.Linear(10**7, 10**7)
    tally.controlled(True)


def configs_with_code(config: bytes, canary: Canary) -> Iterator[tuple[str, bytes]]:
    """What is hostile, and the config.json."""
    call = f"__import__('os').mkdir('{canary.path}')"
    keys: dict[str, Any] = {
        "auto_map": {"AutoModel": "evil.Model"},
        "_target_": "os.mkdir",
        "py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": [str(canary.path)]}],
        "__class__": "os.mkdir",
        "custom_code": call,
        "trust_remote_code": True,
    }
    for key, value in keys.items():
        content = json.loads(config)
        yield f"{key} at the top", json.dumps({**content, key: value}).encode()
        content["model"][key] = value
        yield f"{key} inside", json.dumps(content).encode()
    for value in (call, f"${{{call}}}", {"_target_": "os.mkdir", "path": str(canary.path)}):
        content = json.loads(config)
        yield f"model_type is {value}", json.dumps({**content, "model_type": value}).encode()
        content["model"]["window_seconds"] = value
        yield f"window_seconds is {value}", json.dumps(content).encode()
        content = json.loads(config)
        content["model"]["encoder"]["routing"]["kind"] = value
        yield f"routing.kind is {value}", json.dumps(content).encode()
    yield "nested deeply", NESTED


@pytest.mark.counts("T7", "code in config.json")
def test_configurations_with_code(tally: Tally, tmp_path: Path) -> None:
    canary = Canary(tmp_path / "canary")
    miners, whole = Miners(tally, canary), shipped_files()
    evil = f"import os\nos.mkdir({str(canary.path)!r})\n".encode()
    code = {"evil.py": evil, "modeling.py": evil, "turnout.py": evil}
    bare = {TOKENIZER: whole[TOKENIZER], ENCODER: b"never reached"}
    for number, (name, config) in enumerate(configs_with_code(whole[CONFIG], canary)):
        folder = tmp_path / str(number)
        write_folder(folder, {**bare, CONFIG: config, **code})
        miners.refuse(name, CONFIG, opened, folder, "onnx")
    write_folder(tmp_path / "beside", {**whole, **code})
    with miners.down("code beside the model"):
        load(tmp_path / "beside", threads=1).transcribe(RECORDING)
    miners.control(imported=lambda: exec(evil))
