"""The whole encoders that benchmarks/experts.py trains and asks: 12 layers, dense and routed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import expert_layers as layers
import torch

from turnout.config import (
    DecoderConfig,
    EncoderConfig,
    ModelConfig,
    RoutingConfig,
    TrainConfig,
    VocabularyConfig,
)
from turnout.data.batch import Batch
from turnout.planning.measure import batch_of
from turnout.planning.micro_batch import MicroBatch
from turnout.planning.operations import operations_of
from turnout.planning.weights import weights_of
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.state import RunState
from turnout.training.step import Stepper
from turnout.training.train import deterministic, first_model

EXPERTS = 8
MOST = {"training step": 1.15, "inference": 1.1}
FASTER = 2.0
"""What bfloat16 is to gain of a training step."""
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of an encoder and its batch."""

    depth: int
    utterances: int
    valid: int
    """Hidden frames of the batch, padding left out."""
    targets: int = 20
    """Tokens of an utterance."""


FULL = Sizes(depth=12, utterances=layers.UTTERANCES, valid=layers.VALID)
QUICK = Sizes(depth=1, utterances=2, valid=32, targets=2)
SYSTEMS: dict[str, tuple[bool, Precision]] = {
    "dense": (False, "float32"),
    "again": (False, "float32"),
    "experts": (True, "float32"),
    "dense, bf16": (False, "bfloat16"),
    "experts, bf16": (True, "bfloat16"),
}


def config_of(
    sizes: Sizes, threads: int, *, routed: bool, precision: Precision, device: str = "cpu"
) -> TrainConfig:
    """A run of such an encoder with a CTC head; the experts behind one router of each layer."""
    routing = RoutingConfig(kind="switch", num_experts=EXPERTS) if routed else RoutingConfig()
    encoder = EncoderConfig(
        num_layers=sizes.depth,
        block="transformer",
        d_model=layers.WIDTH,
        num_heads=4,
        d_feedforward=layers.INNER,
        routing=routing,
    )
    model = ModelConfig(
        encoder=encoder,
        decoder=DecoderConfig(num_layers=0),
        vocabulary=VocabularyConfig(size=512),
        bandwidth_token=False,
    )
    return TrainConfig(model=model, precision=precision, device=device, threads=threads)


def sizes_of(sizes: Sizes, frames: int) -> MicroBatch:
    """`frames` hidden frames in each utterance."""
    return MicroBatch(
        utterances=sizes.utterances,
        audio_seconds=sizes.valid / 25,
        feature_frames=4 * frames,
        frames=frames,
        tokens=0,
        targets=sizes.targets,
    )


def padded_batch(model: ModelConfig, sizes: Sizes, number: int) -> Batch:
    """Noise in utterances of unlike lengths."""
    mask = layers.batch(number, sizes.utterances, sizes.valid).mask
    whole = batch_of(model, sizes_of(sizes, mask.shape[1]))
    return replace(whole, frame_mask=mask.repeat_interleave(4, dim=1))


class Trained:
    """A run that takes a step at a time, or is asked what it hears."""

    def __init__(self, config: TrainConfig) -> None:
        self.ranks = Ranks(open_fabric(config))
        model = first_model(config, config.model).to(self.ranks.device)
        self.stepper = Stepper(config, model, self.ranks)
        self.state = RunState()

    def step(self, given: Batch) -> None:
        """Of training, the optimizer's part included. Raises SystemExit where it was not taken."""
        if not self.stepper([given], self.state, 0.0).finite:
            raise SystemExit("a training step was not finite, and so was not taken")
        self.state.step += 1

    def hear(self, given: Batch) -> None:
        """One batch, without gradients."""
        model = self.stepper.model.eval()
        with torch.no_grad(), self.ranks.fabric.autocast():
            model.encode(given.log_mel, given.frame_mask, given.encoder_guide, given.bandwidth)


@contextmanager
def prepared(
    sizes: Sizes, threads: int, *, train: bool, device: str = "cpu"
) -> Iterator[tuple[list[str], Callable[[str, int], Callable[[], object]], float]]:
    """The systems, what gives the act of one of them in a round, and the operations of one act:
    those of the valid frames' matrix products, as `turnout plan` counts them."""
    configs = {
        name: config_of(sizes, threads, routed=routed, precision=precision, device=device)
        for name, (routed, precision) in SYSTEMS.items()
    }
    first = configs["dense"]
    counted = operations_of(
        first.model, weights_of(first), sizes_of(sizes, sizes.valid // sizes.utterances)
    )
    runs = {name: Trained(config) for name, config in configs.items() if name != "again"}
    runs["again"] = runs["dense"]

    def prepare(name: str, number: int) -> Callable[[], object]:
        run, given = runs[name], padded_batch(first.model, sizes, number)
        return (lambda: run.step(given)) if train else (lambda: run.hear(given))

    with deterministic(first, runs["dense"].ranks):
        yield list(configs), prepare, counted.all if train else counted.forward
