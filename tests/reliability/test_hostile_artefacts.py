"""T7: model folders with code in them: none is ever run, and what cannot be used is refused in one
line. (Runs: test_hostile_runs.py; corpora and recipes: test_hostile_corpora.py.)

In the negative controls the same files are read as others read them, and the canary sings.
"""

import gzip
import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.reliability.canaries import NESTED, Canary, Miners
from tests.reliability.mates import EXAMPLES
from tests.reliability.tally import Tally
from turnout.folder import (
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
from turnout.transcription.load import BackendName, load

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
