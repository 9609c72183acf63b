"""Graphs that are built against the model that they are built for: padding, chosen rows, shapes
that cannot be. Against Transformers they are held in test_published_shapes.py."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import Tensor

from tests.doubles import tokenizer, whole_step
from turnout.backends import sessions
from turnout.backends.onnx import LAYERED, OnnxBackend, decoder_arrays, of_layer
from turnout.backends.sessions import weight_names
from turnout.backends.torch import TorchBackend
from turnout.config import ModelConfig, RoutingConfig, preset
from turnout.config.cutting import every_guidance
from turnout.decoding.backend import StepQuery
from turnout.errors import MissingExtra, ModelFolderError
from turnout.export.parity import Case, compare
from turnout.hub import whisper_graphs
from turnout.hub.whisper_graphs import graphs_of
from turnout.model.build import build_model
from turnout.model.speech_model import SpeechModel
from turnout.model_folder import (
    CONFIG,
    DECODER,
    ENCODER,
    TOKENIZER,
    WEIGHTS,
    ModelFolder,
    config_bytes,
    write_folder,
)


def shape(width: int, heads: int, decoder_layers: int = 2, mels: int = 80) -> ModelConfig:
    """A Whisper with two layers in the encoder."""
    tiny = preset("whisper-tiny")
    parts = {"num_heads": heads, "d_feedforward": 4 * width}
    aligned = ((1, heads - 1), (0, 1), (1, 0))
    return replace(
        tiny,
        features=replace(tiny.features, num_mels=mels),
        vocabulary=replace(tiny.vocabulary, size=tokenizer().size),
        encoder=replace(tiny.encoder, num_layers=2, d_model=width, **parts),
        decoder=replace(tiny.decoder, num_layers=decoder_layers, alignment_heads=aligned, **parts),
    )


def weights(config: ModelConfig) -> dict[str, Tensor]:
    """Random ones of a model."""
    with torch.device("meta"):
        shapes = {name: item.shape for name, item in build_model(config).state_dict().items()}
    generator = torch.Generator().manual_seed(5)
    return {
        name: 0.03 * torch.randn(size, generator=generator) + ("norm.weight" in name)
        for name, size in shapes.items()
    }


def model_of(config: ModelConfig, state: dict[str, Tensor]) -> SpeechModel:
    """The model with these tensors themselves."""
    with torch.device("meta"):
        model = build_model(config)
    model.load_state_dict(state, assign=True)
    return model.eval()


def backend_of(
    config: ModelConfig, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> OnnxBackend:
    """The graphs with these tensors."""
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    monkeypatch.setattr(sessions, "read_weights", lambda *_: arrays)
    return OnnxBackend(config, graphs_of(config), bytes, threads=1)


def case(config: ModelConfig, frames: int = 41) -> Case:
    """Three utterances of unequal lengths."""
    lengths = np.array([frames, 1, frames // 2])
    mask = np.arange(frames) < lengths[:, None]
    random = np.random.default_rng(3)
    # What lies behind an utterance is not always silence.
    log_mel = random.normal(size=(3, frames, config.features.num_mels)).astype(np.float32)
    return Case(log_mel, mask, every_guidance(config)[:1] * 3)


def test_the_whole_window(monkeypatch: pytest.MonkeyPatch) -> None:
    config = shape(16, 2)
    state = weights(config)
    found = backend_of(config, state, monkeypatch)
    window = Case(
        case(config, 3000).log_mel[:1], np.ones((1, 3000), bool), case(config).guidance[:1]
    )
    assert compare(window, TorchBackend(model_of(config, state)), found) < 1e-4


def test_a_row_may_end_while_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding comes to lie beyond the last position, and nobody reads what it gives."""
    config = shape(16, 2)
    config = replace(config, decoder=replace(config.decoder, max_tokens=9))
    state = weights(config)
    steps = []
    for backend in (backend_of(config, state, monkeypatch), TorchBackend(model_of(config, state))):
        given = case(config)
        encoded = backend.encode(given.log_mel, given.frame_mask, given.guidance)
        begun = backend.start(encoded, np.array([0, 2]), given.guidance[:2])
        tokens = np.arange(18).reshape(2, 9)
        _, begun = whole_step(backend, begun, tokens, np.array([9, 4]))
        found, _ = whole_step(backend, begun, tokens[:, :1], np.array([0, 1]))
        steps.append(found[1])
    np.testing.assert_allclose(*steps, rtol=0, atol=1e-4)


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0, 2]])
def test_no_step_copies_what_its_rows_attend_to(
    rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of eight windows of whisper-base these are 295 MB (counted by hand)."""
    config = shape(16, 2)
    backend = backend_of(config, weights(config), monkeypatch)
    given = case(config)
    encoded = backend.encode(given.log_mel, given.frame_mask, given.guidance)
    begun = backend.start(encoded, np.array(rows), [given.guidance[0]] * 3)
    before = [part.copy() for part in encoded.hidden]
    nothing = np.zeros((3, 1), dtype=np.int64)
    allowed = np.zeros((3, 1), dtype=np.bool_)
    query = StepQuery(positions=nothing, allowed=allowed, best=0, scored=nothing)
    fewer = backend.select(begun, np.array([2, 1]))
    for state in (begun, fewer, backend.select(fewer, np.array([0]))):
        arrays = decoder_arrays(state.cache, nothing, nothing[:, 0], query)
        layers = [arrays[of_layer(name, i)] for name in LAYERED for i in range(2)]
        assert all(layer.flags.c_contiguous for layer in layers)
    # What a state writes over is its own.
    for part, expected in zip(encoded.hidden, before, strict=True):
        np.testing.assert_array_equal(part, expected)
    if rows == [0, 1, 2]:
        assert np.shares_memory(begun.cache.cross[0], encoded.hidden[0])


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "as older graphs have it"])
@pytest.mark.parametrize(
    ("chosen", "attended"),
    [
        ([1, 0, 3, 3], 2),  # a beam's hypotheses trade places
        ([3, 2], 1),
        ([0, 2, 3], 2),  # not equally many
        ([2, 1, 3, 0], 2),  # not side by side
    ],
)
def test_rows_of_an_utterance_share_what_they_attend_to(
    chosen: list[int], attended: int, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shared:
        monkeypatch.setattr(whisper_graphs, "ENTRIES", "rows")
    config = shape(16, 2)
    backend = backend_of(config, weights(config), monkeypatch)
    given = case(config)
    encoded = backend.encode(given.log_mel, given.frame_mask, given.guidance)
    rows, tokens = np.array([0, 0, 2, 2]), np.arange(20).reshape(4, 5)
    counts = np.array([3, 2, 3, 1])

    def after_two(rows: np.ndarray, tokens: np.ndarray, counts: np.ndarray, then: list[int]):
        begun = backend.start(encoded, rows, [given.guidance[0]] * len(rows))
        _, begun = whole_step(backend, begun, tokens[:, :3], counts)
        begun = backend.select(begun, np.array(then))
        last = tokens[then, 3:]
        found, _ = whole_step(backend, begun, last, np.full(len(then), 2))
        return begun, found

    state, found = after_two(rows, tokens, counts, chosen)
    held = state.cache.cross
    assert [len(held[2]), held[0].shape[1]] == [attended if shared else len(chosen)] * 2
    weights_found = backend.attention(encoded, rows, [given.guidance[0]] * 4, tokens, counts)
    for place, row in enumerate(chosen):
        one = slice(row, row + 1)
        _, alone = after_two(rows[one], tokens[one], counts[one], [0])
        np.testing.assert_allclose(found[place], alone[0], rtol=0, atol=1e-5)
        alone = backend.attention(encoded, rows[one], given.guidance[:1], tokens[one], counts[one])
        n = counts[row]
        np.testing.assert_allclose(weights_found[row, :, :n], alone[0, :, :n], rtol=0, atol=1e-6)


def test_an_encoder_of_another_model_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = shape(16, 2, 3)
    shallow = shape(16, 2)
    graphs = {**graphs_of(deep), ENCODER: graphs_of(shallow)[ENCODER]}
    arrays = {name: tensor.numpy() for name, tensor in weights(deep).items()}
    monkeypatch.setattr(sessions, "read_weights", lambda *_: arrays)
    found = OnnxBackend(deep, graphs, bytes, threads=1)
    given = case(deep)
    encoded = found.encode(given.log_mel, given.frame_mask, given.guidance)
    begun = found.start(encoded, np.arange(3), given.guidance)
    message = "has the input 'cross_keys.2', for which encoder.onnx gives too few layers"
    with pytest.raises(ModelFolderError, match=message):
        whole_step(found, begun, np.zeros((3, 1), dtype=np.int64), np.ones(3, dtype=np.int64))


def test_a_graph_holds_a_few_constants_and_the_names_of_all_weights() -> None:
    config = shape(384, 6)
    graphs = graphs_of(config)
    assert {name: len(data) < 30_000 for name, data in graphs.items()} == {
        ENCODER: True,
        DECODER: True,
    }
    wanted = [name for data in graphs.values() for name in weight_names(data)]
    with torch.device("meta"):
        assert sorted(wanted) == sorted(build_model(config).state_dict()), "none twice"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: replace(c, encoder=replace(c.encoder, block="conformer")),
            "encoder.block is 'conformer', and in every Whisper 'transformer': graphs of other "
            "shapes are written by 'turnout export', which needs the extra 'train'",
        ),
        (
            lambda c: replace(c, encoder=replace(c.encoder, left_context=8)),
            "encoder.left_context is 8, and in every Whisper None",
        ),
        (
            lambda c: replace(
                c, decoder=replace(c.decoder, routing=RoutingConfig(kind="supervised"))
            ),
            "decoder.routing.kind is 'supervised'",
        ),
        (lambda c: replace(c, ctc=True), "ctc is True"),
        (
            lambda c: replace(c, decoder=replace(c.decoder, tie_embeddings=False)),
            "decoder.tie_embeddings is False",
        ),
    ],
)
def test_other_shapes_need_torch(
    change: Callable[[ModelConfig], ModelConfig], message: str
) -> None:
    with pytest.raises(MissingExtra, match=message):
        graphs_of(change(shape(16, 2)))


def folder(path: Path, config: ModelConfig, state: dict[str, Tensor]) -> ModelFolder:
    """A model folder with built graphs; its weights may be another model's."""
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    write_folder(
        path,
        {
            CONFIG: config_bytes(config, tokenizer()),
            TOKENIZER: tokenizer().to_bytes(),
            WEIGHTS: safetensors.numpy.save(arrays),
            **graphs_of(config),
        },
    )
    return ModelFolder.open(path)


def test_a_folder_opens(tmp_path: Path) -> None:
    config = shape(16, 2)
    state = {name: tensor.half() for name, tensor in weights(config).items()}
    found = OnnxBackend.open(folder(tmp_path / "model", config, state), threads=1)
    model = model_of(config, {name: tensor.float() for name, tensor in state.items()})
    assert compare(case(config), TorchBackend(model), found) < 1e-4


@pytest.mark.parametrize(
    "told",
    [
        shape(32, 2),  # wider than it is
        shape(16, 2, 3),  # deeper
        shape(16, 2, mels=128),
        shape(2**40, 2),  # so wide that no memory holds it
    ],
)
def test_a_checkpoint_that_lies_about_its_shape(tmp_path: Path, told: ModelConfig) -> None:
    lying = folder(tmp_path / "model", told, weights(shape(16, 2)))
    with pytest.raises(ModelFolderError, match="model folder .*model: ") as raised:
        OnnxBackend.open(lying, threads=1)
    assert "\n" not in str(raised.value)


def test_without_alignment_heads_there_is_no_attention(tmp_path: Path) -> None:
    config = shape(16, 2)
    config = replace(config, decoder=replace(config.decoder, alignment_heads=()))
    found = OnnxBackend.open(folder(tmp_path / "model", config, weights(config)), threads=1)
    given = case(config)
    encoded = found.encode(given.log_mel, given.frame_mask, given.guidance)
    rows = np.zeros(1, dtype=np.int64)
    with pytest.raises(ModelFolderError, match=r"decoder\.onnx lacks the output 'attention'"):
        found.attention(encoded, rows, given.guidance[:1], rows[:, None], rows + 1)
