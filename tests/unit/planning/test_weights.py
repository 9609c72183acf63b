"""Parameters that are counted from a configuration are those that a model of it has."""

from dataclasses import replace

import pytest
import torch

from tests.unit.planning.shapes import KINDS, routed, run_of
from turnout.config import ModelConfig, TrainConfig, preset
from turnout.errors import ConfigError
from turnout.model.build import build_model
from turnout.model.parameters import parameters_of
from turnout.planning.weights import model_weights, weights_of
from turnout.training.train import first_model

BLOCKS = ("transformer", "conformer")
SHAPES: dict[str, ModelConfig] = {
    **{f"{kind}-{block}": routed(kind, block=block) for kind in KINDS for block in BLOCKS},
    "shared-by-two": routed("omni", share_layers=2, layers=(0, 1, 2), num_layers=4),
    "own-experts": routed("supervised", experts_for=("narrowband",)),
    "no-bias": routed("switch", router_bias=False),
    "no-token": replace(routed("omni"), bandwidth_token=False, ctc=False),
    "spectrogram": routed("dense", subsampling="conv2d4", subsampling_channels=5),
    "stacked": routed("dense", subsampling="stack4", positions="learned"),
    "untied": routed("dense", decoder={"tie_embeddings": False, "positions": "learned"}),
    "no-decoder": routed("hybrid", decoder={"num_layers": 0}),
}


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_names_shapes_and_counts_are_those_of_the_built_model(config: ModelConfig) -> None:
    model = build_model(config)
    built = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert dict(model_weights(config)) == built
    weights = weights_of(TrainConfig(model=config))
    assert (weights.total, weights.active) == tuple(parameters_of(model))


@pytest.mark.parametrize("name", ["whisper-tiny", "omni-router", "small", "tiny"])
def test_presets_are_counted_exactly(name: str) -> None:
    with torch.device("meta"):
        model = build_model(preset(name))
    weights = weights_of(TrainConfig(model=preset(name)))
    assert (weights.total, weights.active) == tuple(parameters_of(model))


def test_the_published_omni_router_has_613_million_parameters_of_which_210_are_active() -> None:
    weights = weights_of(TrainConfig(model=preset("omni-router")))
    assert round(weights.total / 1e6) == 613
    assert round(weights.active / 1e6) == 210


@pytest.mark.parametrize(
    "changes",
    [
        {"trainable": ("encoder.experts.narrowband", "decoder.norms")},
        {"trainable": ("encoder.attention", "decoder.experts"), "low_rank": 3},
        {"objective": {"text_weight": 0.0, "distil_encoder": 1.0}},
    ],
)
def test_what_is_trained_is_what_a_run_trains(changes: dict[str, object]) -> None:
    config = run_of(routed("supervised"), **changes)
    model = first_model(config, config.model)
    trained = {n: tuple(p.shape) for n, p in model.named_parameters() if p.requires_grad}
    assert dict(weights_of(config).moved) == trained


def test_a_pattern_that_names_nothing_is_refused_as_in_training() -> None:
    with pytest.raises(ConfigError, match="did you mean 'encoder.experts'"):
        weights_of(run_of(routed("dense"), trainable=("encoder.expert",)))
    with pytest.raises(ConfigError, match="low_rank is 3, and encoder.bandwidth.weight"):
        weights_of(run_of(routed("dense"), trainable=("encoder.bandwidth",), low_rank=3))
