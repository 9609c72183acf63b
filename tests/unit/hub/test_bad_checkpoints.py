"""What cannot be converted: one line that names it, and nothing half-written."""

import errno
import json
import os
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from tests import whispers
from tests.unit.cli.test_extra import without_extra
from turnout import verified_folder
from turnout.cli import main
from turnout.errors import MissingModel, ModelFolderError, StorageError
from turnout.hub.convert import convert
from turnout.model_folder import ModelFolder

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Whole checkpoints, to be damaged in copies."""
    model, place = whispers.whisper(), tmp_path_factory.mktemp("checkpoints")
    return {
        "transformers": whispers.save_transformers(place / "transformers", model),
        "sharded": whispers.save_transformers(place / "sharded", model, "60KB"),
        "ctranslate2": whispers.save_ctranslate2(place / "ctranslate2", model, "int8"),
    }


def edit(name: str, **changes: Any) -> Change:
    """Other values of a JSON file; None takes a key out."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | changes
        kept = {key: value for key, value in content.items() if value is not None}
        (folder / name).write_text(json.dumps(kept))

    return change


def tensors(name: str = WEIGHTS, **changes: Any) -> Change:
    """Other tensors of a safetensors file; None takes one out."""

    def change(folder: Path) -> None:
        state = load_file(folder / name)
        state |= {key.replace("__", "."): value for key, value in changes.items()}
        save_file({k: v for k, v in state.items() if v is not None}, folder / name)

    return change


def header(**changes: Any) -> Change:
    """Other lines of a safetensors file's header, its bytes as they were."""

    def change(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        content = json.loads(data[8 : 8 + length])
        for name, entry in changes.items():
            content[name.replace("__", ".")] |= entry
        text = json.dumps(content).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    return change


def put(name: str, data: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(data)


def cut(name: str, size: int) -> Change:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size + size)


def drop(*names: str) -> Change:
    return lambda folder: [(folder / name).unlink() for name in names]


def only(name: str) -> Change:
    """Nothing but this file."""

    def change(folder: Path) -> None:
        for path in folder.iterdir():
            path.unlink()
        (folder / name).write_bytes(b"\x80\x02.")

    return change


def shard(**moves: str) -> Change:
    """Other places in an index."""

    def change(folder: Path) -> None:
        content = json.loads((folder / INDEX).read_text())
        for name, place in moves.items():
            content["weight_map"][name.replace("__", ".")] = place
        (folder / INDEX).write_text(json.dumps(content))

    return change


def doubled(folder: Path) -> None:
    """A tensor that lies in another shard as well."""
    files = sorted(folder.glob("model-*.safetensors"))
    one, other = (load_file(path) for path in files[:2])
    name = min(one)
    save_file({**other, name: one[name]}, files[1])


def variables(**changes: Any) -> Change:
    """Other variables of a model.bin; None takes one out."""

    def change(folder: Path) -> None:
        found = whispers.quantised(whispers.ctranslate2_variables(whispers.whisper()), "int8")
        found |= {key.replace("__", "/"): value for key, value in changes.items()}
        rest = {name: value for name, value in found.items() if value is not None}
        (folder / "model.bin").write_bytes(whispers.model_bin(rest, {}))

    return change


def model_bin(*head: Any) -> Change:
    return put("model.bin", whispers.model_bin({}, {}, head=head))  # type: ignore[arg-type]


def tokenizer_of(**changes: Any) -> Change:
    """A tokenizer whose added tokens have other ids, or none."""

    def change(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text())
        names = {f"<|{name}|>": i for name, i in changes.items()}
        for entry in list(content["added_tokens"]):
            if entry["content"] in names:
                entry["id"] = names[entry["content"]]
                if entry["id"] is None:
                    content["added_tokens"].remove(entry)
        (folder / "tokenizer.json").write_text(json.dumps(content))

    return change


def zeros(*shape: int) -> Any:
    import torch

    return torch.zeros(shape)


TRANSFORMERS: dict[str, tuple[Change, str]] = {
    "another architecture": (edit("config.json", model_type="wav2vec2"), "model_type is 'wav2vec2"),
    "another head": (
        edit("config.json", architectures=["WhisperForAudioClassification"]),
        "WhisperForConditionalGeneration is taken",
    ),
    "another activation": (edit("config.json", activation_function="relu"), "Whisper's is 'gelu'"),
    "quantised weights": (edit("config.json", quantization_config={"a": 1}), "are quantised"),
    "already converted": (edit("config.json", model_type="turnout"), "nothing to convert"),
    "no config": (drop("config.json"), "config.json: cannot be read: no such file"),
    "a config of nothing": (put("config.json", b""), "config.json: is not JSON"),
    "a config that is a list": (put("config.json", b"[]"), "is not a JSON object"),
    "a config of brackets": (put("config.json", b"[" * 100_000), "is not JSON"),
    "a config of any size": (
        lambda folder: os.truncate(folder / "config.json", 1 << 40),
        "has 1099511627776 bytes; no file of its name has more than",
    ),
    "a header of any size": (put(WEIGHTS, struct.pack("<Q", 1 << 40)), "damaged or cut off"),
    "a size that is missing": (edit("config.json", d_model=None), "d_model is not there"),
    "a size that is a word": (edit("config.json", d_model="32"), "d_model is '32'"),
    "heads that do not divide": (edit("config.json", encoder_attention_heads=7), "multiple of"),
    "a wider model": (
        edit("config.json", d_model=64),
        r"encoder.subsampling.first.weight is \[32, 80, 3\], and its configuration says \[64, 80",
    ),
    "a monstrous model": (edit("config.json", d_model=1 << 30), "its configuration says"),
    "a larger vocabulary": (edit("config.json", vocab_size=1 << 30), "its configuration says"),
    "more layers": (edit("config.json", decoder_layers=3), "no tensor decoder.blocks.2"),
    "endless layers": (edit("config.json", encoder_layers=1 << 30), "no tensor encoder.blocks.2"),
    "fewer layers": (edit("config.json", decoder_layers=1), "the tensor decoder.blocks.1"),
    "more positions": (edit("config.json", max_source_positions=1 << 30), "positions are"),
    "a suppressed id that is none": (
        edit("generation_config.json", suppress_tokens=[99_999]),
        "decoder.suppressed names the id 99999",
    ),
    "suppressed words": (edit("generation_config.json", suppress_tokens="all"), "'suppress_tokens"),
    "heads that are none": (edit("generation_config.json", alignment_heads=[1]), "alignment_heads"),
    "a generation config of nothing": (put("generation_config.json", b"{"), "is not JSON"),
    "no tokenizer": (drop("tokenizer.json"), "has no tokenizer.json, nor vocab.json, merges.txt"),
    "a tokenizer of nothing": (put("tokenizer.json", b"{}"), "is no tokenizer.json"),
    "no end": (tokenizer_of(endoftext=None), r"has no <\|endoftext\|>"),
    "no task": (tokenizer_of(translate=None), r"has no <\|translate\|>"),
    "another's tokenizer": (tokenizer_of(notimestamps=351), "do not belong together"),
    "a larger tokenizer": (edit("config.json", vocab_size=300), "do not belong together"),
    "no weights": (drop(WEIGHTS), "has no model.safetensors and no model.bin"),
    "nothing in the weights": (put(WEIGHTS, b""), "damaged or cut off"),
    "a header without end": (put(WEIGHTS, b"\xff" * 64), "damaged or cut off"),
    "a header that is no JSON": (put(WEIGHTS, struct.pack("<Q", 8) + b"{{{{{{{{"), "is not JSON"),
    "weights cut off": (cut(WEIGHTS, -1), "damaged or cut off"),
    "weights and more": (cut(WEIGHTS, 1), "damaged or cut off"),
    "a tensor that lies about its shape": (
        header(model__encoder__conv1__bias={"shape": [1 << 40]}),
        "says of 'model.encoder.conv1.bias' what cannot be",
    ),
    "a negative shape": (header(model__encoder__conv1__bias={"shape": [-32]}), "what cannot be"),
    "a type of its own": (header(model__encoder__conv1__bias={"dtype": "F8"}), "of type 'F8'"),
    "offsets that overlap": (
        header(model__encoder__conv1__bias={"data_offsets": [0, 128]}),
        "damaged or cut off",
    ),
    "a tensor that is missing": (
        tensors(model__decoder__layers__1__fc2__bias=None),
        "no tensor decoder.blocks.1.feed_forward.bank.experts.0.down.bias",
    ),
    "a tensor too many": (tensors(model__adapter=zeros(3)), "has the tensor adapter"),
    "a tensor of another shape": (
        tensors(model__encoder__conv1__bias=zeros(31)),
        r"encoder.subsampling.first.bias is \[31\]",
    ),
    "a tensor under two names": (tensors(encoder__conv1__bias=zeros(32)), "twice, under two names"),
    "values that are none": (
        tensors(model__encoder__conv1__bias=zeros(32) / 0),
        "encoder.subsampling.first.bias has values that are not finite",
    ),
    "other positions": (
        tensors(model__encoder__embed_positions__weight=zeros(100, 32)),
        "not Whisper's sinusoids",
    ),
    "a pickle alone": (only("pytorch_model.bin"), "pytorch_model.bin is a pickle"),
    "openai's pickle": (only("base.pt"), "base.pt is a pickle.*model.safetensors"),
}
SHARDED: dict[str, tuple[Change, str]] = {
    "a shard that is missing": (
        drop("model-00002-of-00005.safetensors"), "00002.*: cannot be read: no such file",
    ),
    "an index of nothing": (put(INDEX, b"{}"), "no object 'weight_map'"),
    "a shard outside": (
        shard(model__encoder__conv1__bias="../model.safetensors"), "a file of the folder is needed",
    ),
    "a shard elsewhere": (shard(model__encoder__conv1__bias="/etc/passwd"), "of the folder"),
    "a shard that is a number": (shard(model__encoder__conv1__bias=3), "of the folder"),  # type: ignore[arg-type]
    "a tensor that no shard has": (
        shard(model__lost="model-00001-of-00005.safetensors"), "lacks 'model.lost'",
    ),
    "a tensor in two shards": (doubled, "which model.safetensors.index.json says elsewhere"),
    "a shard cut off": (cut("model-00005-of-00005.safetensors", -4), "damaged or cut off"),
}  # fmt: skip
CTRANSLATE2: dict[str, tuple[Change, str]] = {
    "another version": (model_bin(5, "WhisperSpec", 3), "is version 5 of the format"),
    "another specification": (model_bin(6, "TransformerSpec", 7), "with 'TransformerSpec'"),
    "a pickle of that name": (put("model.bin", b"PK\x03\x04" + b"\0" * 99), "version 6 with Whisp"),
    "nothing": (put("model.bin", b""), "is cut off"),
    "no variables": (model_bin(6, "WhisperSpec", 3), "has no encoder/conv1/weight"),
    "cut off": (cut("model.bin", -100), "is cut off"),
    "cut in a tensor": (cut("model.bin", -50_000), "is cut off"),
    "and more": (cut("model.bin", 1), "more than its header says"),
    "another activation": (variables(decoder__activation=np.int8(0)), "decoder/activation is 0"),
    "no heads": (variables(encoder__num_heads=None), "no encoder/num_heads above 0"),
    "a variable too many": (variables(decoder__strange=np.zeros(3, np.float32)), "decoder/strange"),
    "no scale": (variables(encoder__conv1__weight_scale=None), "no scale that fits"),
    "a scale of another size": (
        variables(encoder__conv1__weight_scale=np.ones(3, np.float32)), "no scale that fits",
    ),
    "keys with a bias": (
        variables(encoder__layer_0__self_attention__linear_0__bias=np.ones(96, np.float32)),
        "gives the keys a bias",
    ),
    "rows that cannot be shared": (
        variables(encoder__layer_0__self_attention__linear_0__bias=np.ones(97, np.float32)),
        "97 rows for 3 tensors",
    ),
    "a missing variable": (
        variables(decoder__layer_norm__beta=None), "no tensor decoder.norm.bias",
    ),
    "more layers": (
        variables(decoder__layer_9__ffn__layer_norm__beta=np.ones(32, np.float32)),
        "no tensor decoder.blocks.2",
    ),
    "no tokenizer": (drop("tokenizer.json"), "has no tokenizer.json"),
    "another's vocabulary": (
        put("vocabulary.json", b'["<|endoftext|>"]'), "do not belong together",
    ),
    "a vocabulary that is none": (put("vocabulary.json", b"{}"), "is not a JSON list"),
}  # fmt: skip
CASES = [
    pytest.param(kind, *case, id=f"{kind}: {name}")
    for kind, cases in (
        ("transformers", TRANSFORMERS),
        ("sharded", SHARDED),
        ("ctranslate2", CTRANSLATE2),
    )
    for name, case in cases.items()
]


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(("kind", "change", "message"), CASES)
def test_it_is_refused_in_one_line(
    kept: dict[str, Path], tmp_path: Path, kind: str, change: Change, message: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(kept[kind], source)
    change(source)
    tracemalloc.start()
    with pytest.raises(ModelFolderError, match=message) as error:
        convert(source, tmp_path / "model")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"checkpoint {source}")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    assert peak < 20e6


def test_a_place_that_is_no_folder(tmp_path: Path, kept: dict[str, Path]) -> None:
    with pytest.raises(MissingModel, match="does not exist"):
        convert(tmp_path / "nowhere", tmp_path / "model")
    (tmp_path / "tiny.pt").write_bytes(b"PK")
    with pytest.raises(ModelFolderError, match="is a pickle.*take the model.safetensors"):
        convert(tmp_path / "tiny.pt", tmp_path / "model")
    with pytest.raises(ModelFolderError, match="give the folder that it lies in"):
        convert(kept["transformers"] / WEIGHTS, tmp_path / "model")


def test_what_is_no_model_is_not_overwritten(tmp_path: Path, kept: dict[str, Path]) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(StorageError, match="is not a model folder"):
        convert(kept["transformers"], tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"


def test_no_space_leaves_the_model_that_was_there(
    tmp_path: Path, kept: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(kept["transformers"], tmp_path / "model")
    before = (tmp_path / "model" / "SHA256SUMS").read_bytes()
    write = verified_folder.write_synced

    def full(path: Path, data: Any) -> None:
        if path.name != WEIGHTS:
            write(path, data)
            return
        path.write_bytes(next(iter(data)))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(verified_folder, "write_synced", full)
    with pytest.raises(StorageError, match="the model cannot be written: no space left"):
        convert(kept["ctranslate2"], tmp_path / "model")
    assert (tmp_path / "model" / "SHA256SUMS").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_nothing_of_the_workshop_is_needed(tmp_path: Path, kept: dict[str, Path]) -> None:
    done = without_extra("convert", str(kept["sharded"]), "-o", str(tmp_path / "model"))
    assert done.returncode == 0, done.stderr
    assert ModelFolder.open(tmp_path / "model").has_graphs


def test_the_command(
    tmp_path: Path, kept: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "model")
    assert main(["convert", str(kept["ctranslate2"]), "-o", output]) == 0
    said = capsys.readouterr()
    assert said.out == f"{output}\n"
    assert "Whisper, stored by CTranslate2: 2 and 2 layers of width 32, 3 languages" in said.err
    assert "converted in" in said.err
    assert main(["convert", str(tmp_path / "no"), "-o", output]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["convert", str(kept["ctranslate2"])]) == 2
    assert "--output" in capsys.readouterr().err
