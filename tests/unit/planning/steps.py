"""Real micro-batches and forward passes, for plans to be held against."""

from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from turnout.config import TrainConfig
from turnout.model.speech_model import SpeechModel
from turnout.planning.measure import batch_of
from turnout.planning.micro_batch import MicroBatch
from turnout.training.distributed import Ranks
from turnout.training.objective import Objective, count_step
from turnout.training.train import first_model


def alone() -> Ranks:
    """One rank on the CPU."""
    return cast(Ranks, SimpleNamespace(size=1, rank=0, device="cpu", sum=lambda values: values))


def loss_of(config: TrainConfig, sizes: MicroBatch, model: SpeechModel | None = None) -> Tensor:
    """The loss of a random micro-batch of these sizes, by the objective of a run."""
    model = model or first_model(config, config.model)
    batch = batch_of(config.model, sizes)
    ranks = alone()
    counts, _ = count_step([batch], ranks)
    columns: Any = (
        batch.log_mel, batch.frame_mask, batch.encoder_guide, batch.bandwidth,
        batch.rows, batch.tokens, batch.token_counts, batch.decoder_guide,
    )  # fmt: skip
    return Objective(config.objective, model, ranks)(model(*columns), batch, counts).loss


def saved_by(config: TrainConfig, sizes: MicroBatch) -> int:
    """Bytes that autograd keeps of that loss beside the weights, each storage once."""
    model = first_model(config, config.model)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            kept[place] = tensor  # held, so that no later storage has its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss_of(config, sizes, model)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
