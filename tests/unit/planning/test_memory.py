"""Weights, gradients, moments and what is sent, held against a real step."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from tests.unit.planning.shapes import KINDS, routed, run_of
from turnout.config import TrainConfig, preset
from turnout.planning.disk import checkpoint_bytes, weights_bytes
from turnout.planning.measure import batch_of
from turnout.planning.memory import memory_of
from turnout.planning.micro_batch import MicroBatch, of_length
from turnout.planning.traffic import frames_to_experts, traffic_of
from turnout.planning.weights import weights_of
from turnout.training import distributed
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.state import RunState, named_weights, run_tensors
from turnout.training.step import Stepper
from turnout.training.train import first_model

RUNS = {
    **{kind: run_of(routed(kind)) for kind in KINDS},
    "frozen": run_of(routed("supervised"), trainable=("encoder.experts.narrowband",)),
}
OMNI = TrainConfig(model=preset("omni-router"), precision="bfloat16")


def sizes_of(config: TrainConfig) -> MicroBatch:
    """A small micro-batch."""
    return of_length(config.model, 2, 1.0, 4, audio_seconds=2.0)


def taken(config: TrainConfig) -> Stepper:
    """A run's step, once taken."""
    ranks = Ranks(open_fabric(config))
    stepper = Stepper(config, first_model(config, config.model), ranks)
    assert stepper([batch_of(config.model, sizes_of(config))], RunState(), 0.0).finite
    return stepper


def size(tensors: Any) -> int:
    """Bytes of them."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("config", RUNS.values(), ids=RUNS)
def test_states_and_files_are_those_of_a_real_step(config: TrainConfig) -> None:
    stepper = taken(config)
    weights = weights_of(config)
    memory = memory_of(config, weights, sizes_of(config), "ddp", 1)
    parameters = list(stepper.model.parameters())
    assert memory.weights == size(parameters)
    assert memory.gradients == size(p.grad for p in parameters if p.grad is not None)
    moments = [m for state in stepper.optimizer.state.values() for m in state.values()]
    assert memory.optimizer == size(m for m in moments if m.ndim)  # each has a count of steps too
    tensors = run_tensors(stepper.model, stepper.optimizer, 1)
    assert checkpoint_bytes(weights) == size(tensors.values())
    assert weights_bytes(weights) == size(named_weights(stepper.model).values())
    data = save({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    assert 0 < len(data) - checkpoint_bytes(weights) < 200 * len(tensors)


@pytest.mark.parametrize("config", RUNS.values(), ids=RUNS)
def test_two_ranks_sum_as_many_bytes_as_are_foreseen(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[Tensor] = []

    def all_reduce(tensor: Tensor, *_: object, **__: object) -> object:
        handed.append(tensor)
        return object()

    model = first_model(config, config.model)
    ranks = object.__new__(Ranks)
    ranks.size = 2
    ranks._neighbours = cast(Any, SimpleNamespace(wait=lambda _: None))
    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    ranks.sum_gradients(p for p in model.parameters() if p.requires_grad)
    # Of two, each sends half of it to scatter the sum, and half to gather it.
    sent = traffic_of(config, weights_of(config), sizes_of(config), "ddp", 2)
    assert sent.all_reduce == sent.total == size(handed) > 0


@pytest.mark.parametrize("sharing", ["fsdp", "experts"])
def test_shares_of_all_devices_are_the_model(sharing: Any) -> None:
    weights = weights_of(OMNI)
    memory = memory_of(OMNI, weights, sizes_of(OMNI), sharing, 4)
    experts = 16 * 4 * (2 * 1024 * 4096 + 1024 + 4096)
    shared = weights.total - experts
    if sharing == "fsdp":
        assert memory.optimizer * 4 == 8 * weights.total
        layer = experts // 16 + 4 * 1024**2 + 3 * 1024 + 4 * 1024
        outside = weights.total - 16 * layer
        assert memory.update == 4 * weights.total  # whole in validation
        assert memory.weights == 4 * (weights.total / 4 + 2 * layer + outside)
    else:
        assert memory.optimizer == 8 * (shared + experts / 4)
        assert memory.weights == 4 * (shared + experts / 4)
        assert memory.update == 4 * experts * 3 / 4  # the others', in validation


def test_one_device_shards_nothing_and_sends_nothing() -> None:
    weights, sizes = weights_of(OMNI), sizes_of(OMNI)
    assert memory_of(OMNI, weights, sizes, "fsdp", 1) == memory_of(OMNI, weights, sizes, "ddp", 1)
    for sharing in ("ddp", "fsdp", "experts"):
        assert traffic_of(OMNI, weights, sizes, sharing, 1).total == 0


def test_frames_go_to_their_experts_and_back() -> None:
    config = run_of(routed("omni", num_experts=4, num_layers=1, decoder={"num_layers": 0}))
    sizes = of_length(config.model, 4, 3.96, 8, audio_seconds=15.84)  # with the token 100 frames
    frames = torch.zeros(sizes.all_frames, 16)
    chosen = torch.arange(sizes.all_frames) % 4  # taken alike; this device has expert 0
    leaving = frames[chosen != 0]
    halves, ways = 2, 4  # a Conformer's; there, back, and so the gradients
    assert frames_to_experts(config, sizes, 4) == size([leaving]) * halves * ways


def test_fsdp_sends_what_a_ring_does() -> None:
    config = run_of(routed("dense"))
    weights = weights_of(config)
    sent = traffic_of(config, weights, sizes_of(config), "fsdp", 4)
    outside = sum(weight.size for weight in weights.all if ".blocks." not in weight.name)
    assert sent.all_gather == 0.75 * 4 * (2 * weights.total - outside)
    assert sent.reduce_scatter == 0.75 * 4 * weights.total


def test_experts_on_more_devices_than_there_are_have_holders_that_sum() -> None:
    weights = weights_of(OMNI)
    experts = 16 * 4 * (2 * 1024 * 4096 + 1024 + 4096)
    sent = traffic_of(OMNI, weights, sizes_of(OMNI), "experts", 8)
    shared = 2 * 7 / 8 * 4 * (weights.total - experts)
    assert sent.all_reduce == pytest.approx(shared + 2 * 1 / 2 * 4 * experts / 4)
