"""A few real steps on this machine: how fast, and in how much memory. The only file here that
needs PyTorch.
"""

import time
from dataclasses import dataclass, replace
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor

from turnout.backends.torch_memory import memory_asked
from turnout.config import DecoderConfig, EncoderConfig, ModelConfig, TrainConfig
from turnout.data.batch import IGNORED, Batch
from turnout.errors import TrainingError
from turnout.guidance import Bandwidth
from turnout.planning.micro_batch import MicroBatch
from turnout.planning.operations import operations_of
from turnout.planning.weights import weights_of
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.state import RunState
from turnout.training.step import Stepper
from turnout.training.train import deterministic, first_model

STEPS = 3
"""That are timed, behind one that is not: the first one makes the optimizer's state."""

Layers = TypeVar("Layers", EncoderConfig, DecoderConfig)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Steps of one micro-batch on one device of this machine, the optimizer's part included."""

    seconds: float
    """Of the median step."""
    audio_seconds: float
    operations: float
    """By the formulas."""
    device: str
    peak_bytes: int | None
    """Most memory that tensors took; None on a CPU, where nobody counts it."""


def measured_of(config: TrainConfig, batch: MicroBatch) -> Measured:
    """Train on noise of these sizes for a few steps.

    Raises TrainingError where the model and its micro-batch are too large for the device.
    """
    ranks = Ranks(open_fabric(config))
    try:
        with memory_asked(), deterministic(config, ranks):
            stepper = Stepper(config, first_model(config, config.model).to(ranks.device), ranks)
            columns = batch_of(config.model, batch)
            state = RunState()
            seconds = [timed(stepper, columns, state) for _ in range(STEPS + 1)]
    except MemoryError as error:
        raise TrainingError(
            f"a step of this model needs more memory than {ranks.device.type} has: measure it "
            "'scaled', or with smaller data.batch_seconds"
        ) from error
    cuda = ranks.device.type == "cuda"
    return Measured(
        seconds=median(seconds[1:]),
        audio_seconds=batch.audio_seconds,
        operations=operations_of(config.model, weights_of(config), batch).all,
        device=torch.cuda.get_device_name(ranks.device) if cuda else "cpu",
        peak_bytes=torch.cuda.max_memory_allocated(ranks.device) if cuda else None,
    )


def timed(stepper: Stepper, batch: Batch, state: RunState) -> float:
    """Seconds of one step; it ends with numbers that were waited for."""
    begun = time.perf_counter()
    stepper([batch], state, 0.0)
    if stepper.ranks.device.type == "cuda":
        torch.cuda.synchronize(stepper.ranks.device)
    state.step += 1
    return time.perf_counter() - begun


def one_layer(config: TrainConfig) -> TrainConfig:
    """The run with one layer of each stack, of the same widths; all of it is trained."""
    model = config.model
    encoder = first_layer(model.encoder)
    decoder = first_layer(replace(model.decoder, alignment_heads=()))
    model = replace(model, encoder=encoder, decoder=decoder)
    return replace(config, model=model, trainable=(), low_rank=None)


def first_layer(stack: Layers) -> Layers:
    """A stack of one routed layer; one of none stays so."""
    routing = replace(stack.routing, layers=None)
    return replace(stack, num_layers=min(stack.num_layers, 1), routing=routing)


def batch_of(model: ModelConfig, sizes: MicroBatch) -> Batch:
    """Noise of these sizes with random texts, half of it narrowband, on all paths in turn: what it
    costs does not depend on what is said."""
    count = torch.arange(sizes.utterances)
    groups = [model.expert_map(part.routing).num_groups for part in (model.encoder, model.decoder)]
    rows = count if sizes.tokens else count[:0]
    shape = (len(rows), sizes.tokens)
    tokens = torch.randint(1, model.vocabulary.size, shape)
    return Batch(
        log_mel=torch.randn(sizes.utterances, sizes.feature_frames, model.features.num_mels),
        frame_mask=torch.ones(sizes.utterances, sizes.feature_frames, dtype=torch.bool),
        encoder_guide=count % groups[0],
        bandwidth=count % len(Bandwidth),
        ctc_targets=_targets(model, sizes),
        ctc_lengths=torch.full_like(count, sizes.targets),
        rows=rows,
        decoder_guide=rows % groups[1],
        tokens=tokens,
        token_counts=torch.full_like(rows, sizes.tokens),
        labels=torch.where(torch.arange(sizes.tokens) < 2, IGNORED, tokens),
        utterance_ids=tuple(f"noise-{index}" for index in count.tolist()),
        texts=("",) * len(rows),
        guidance=(),
        seconds=sizes.audio_seconds,
    )


def _targets(model: ModelConfig, sizes: MicroBatch) -> Tensor:
    # 0 is CTC's blank.
    return torch.randint(1, model.vocabulary.size, (sizes.utterances, sizes.targets))
