"""Operations by formula are those that PyTorch counts in a real step."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.unit.planning.shapes import routed, run_of
from tests.unit.planning.steps import loss_of
from turnout.config import TrainConfig, preset
from turnout.data.batch import Clean
from turnout.planning.measure import batch_of
from turnout.planning.memory import memory_of
from turnout.planning.micro_batch import MicroBatch, of_length
from turnout.planning.operations import operations_of, products, taught_operations
from turnout.planning.weights import weights_of
from turnout.training.teacher import Teacher
from turnout.training.train import first_model


def counted(config: TrainConfig, sizes: MicroBatch) -> tuple[int, int]:
    """Operations forward and backward of a real micro-batch."""
    model = first_model(config, config.model)
    # Of the fused kernel for CPUs the counter knows nothing.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        loss = loss_of(config, sizes, model)
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    # Of a convolution in groups the counter takes the gradient of the kernels as if there were one
    # group: so many times too much.
    grouped = [p.forward for p in products(config.model, sizes) if "depthwise" in (p.weight or "")]
    trained = any("depthwise" in name for name in weights_of(config).trained)
    excess = (config.model.encoder.d_model - 1) * sum(grouped) * trained
    return forward.get_total_flops(), round(backward.get_total_flops() - excess)


SMALL = {"num_layers": 1, "decoder": {"num_layers": 1}}
WHISPER = {"block": "transformer", "subsampling": "conv2", "positions": "whisper", "dropout": 0.0}
RUNS = {
    "dense-transformer": run_of(routed("dense", block="transformer", **SMALL)),
    "switch-conformer": run_of(routed("switch", **SMALL)),
    "omni-spectrogram": run_of(routed("omni", subsampling="conv2d4", **SMALL)),
    "supervised-whisper": run_of(routed("supervised", **WHISPER, **SMALL)),
    "hybrid-stacked": run_of(routed("hybrid", subsampling="stack4", **SMALL)),
    "frozen-encoder": run_of(routed("omni", **SMALL), trainable=("decoder",)),
    "ctc-head": run_of(routed("dense", **SMALL), trainable=("ctc_head",)),
    "upper-layer": run_of(routed("dense"), trainable=("encoder.blocks.1",)),
}


@pytest.mark.parametrize("config", RUNS.values(), ids=RUNS)
def test_operations_are_those_that_pytorch_counts(config: TrainConfig) -> None:
    sizes = of_length(config.model, 3, 3.0, 9, audio_seconds=9.0)
    found = operations_of(config.model, weights_of(config), sizes)
    forward, backward = counted(config, sizes)
    assert found.forward == pytest.approx(forward, rel=0.001)
    # Inside a layer nobody asks what is before what: of a model that is trained in part, a layer
    # may count for more than it takes.
    more = 0.15 if config.trainable else 0.005
    assert 0.995 * backward <= found.backward <= (1 + more) * backward


@pytest.mark.parametrize("decoder", [0.0, 1.0])
def test_a_teachers_are_those_that_pytorch_counts(decoder: float, tmp_path: Path) -> None:
    objective = {"distil_encoder": 1.0, "distil_decoder": decoder}
    config = run_of(routed("supervised", **WHISPER, **SMALL), objective=objective)
    sizes = of_length(config.model, 3, 3.0, 9, audio_seconds=9.0)
    batch = batch_of(config.model, sizes)
    heard = batch.log_mel, batch.frame_mask, batch.encoder_guide, batch.bandwidth
    clean = Clean(*heard, batch.decoder_guide, torch.zeros(3, dtype=torch.bool))
    model = first_model(config, config.model)
    teacher = Teacher(model, config.objective, tmp_path)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        teacher(replace(batch, clean=clean))
    found = taught_operations(config, sizes)
    assert found == pytest.approx(counter.get_total_flops(), rel=0.001)
    held = sum(p.numel() * p.element_size() for p in teacher.model.parameters())
    assert memory_of(config, weights_of(config), sizes, "ddp", 1).teacher == held


def test_a_trained_frame_takes_six_operations_a_parameter_that_it_meets() -> None:
    config = TrainConfig(model=preset("omni-router"))
    weights = weights_of(config)
    sizes = of_length(config.model, 1, 15.0, 60, audio_seconds=15.0)
    found = operations_of(config.model, weights, sizes)
    attention = 16 * 3 * 4 * sizes.frames**2 * 1024
    expected = 6 * weights.active * sizes.frames + attention
    assert found.all == pytest.approx(expected, rel=0.01)


def test_experts_cost_nothing_but_their_router() -> None:
    sizes = of_length(routed("dense"), 2, 3.0, 9, audio_seconds=6.0)
    dense, omni = (run_of(routed(kind)) for kind in ("dense", "omni"))
    one, more = (operations_of(c.model, weights_of(c), sizes).forward for c in (dense, omni))
    width, experts = 16, 3
    routers = 2 * 2 * sizes.all_frames + 2 * sizes.all_tokens  # two halves, then the decoder's
    assert more - one == 2 * width * experts * routers


def test_the_counter_is_pytorchs_own() -> None:
    with FlopCounterMode(display=False) as counter:
        torch.mm(torch.ones(2, 3), torch.ones(3, 5))
    assert counter.get_total_flops() == 2 * 2 * 3 * 5
