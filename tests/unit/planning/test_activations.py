"""What a forward pass keeps, by formula, is what autograd keeps of a real one."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from tests.unit.planning.shapes import KINDS, routed, run_of
from tests.unit.planning.steps import saved_by
from turnout.config import ModelConfig, TrainConfig, preset
from turnout.model import layers
from turnout.planning.activations import saved_bytes
from turnout.planning.memory import memory_of
from turnout.planning.micro_batch import of_length
from turnout.planning.weights import weights_of

ADDED = {"positions": "sinusoidal", "subsampling": "stack4", "activation": "relu", "dropout": 0.1}
WIDE = {"d_model": 64, "d_feedforward": 96, "dropout": 0.0}
SHAPES: dict[str, tuple[ModelConfig, float]] = {
    **{
        f"{kind}-{block}": (routed(kind, block=block, **{**WIDE, **ADDED}), 0.001)
        for kind in KINDS
        for block in ("transformer", "conformer")
    },
    # Tables of sines, which rotary positions keep beside, are not counted.
    "rotary": (routed("omni", **WIDE, decoder={"positions": "rotary", "dropout": 0.0}), 0.02),
    "ctc-alone": (routed("switch", **WIDE, decoder={"num_layers": 0}), 0.02),
    "half-dense": (routed("hybrid", layers=(1,), **{**WIDE, **ADDED}), 0.001),
    "limited": (routed("dense", left_context=9, **{**WIDE, **ADDED}), 0.001),
    "conv2": (routed("supervised", **WIDE, subsampling="conv2"), 0.02),
    "conv2d4": (routed("dense", **WIDE, subsampling="conv2d4"), 0.02),
}


@pytest.mark.parametrize(("model", "tolerance"), SHAPES.values(), ids=SHAPES)
def test_what_autograd_keeps_of_a_micro_batch_is_foreseen(
    model: ModelConfig, tolerance: float
) -> None:
    config = run_of(model)
    sizes = of_length(model, 4, 4.0, 12, audio_seconds=16.0)
    assert saved_bytes(config, sizes) == pytest.approx(saved_by(config, sizes), rel=tolerance)


MEASURED: tuple[tuple[str, int, int, Any, float, float], ...] = (
    ("omni-router", 20, 15, "bfloat16", 9_418_947_108, 20_325_494_784),
    ("omni-router", 20, 15, "float32", 12_653_835_684, 23_698_175_488),
    ("omni-router", 60, 15, "bfloat16", 25_807_366_508, 38_493_334_016),
    ("omni-router", 120, 15, "bfloat16", 50_389_995_608, 65_753_964_032),
    ("whisper-tiny", 8, 30, "bfloat16", 1_314_825_764, 2_565_665_792),
    ("small", 40, 10, "bfloat16", 1_320_149_956, 1_578_389_504),
)
"""Preset, utterances, seconds of each, precision; bytes that autograd kept on one H200 (torch
2.11, CUDA 13.0), and the most that tensors took in steps of two micro-batches, four tokens a
second."""


@pytest.mark.parametrize(("name", "count", "seconds", "precision", "kept", "peak"), MEASURED)
def test_so_it_was_on_a_gpu(
    name: str, count: int, seconds: int, precision: Any, kept: float, peak: float
) -> None:
    config = TrainConfig(model=preset(name), precision=precision, device="cuda")
    sizes = of_length(config.model, count, seconds, 4 * seconds, audio_seconds=count * seconds)
    memory = memory_of(config, weights_of(config), sizes, "ddp", 1)
    assert saved_bytes(config, sizes) + memory.copies == pytest.approx(kept, rel=0.015)
    assert 0.92 * peak < memory.total < peak


def test_attention_off_the_cpu_is_given_a_mask_without_gaps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[torch.Tensor] = []

    def attention(queries: torch.Tensor, *_: object, attn_mask: torch.Tensor) -> torch.Tensor:
        given.append(attn_mask)
        return queries

    monkeypatch.setattr(functional, "scaled_dot_product_attention", attention)
    with torch.device("meta"):
        states, frames = torch.zeros(2, 2, 5, 8), torch.ones(2, 20, dtype=torch.bool)
    layers.attend(states, states, states, frames[:, ::4][:, None, None, :])
    assert given[0].stride()[-1] == 1


def test_activations_grow_with_the_utterances_alone() -> None:
    config = run_of(routed("omni"))
    sizes = of_length(config.model, 3, 4.0, 12, audio_seconds=12.0)
    one, three = (saved_bytes(config, replace(sizes, utterances=n)) for n in (1, 3))
    assert three == 3 * one
