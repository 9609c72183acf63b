"""Models in int8: what they say, that no batch-mate changes it, and who cannot take them."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

import turnout
from tests import whispers
from tests.doubles import whole_step
from tests.models import exported
from tests.unit.hub.test_int8_graphs import per_tensor
from turnout.backends.onnx_paths import open_onnx
from turnout.backends.torch import load_model
from turnout.cli import main
from turnout.config import RoutingConfig
from turnout.config.cutting import every_guidance
from turnout.decoding.backend import Backend
from turnout.errors import ModelFolderError, TurnoutError, UsageError
from turnout.guidance import Guidance, Guide
from turnout.hub.adapted import with_adapters
from turnout.hub.convert import convert
from turnout.hub.copy import copy_model
from turnout.hub.int8_graphs import SCALE, Rewriting
from turnout.hub.rerouted import Writing, plain_graphs, stored, upcycle
from turnout.hub.to_transformers import to_transformers
from turnout.model_folder import SHIPPED, WEIGHTS, ModelFolder, write_folder
from turnout.serving.model_facts import memory_of

ROOT = Path(__file__).parents[2]
FRAMES = 61
Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Whisper in floats and in int8, and the same with experts for its languages."""
    place = tmp_path_factory.mktemp("int8")
    source = whispers.save_transformers(place / "source", whispers.whisper())
    folder = ModelFolder.open(convert(source, place / "float"))
    convert(source, place / "int8", precision="int8")
    by_language = RoutingConfig(kind="supervised", guided_by=(Guide.LANGUAGE,))
    config = replace(folder.config, encoder=replace(folder.config.encoder, routing=by_language))
    writing = Writing(output=place / "routed", title="", said=(), graphs=plain_graphs)
    upcycle(folder, config, writing)
    copy_model(ModelFolder.open(place / "routed"), place / "routed-int8", precision="int8")
    return place


def in_int8(shape: str, place: Path) -> Path:
    """An exported model of the tests' own."""
    return copy_model(ModelFolder.open(exported(shape)), place / shape, precision="int8")


def outputs(
    backend: Backend, batch: NDArray[np.float32], guidance: list[Guidance]
) -> list[NDArray[np.float32]]:
    """Of each utterance: what CTC says, and the decoder of three tokens and of one more."""
    encoded = backend.encode(batch, np.ones(batch.shape[:2], dtype=bool), guidance)
    found = [] if encoded.ctc_log_probs is None else [encoded.ctc_log_probs]
    rows = np.arange(len(batch))
    state = backend.start(encoded, rows, guidance)
    for tokens in (np.array([[7, 8, 9]]), np.array([[10]])):
        new = np.repeat(tokens, len(rows), axis=0)
        log_probs, state = whole_step(backend, state, new, np.full(len(rows), new.shape[1]))
        found.append(log_probs)
    return found


def apart(one: list[NDArray[np.float32]], other: list[NDArray[np.float32]]) -> float:
    """How far the first utterance's log-probabilities are, at most."""
    return max(float(np.abs(a[0] - b[0]).max(initial=0.0)) for a, b in zip(one, other, strict=True))


def beside_a_loud_mate(path: Path) -> float:
    """How far one moves an utterance, at most, on any path."""
    backend = open_onnx(ModelFolder.open(path), threads=1)
    batch = np.random.default_rng(0).normal(size=(3, FRAMES, 80)).astype(np.float32)
    batch[1] *= 100
    known = every_guidance(backend.config)
    guidance = [known[0], known[0], known[-1]]
    together = outputs(backend, batch, guidance)
    return apart(together, outputs(backend, batch[:1], guidance[:1]))


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["dense", "supervised", "hybrid", "omni"])
def test_no_mate_moves_anybody(shape: str, tmp_path: Path) -> None:
    assert beside_a_loud_mate(in_int8(shape, tmp_path)) <= 1e-4


@pytest.mark.parametrize("name", ["int8", "routed-int8"])
def test_no_mate_moves_anybody_in_graphs_that_are_built(place: Path, name: str) -> None:
    assert beside_a_loud_mate(place / name) <= 1e-4


def test_one_scale_for_all_breaks_the_law(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As onnxruntime's dynamic quantisation has it: the control of the two above."""
    monkeypatch.setattr(Rewriting, "_rounded", per_tensor)
    copy_model(ModelFolder.open(place / "float"), tmp_path / "model", precision="int8")
    assert beside_a_loud_mate(tmp_path / "model") > 0.01


def weights_in(path: Path) -> Arrays:
    return safetensors.numpy.load(ModelFolder.open(path).read(WEIGHTS))


BEHIND = {
    r"(encoder\.blocks\.\d+\.attention)\.(query|key|value)\.weight": r"\1_norm",
    r"decoder\.blocks\.\d+\.cross_attention\.(key|value)\.weight": "encoder.norm",
    r"(decoder\.blocks\.\d+\.self)_attention\.(query|key|value)\.weight": r"\1_norm",
    r"(decoder\.blocks\.\d+\.cross)_attention\.query\.weight": r"\1_norm",
    r"(.*\.feed_forward)\..*\.up\.weight": r"\1_norm",
    r"(.*norm)\.(weight|bias)": r"\1",
}
"""What takes a norm's numbers, and the norm."""


def louder_by(name: str, before: Arrays, after: Arrays) -> Any:
    """How much louder the columns of a matrix became, and quieter its norm."""
    for pattern, norm in BEHIND.items():
        if re.fullmatch(pattern, name):
            found = re.sub(pattern, norm, name)
            return before[f"{found}.weight"] / after[f"{found}.weight"]
    return np.float32(1)


def test_matrices_are_int8_with_a_scale_for_each_row_and_all_else_is_as_it_was(
    place: Path,
) -> None:
    before, after = weights_in(place / "float"), weights_in(place / "int8")
    matrices = {name for name, values in after.items() if values.dtype == np.int8}
    assert matrices == {
        name
        for name, values in before.items()
        if values.ndim == 2 and name != "decoder.positions.weight"
    }
    assert after.keys() == before.keys() | {name + SCALE for name in matrices}
    changed = {name for name in before.keys() - matrices if (after[name] != before[name]).any()}
    norms = {name for name in before if "norm." in name and not name.startswith("decoder.norm")}
    assert changed == norms
    for name in norms | matrices:
        louder = louder_by(name, before, after)
        if name in norms:
            np.testing.assert_allclose(after[name] * louder, before[name], rtol=1e-6)
            continue
        scales = after[name + SCALE][:, None]
        far = np.abs(after[name] * scales - before[name] * louder)
        assert (far <= 0.51 * scales).all(), name
        assert (np.abs(after[name]).max(axis=1) == 127).all()


@pytest.mark.parametrize(("floats", "rounded"), [("float", "int8"), ("routed", "routed-int8")])
def test_it_says_about_the_same(place: Path, floats: str, rounded: str) -> None:
    batch = np.random.default_rng(0).normal(size=(2, FRAMES, 80)).astype(np.float32)
    folders = [ModelFolder.open(place / name) for name in (floats, rounded)]
    guidance = every_guidance(folders[0].config)[:1] * 2
    wanted, found = (outputs(open_onnx(one, threads=1), batch, guidance) for one in folders)
    assert 0 < apart(wanted, found) < 0.1 * max(float(np.ptp(one)) for one in wanted)


@pytest.mark.slow
def test_an_experts_weights_are_reached(place: Path, tmp_path: Path) -> None:
    """Of graphs that know experts, and of dense ones that are handed an expert's tensors."""
    traced = in_int8("supervised", tmp_path)
    for path in (traced, place / "routed-int8"):
        tensors = weights_in(path)
        name = "encoder.blocks.0.feed_forward.bank.experts.1.up.weight"
        name = name if name in tensors else name.replace("feed_forward", "first")
        assert tensors[name].dtype == np.int8
        tensors[name] = tensors[name][::-1].copy()
        write_folder(
            tmp_path / "other",
            {**ModelFolder.open(path).files(), WEIGHTS: safetensors.numpy.save(tensors)},
        )
        before, after = (
            open_onnx(ModelFolder.open(one), threads=1) for one in (path, tmp_path / "other")
        )
        batch = np.random.default_rng(0).normal(size=(1, FRAMES, 80)).astype(np.float32)
        moved = {
            apart(outputs(before, batch, [one]), outputs(after, batch, [one])) > 1e-3
            for one in every_guidance(before.config)
        }
        assert moved == {False, True}


def test_the_shipped_model_writes_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "commands"
    assert main(["convert", "commands", "--precision", "int8", "-o", str(path)]) == 0
    capsys.readouterr()
    example = ROOT / "examples" / "english-1.flac"
    assert turnout.load(path, threads=1).transcribe(example).text == (
        turnout.load(threads=1).transcribe(example).text
    )
    sizes = [(one / WEIGHTS).stat().st_size for one in (SHIPPED / "commands", path)]
    assert sizes[1] < 0.6 * sizes[0]  # which is of float16
    assert "int8" in (path / "README.md").read_text()
    folder = ModelFolder.open(path)
    numbers = sum(values.size for values in weights_in(SHIPPED / "commands").values())
    assert numbers < memory_of(folder, 1) < 1.4 * numbers


FORBIDDEN: dict[str, Callable[[ModelFolder, Path], object]] = {
    "PyTorch, training and 'turnout export' take": lambda folder, _: load_model(folder),
    "adapters are for": lambda folder, _: with_adapters(folder, []),
    "'turnout upcycle' and 'turnout specialise' take": lambda folder, _: stored(folder),
    "'--to transformers' takes": to_transformers,
    "another precision is made of": copy_model,
}


@pytest.mark.parametrize("words", FORBIDDEN)
def test_who_wants_floats_says_so(words: str, place: Path, tmp_path: Path) -> None:
    folder = ModelFolder.open(place / "int8")
    message = f"rounded to int8, with which only ONNX Runtime computes: {words} the model that"
    with pytest.raises(ModelFolderError, match=message):
        FORBIDDEN[words](folder, tmp_path / "output")
    assert not (tmp_path / "output").exists()


def test_the_command_says_so_in_one_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, output = str(place / "int8"), str(tmp_path / "output")
    example = str(ROOT / "examples" / "english-1.flac")
    for words in (
        ["transcribe", example, "--model", model, "--backend", "torch"],
        ["export", "--model", model],
        ["specialise", "--model", f"{place / 'routed-int8'}", "--language", "zh", "-o", output,
         "--audio", example],
        ["adapter", "--base", model, "--model", model, "--when", "language=zh", "-o", output],
        ["convert", model, "--to", "transformers", "-o", output],
        ["convert", model, "--precision", "int8", "-o", output],
    ):  # fmt: skip
        assert main(words) != 0
        printed = capsys.readouterr().err.splitlines()
        assert len([line for line in printed if line.startswith("turnout: error:")]) == 1, words
        assert "its weights are rounded to int8" in printed[-1], words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["convert", "x", "-o", "y", "--half", "--precision", "int8"], "give one of them"),
        (["export", "--model", "x", "--precision", "int8"], "--output belong together"),
        (["export", "--model", "x", "-o", "y"], "--output belong together"),
        (["convert", "x", "-o", "y", "--to", "transformers", "--precision", "int8"], "converted"),
    ],
)
def test_words_that_do_not_go_together(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == UsageError.exit_status
    assert message in capsys.readouterr().err


def test_a_model_without_graphs_gets_none(place: Path, tmp_path: Path) -> None:
    files = ModelFolder.open(place / "float").files()
    write_folder(tmp_path / "bare", {n: d for n, d in files.items() if not n.endswith(".onnx")})
    with pytest.raises(ModelFolderError, match="has no graphs, or such as hold their weights"):
        copy_model(ModelFolder.open(tmp_path / "bare"), tmp_path / "int8", precision="int8")
    assert not (tmp_path / "int8").exists()


def test_a_damaged_one_is_found(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "int8", tmp_path / "model")
    data = bytearray((tmp_path / "model" / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (tmp_path / "model" / WEIGHTS).write_bytes(data)
    with pytest.raises(TurnoutError, match="model.safetensors is damaged"):
        turnout.load(tmp_path / "model")
