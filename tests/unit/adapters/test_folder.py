"""What strangers send: whatever does not belong to the base gets a line, before memory is used."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants

import turnout
from tests.adapted import adapter, base_in, experts_of, opened, trained
from turnout.adapters.facts import ADAPTER
from turnout.adapters.folder import TENSORS, write_adapter
from turnout.adapters.stored import safetensors_of, weights_of
from turnout.cli import main
from turnout.errors import MissingModel, ModelFolderError, StorageError, TurnoutError, UsageError
from turnout.export.remaking import specialise_model
from turnout.guidance import Guidance
from turnout.hub.adapted import open_adapted, with_adapters
from turnout.hub.resolve import shipped_adapters
from turnout.model_folder import ModelFolder

EXAMPLE = Path(__file__).parents[3] / "examples" / "english-1.flac"
UP = "encoder.blocks.0.feed_forward.bank.experts.0.up.weight"
BIAS = "encoder.blocks.0.feed_forward.bank.experts.0.up.bias"
Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_in(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="module")
def good(base: Path) -> Path:
    """Whole biases, weights of rank 3."""
    model = trained(base, base.parent / "model", experts_of("encoder"))
    return adapter(base, model, base.parent / "good", language="zh", rank=3)


def changed(good: Path, place: Path, **files: bytes) -> Path:
    """The adapter with other files, their digests right."""
    kept = opened(good).files()
    names = {"facts": ADAPTER, "tensors": TENSORS}
    write_adapter(place, {**kept, **{names[name]: data for name, data in files.items()}})
    return place


def refused(base: Path, found: Path, message: str, kind: type[TurnoutError]) -> None:
    with pytest.raises(kind, match=message) as caught:
        with_adapters(ModelFolder.open(base), [opened(found)])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def facts(good: Path) -> dict[str, Any]:
    return json.loads((good / ADAPTER).read_bytes())


def expert(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["experts"][0].update(changes)


def put(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update(changes)


def second(content: dict[str, Any]) -> None:
    content["experts"].append(content["experts"][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(format_version=2), "format_version is 2: this turnout reads 1; install the turnout"),
        (put(format_version=True), "format_version is True"),
        (put(model_type="turnout"), "model_type is 'turnout': 'turnout-adapter' is read here"),
        (put(nmae="x"), "unknown key 'nmae'"),
        (put(name="../x"), "name is '../x': up to 64 letters"),
        (put(name="x" * 5000), "name is 'xxx"),
        (put(base="whisper-base"), "base must be an object"),
        (put(base={"name": None, "digest": "abc"}), "base.digest is no SHA-256: 'abc'"),
        (put(base={"name": 3, "digest": "a" * 64}), "base.name is 3: no path is taken"),
        (put(base={"name": "x"}), "base: key 'digest' is missing"),
        *(
            (put(base={"name": name, "digest": "a" * 64}), "base.name is .*: no path is taken")
            for name in ("../x", "/dev/zero", "~/x", "a\\b", "hf://a/b\nc", "", "x" * 5000)
        ),
        (put(experts=[]), "experts must be a list of at least one"),
        (put(experts=[3]), "an expert must be an object"),
        (put(experts=[{}] * 257), "has 257 experts: 256 are the most"),
        (expert(when={"domain": "8k"}), "the domain '8k' is no name"),
        (second, "two experts are called 'zh'"),
        (expert(when={}), "when must say what it is for"),
        (expert(when={"speaker": "me"}), "when names 'speaker': choose of bandwidth, task"),
        (expert(when={"language": ["zh"]}), r"the language \['zh'\] is no name"),
        (expert(when={"domain": "a+b"}), r"the domain 'a\+b' is no name"),
        (expert(rank=0), "rank is 0: a number from 1, or null"),
        (expert(rank=True), "rank is True"),
        (expert(name="haw"), "'zh/.*' is for no expert of adapter.json"),
        (expert(rank=None), "its base has no part for 'zh/"),
        (expert(rank=4), r"is \[3, 48\], and \[4, 48\] belongs to its base"),
        (expert(rank=1 << 40), r"is of rank 1099511627776: \d+ is the most for \[\d+, \d+\]"),
    ],
)
def test_facts_that_cannot_be(
    base: Path,
    good: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    content = facts(good)
    change(content)
    data = json.dumps(content).encode()
    refused(base, changed(good, tmp_path / "bad", facts=data), message, ModelFolderError)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"when": {"language": "nl"}}, "the language 'nl', and the model has en, zh, haw"),
        ({"when": {"bandwidth": "wide"}}, "'wide', and the model has narrowband, wideband"),
        ({"when": {"task": "sing"}}, "the task 'sing', and the model has transcribe, translate"),
        ({"when": {"domain": "base"}}, "the domain 'base', which is everybody's"),
    ],
)
def test_conditions_that_the_model_never_meets(
    base: Path, good: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    content = facts(good)
    expert(**change)(content)
    data = json.dumps(content).encode()
    refused(base, changed(good, tmp_path / "bad", facts=data), message, UsageError)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"a": 1, "a": 2}', b"[" * 100_000, b"\xff"])
def test_facts_that_are_no_object(base: Path, good: Path, tmp_path: Path, data: bytes) -> None:
    found = changed(good, tmp_path / "bad", facts=data)
    refused(base, found, "adapter.json is not|adapter.json is no|is not JSON", ModelFolderError)


def test_facts_of_any_length_are_not_read(base: Path, good: Path, tmp_path: Path) -> None:
    found = changed(good, tmp_path / "bad", facts=b" " * (2 << 20))
    refused(base, found, "has 2097152 bytes: it is no adapter's", ModelFolderError)


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if key != f"zh/{name}"}


def with_one(name: str, *shape: int, fill: float = 0) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, f"zh/{name}": np.full(shape, fill, np.float32)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: {}, "the expert 'zh' has no tensor"),
        (without(f"{UP}.up"), f"zh/{UP} must be there whole, or as .up and .down"),
        (without(f"{UP}.down"), f"zh/{UP} must be there whole, or as .up and .down"),
        (with_one(UP, 48, 32), f"zh/{UP} must be there whole, or as .up and .down"),
        (with_one(BIAS, 47), r"is \[47\], and \[48\] belongs to its base"),
        (with_one(f"{BIAS}.up", 48, 3), "its base has no part for"),
        (with_one("../../x", 3), "its base has no part for"),
        (with_one("encoder.blocks.7.norm.weight", 32), "its base has no part for"),
        (with_one(BIAS, 48, fill=np.nan), "has values that are not finite"),
        (with_one(f"{UP}.up", 48, 3, fill=np.inf), "has values that are not finite"),
        (lambda tensors: {**tensors, "x": np.zeros(3, np.float32)}, "'x' is for no expert"),
    ],
)
def test_tensors_that_do_not_belong(
    base: Path, good: Path, tmp_path: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    data = safetensors_of(change(weights_of(opened(good), TENSORS)))
    refused(base, changed(good, tmp_path / "bad", tensors=data), message, ModelFolderError)


@pytest.mark.parametrize("value", [1e30, 3e38])
def test_differences_that_are_too_loud(
    base: Path, good: Path, tmp_path: Path, value: float
) -> None:
    loud = dict(weights_of(opened(good), TENSORS))
    loud[f"zh/{UP}.up"] = np.full((48, 3), value, np.float32)
    loud[f"zh/{UP}.down"] = np.full((3, 32), value, np.float32)
    found = changed(good, tmp_path / "bad", tensors=safetensors_of(loud))
    refused(base, found, f"zh/{UP}: its difference may be beyond 1e.30", ModelFolderError)


def header(content: object, data: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


def one(**changes: Any) -> dict[str, Any]:
    return {f"zh/{BIAS}": {"dtype": "F32", "shape": [48], "data_offsets": [0, 192], **changes}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no safetensors file"),
        (b"\xff" * 100, "is no safetensors file"),
        (struct.pack("<Q", 1 << 60) + b"{}", "is no safetensors file"),
        (header([]), "is not a JSON object"),
        (header(one(), bytes(191)), "has not the size that its header says"),
        (header(one(), bytes(193)), "has not the size that its header says"),
        (header(one(dtype="F64"), bytes(384)), "is of type 'F64': F32 and F16 are read here"),
        (header(one(dtype=["F32"]), bytes(192)), r"is of type \['F32'\]"),
        (header(one(shape=[-48]), bytes(192)), "has no shape or no place"),
        (header(one(shape=[1 << 40, 1 << 40])), "has another size than its shape"),
        (header(one(data_offsets=[8, 200]), bytes(200)), "lies over another, or apart"),
        (header({f"zh/{BIAS}": 3}), "is of type None"),
    ],
)
def test_files_that_are_none(
    base: Path, good: Path, tmp_path: Path, data: bytes, message: str
) -> None:
    refused(base, changed(good, tmp_path / "bad", tensors=data), message, ModelFolderError)


def test_a_damaged_file_is_not_used(base: Path, good: Path, tmp_path: Path) -> None:
    found = changed(good, tmp_path / "bad")
    data = bytearray((found / TENSORS).read_bytes())
    data[-1] ^= 1
    (found / TENSORS).write_bytes(data)
    refused(base, found, "^folder .*: adapter.safetensors is damaged", ModelFolderError)
    (found / TENSORS).unlink()
    refused(base, found, "adapter.safetensors is missing", ModelFolderError)


def test_no_file_outside_the_folder_is_read(base: Path, good: Path, tmp_path: Path) -> None:
    found = changed(good, tmp_path / "bad")
    with (found / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  ../../etc/passwd\n")
    refused(base, found, "SHA256SUMS line 4 is not 'SHA-256  file name'", ModelFolderError)


def test_a_model_is_not_written_over(base: Path) -> None:
    with pytest.raises(StorageError, match="exists and is no adapter: choose another path"):
        write_adapter(base, {ADAPTER: b"{}"})
    assert ModelFolder.open(base)


def based(good: Path, place: Path, name: str) -> Path:
    """The adapter of a base by another name."""
    content = facts(good)
    content["base"]["name"] = name
    return changed(good, place, facts=json.dumps(content).encode())


def test_an_adapter_in_the_models_place(
    base: Path, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base.parent)
    folder, found = open_adapted(based(good, tmp_path / "named", base.name))
    assert folder.path.resolve() == base and found is not None
    assert facts(good)["base"]["name"] is None  # a path of this machine says nothing elsewhere
    instead = re.escape(f"give it with --model, and this with --adapter {good}")
    with pytest.raises(MissingModel, match=f"does not say what its base is called: {instead}"):
        open_adapted(good)
    monkeypatch.setenv("TURNOUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("gone", "hf://owner/gone"):
        place = based(good, tmp_path / "gone-base", name)
        with pytest.raises(MissingModel, match="its base '.*gone' is not at hand: give it with --"):
            open_adapted(place)
    assert open_adapted(base, [place])[1] is not None


def test_what_is_cut_out_of_an_adapter_in_the_models_place_names_its_base(
    base: Path, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base.parent)
    named, output = based(good, tmp_path / "named", base.name), tmp_path / "cut"
    receipt = specialise_model(named, output, Guidance(language="zh"), audio=[EXAMPLE])
    card = (output / "README.md").read_text()
    weights = ModelFolder.open(base).digests["model.safetensors"]
    assert f"\n- cut out of: base (SHA-256 of its weights: {weights})\n" in card
    said = str(receipt)
    assert said.startswith("receipt: both models on 1 recording (")
    assert ", asked in 6 of 8 ways, " in said  # of zh: two bandwidths, tasks and windows


def test_adapters_that_are_none(base: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingModel, match="no adapter 'calls': give the path of its folder"):
        open_adapted(base, ["calls"])
    with pytest.raises(MissingModel, match="is no adapter: a folder with adapter.json is needed"):
        open_adapted(base, [base])
    with pytest.raises(MissingModel, match="no adapter 'xxx"):
        open_adapted(base, ["x" * 5000])
    with pytest.raises(UsageError, match="adapters is 'calls': it must be a list"):
        turnout.load(base, adapters="calls")


def test_adapters_that_ship_have_names(
    base: Path,
    good: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TURNOUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("turnout.model_folder.SHIPPED", tmp_path / "models")
    monkeypatch.chdir(base.parent)
    based(good, tmp_path / "models" / "chinese", base.name)
    assert open_adapted(base, ["chinese"])[1] is not None
    assert open_adapted("chinese")[0].path.resolve() == base
    assert main(["models"]) == 0
    (row,) = capsys.readouterr().out.splitlines()[1:]
    assert row.split()[0] == "chinese"
    assert "adapter of" in row
    with pytest.raises(MissingModel, match=r"ships \(chinese\)"):
        open_adapted(base, ["calls"])
    (tmp_path / "models" / "chinese" / ADAPTER).write_bytes(b"[]")
    assert main(["models"]) == 0
    (row,) = capsys.readouterr().out.splitlines()[1:]
    assert row.split()[0] == "chinese" and "cannot be read" in row


def test_models_with_experts_take_no_adapter(good: Path) -> None:
    with pytest.raises(UsageError, match="has experts of its own .*: adapters are for dense mod"):
        open_adapted("commands", [good])


def test_a_list_of_digests_of_any_length_is_not_read(good: Path, tmp_path: Path) -> None:
    found = changed(good, tmp_path / "long")
    with (found / "SHA256SUMS").open("a") as sums:
        sums.write("\n" * (2 << 20))
    with pytest.raises(ModelFolderError, match="SHA256SUMS has more than 1048576 bytes"):
        opened(found)


@pytest.mark.parametrize("ships", [False, True])
@pytest.mark.parametrize(
    "words",
    [
        ["adapter", "-o", "again", "--when", "language=es", "--base", "commands", "--model"],
        ["export", "--model"],
        ["upcycle", "-o", "up", "--encoder.routing.kind", "supervised", "--model"],
        ["convert", "-o", "converted"],
        ["convert", "-o", "converted", "--to", "transformers"],
    ],
)
def test_an_adapter_is_no_model(
    good: Path,
    tmp_path: Path,
    words: list[str],
    ships: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    name = shipped_adapters()[0] if ships else str(good)
    assert main([*words, name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        f"error: {name}: is an adapter, no model: give its base here; 'turnout specialise" in line
    )
    assert not any(tmp_path.iterdir())


def test_the_command_takes_several(
    base: Path, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["transcribe", "--threads", "1", "--language", "zh", "--model", str(base), str(EXAMPLE)]
    assert main(words) == 0
    plain = capsys.readouterr().out
    model = base.parent / "model"
    other = adapter(base, model, tmp_path / "other", bandwidth="narrowband")
    assert main([*words, "--adapter", str(good), "--adapter", str(other)]) == 0
    assert capsys.readouterr().out != plain
    assert main([*words, "--adapter", str(other)]) == 0
    assert capsys.readouterr().out == plain
    assert main([*words, "--adapter", "nowhere"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("turnout: error: no adapter 'nowhere'")
