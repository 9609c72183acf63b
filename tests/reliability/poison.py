"""Numbers that are none, put into one rank's training, and a record of what its steps changed."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from turnout.data.batch import Batch
from turnout.experts.routing import Router
from turnout.training.distributed import Ranks
from turnout.training.objective import StepCounts
from turnout.training.state import RunState, run_tensors
from turnout.training.step import Stepper, StepReport

FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "NaN": lambda values: values * float("nan"),
    "infinite": lambda values: values + float("inf"),
    "huge": lambda values: torch.full_like(values, 3e38),
}
GRADIENT, ROUTER = "gradient", "router"
KINDS = (*FEATURES, GRADIENT, ROUTER)


@dataclass(frozen=True)
class Poison:
    """From one step on, so many steps of this process are poisoned, and every step recorded."""

    kind: str
    first: int
    count: int
    record: Path
    """JSON lines: step, finite, digest of weights and moments before and after, utterances."""

    def __call__(self) -> None:
        """Arm it, in the process that is to meet it; a count of 0 only records."""
        now = [0]
        _record(self.record, now)

        def bad() -> bool:
            return self.first <= now[0] < self.first + self.count

        if self.kind in FEATURES:
            _poison_batches(FEATURES[self.kind], bad)
        elif self.kind == ROUTER:
            _poison_router(bad)
        else:
            _poison_gradient(bad)


def digest_of(stepper: Stepper) -> str:
    """Of weights and moments, by name."""
    digest = hashlib.sha256()
    optimizer = stepper.optimizer
    tensors = run_tensors(stepper.model, optimizer, len(optimizer.state))
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _record(path: Path, now: list[int]) -> None:
    original = Stepper.__call__

    def call(self: Stepper, batches: list[Batch], state: RunState, share: float) -> StepReport:
        now[0] = state.step
        before = digest_of(self)
        report = original(self, batches, state, share)
        with path.open("a") as file:
            names = [name for batch in batches for name in batch.utterance_ids]
            line = [state.step, report.finite, before, digest_of(self), names]
            print(json.dumps(line), file=file)
        return report

    Stepper.__call__ = call


def _poison_batches(change: Callable[[Tensor], Tensor], bad: Callable[[], bool]) -> None:
    """The last batch of a step only: the others of its accumulation are good."""
    original = Stepper._gradients

    def gradients(self: Stepper, batches: list[Batch], counts: StepCounts, step: int) -> Any:
        if bad():
            last = batches[-1]
            batches = [*batches[:-1], replace(last, log_mel=change(last.log_mel))]
        return original(self, batches, counts, step)

    Stepper._gradients = gradients


def _poison_router(bad: Callable[[], bool]) -> None:
    """One logit of one frame, in training alone."""
    original = nn.Linear.forward

    def linear(self: nn.Linear, input: Tensor) -> Tensor:  # noqa: A002
        logits = original(self, input)
        if self in poisoned and self.training and bad():
            changed = logits.clone()
            changed[0, 0, 0] = float("nan")
            return changed
        return logits

    poisoned: set[nn.Linear] = set()
    build = Router.__init__

    def init(self: Router, *arguments: Any, **options: Any) -> None:
        build(self, *arguments, **options)
        poisoned.add(self.linear)

    Router.__init__ = init
    nn.Linear.forward = linear


def _poison_gradient(bad: Callable[[], bool]) -> None:
    """One value of one parameter's gradient, before the ranks add theirs up."""
    original = Ranks.sum_gradients

    def sum_gradients(self: Ranks, parameters: Any) -> None:
        if bad():
            found = [p for p in parameters if p.grad is not None]
            found[-1].grad.view(-1)[0] = float("nan")
        original(self, parameters)

    Ranks.sum_gradients = sum_gradients
