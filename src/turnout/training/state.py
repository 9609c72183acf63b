"""All that a run is at one step: its counters, and the tensors of model and optimizer by name.

Random numbers need no state of their own: every step seeds all generators from (seed, step,
micro-step, rank), and batches derive theirs from (seed, epoch, utterance id).
"""

import hashlib
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from turnout.errors import CheckpointError
from turnout.training.whole_tensors import put

WEIGHT, FIRST_MOMENT, SECOND_MOMENT = "weights/", "first_moment/", "second_moment/"


@dataclass(frozen=True, kw_only=True)
class Validated:
    """Weights that were validated, kept in a file of their own."""

    step: int
    score: float | None
    """Average WER in percent, lower is better; None where there is nothing to validate on."""
    file: str
    sha256: str


@dataclass(kw_only=True)
class RunState:
    """Where a run stands, between two steps. Everything here is plain JSON."""

    step: int = 0
    """Steps taken, skipped ones included."""
    updates: int = 0
    """Steps that changed the weights."""
    epoch: int = 0
    part: int = 0
    """Of the epoch, where shards are streamed: each part has a plan of its own."""
    position: int = 0
    """Batches of this plan that each rank has consumed."""
    unread: list[str] = field(default_factory=list)
    """Shards that this plan goes without, as `data.epoch.Turn` calls them: whoever goes on goes
    without them too, wherever the store is well again."""
    lost: int = 0
    """Utterances of shards that were left out since they could not be read."""
    seconds: float = 0.0
    """Audio consumed by all ranks."""
    epoch_share: float = 0.0
    """Share of the run that was done when the epoch began: its plan of batches follows from it."""
    warm_share: float = 0.0
    """Share of the run that was done when the warm-up ended."""
    skipped: int = 0
    """Steps skipped since loss or gradient was not finite."""
    skipped_in_a_row: int = 0
    validated: list[Validated] = field(default_factory=list)
    """The last validations and the best."""
    validated_step: int = 0
    """Step of the newest validation."""
    window: dict[str, Any] = field(default_factory=dict)
    """Sums since the last line of the log."""

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> "RunState":
        """The inverse of `asdict`; raises CheckpointError for fields of another version."""
        try:
            validated = [Validated(**entry) for entry in fields["validated"]]
            return cls(**{**fields, "validated": validated})
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"the checkpoint's state is of another version of turnout ({error}): go on with "
                "that version, or begin again in another output folder"
            ) from error


def seed_step(seed: int, step: int, micro_step: int, rank: int) -> None:
    """Seed every generator that dropout, jitter or a library could draw from."""
    words = f"{seed}/{step}/{micro_step}/{rank}".encode()
    number = int.from_bytes(hashlib.sha256(words).digest()[:8], "little")
    random.seed(number)
    np.random.seed(number % 2**32)  # it takes no more bits
    torch.manual_seed(number)


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """Trained parameters and saved buffers by name, each tensor once whatever refers to it: what is
    frozen needs no saving, and is put back from where the run began."""
    saved = set(model.state_dict(keep_vars=True))
    named: dict[str, Tensor] = {n: p for n, p in model.named_parameters() if p.requires_grad}
    named.update((name, buffer) for name, buffer in model.named_buffers() if name in saved)
    return named


def run_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, updates: int
) -> dict[str, Tensor]:
    """Every tensor that a run moves, which `updates` steps changed, under the names of the whole
    model; what other ranks hold is there without memory."""
    tensors = {WEIGHT + name: tensor.detach() for name, tensor in named_weights(model).items()}
    for name, parameter in model.named_parameters():
        if not updates or not parameter.requires_grad:
            continue
        held = None if parameter.is_meta else optimizer.state[parameter]
        tensors[FIRST_MOMENT + name] = parameter.detach() if held is None else held["exp_avg"]
        tensors[SECOND_MOMENT + name] = parameter.detach() if held is None else held["exp_avg_sq"]
    return tensors


@torch.no_grad()
def restore_tensors(
    tensors: dict[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer, updates: int
) -> None:
    """Put back what `run_tensors` took; `updates` steps had changed the weights.

    Raises CheckpointError, before anything is changed, where names or shapes differ.
    """
    weights = named_weights(model)
    moments = {
        kind + name: parameter
        for kind in (FIRST_MOMENT, SECOND_MOMENT)
        for name, parameter in model.named_parameters()
        if updates and parameter.requires_grad
    }
    expected = {WEIGHT + name: tensor for name, tensor in weights.items()} | moments
    shapes = ({(name, tensor.shape) for name, tensor in of.items()} for of in (expected, tensors))
    wrong = sorted({name for name, _ in set.symmetric_difference(*shapes)})
    if wrong:
        raise CheckpointError(
            f"the checkpoint's tensors do not fit the model: {', '.join(wrong[:3])}"
            f"{' ...' if len(wrong) > 3 else ''}: it belongs to another run"
        )
    copy_weights(model, {name: tensors[WEIGHT + name] for name in weights})
    for name, parameter in model.named_parameters():
        if FIRST_MOMENT + name in moments and not parameter.is_meta:
            first, second = torch.empty_like(parameter), torch.empty_like(parameter)
            put(first, tensors[FIRST_MOMENT + name])
            put(second, tensors[SECOND_MOMENT + name])
            step = torch.tensor(float(updates))
            optimizer.state[parameter] = {"step": step, "exp_avg": first, "exp_avg_sq": second}


@torch.no_grad()
def copy_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy weights in by name; all names that the run moves are there."""
    for name, tensor in named_weights(model).items():
        put(tensor, weights[name])


def average(weights: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several models' weights, summed in float64."""
    return {
        name: torch.stack([w[name].double() for w in weights]).mean(dim=0).to(tensor.dtype)
        for name, tensor in weights[0].items()
    }
