"""Steps and runs of ranks that share a model out by FSDP2, and of those that hold all of it."""

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.reliability.kills import Point, die
from tests.reliability.side_by_side import REPORTED, ROUTINGS, Case, batch_of
from tests.unit.training.toy import run_toy, toy_config, toy_model, toy_trainer
from turnout.config import (
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    RoutingConfig,
    TrainConfig,
)
from turnout.data.batch import Batch, Clean
from turnout.errors import RunStopped
from turnout.training.distributed import Ranks, StopSignals, open_fabric
from turnout.training.finish import finish
from turnout.training.loop import Trainer
from turnout.training.sharding import Gathering, Messages, Scattering
from turnout.training.state import RunState
from turnout.training.step import Stepper
from turnout.training.teacher import Teacher
from turnout.training.train import begin_or_resume, first_model, open_log

STEPS = 3


@dataclass(frozen=True)
class Variant:
    """A model of a routing, and how it is trained."""

    kind: str
    accumulate: int = 1
    changes: Mapping[str, object] = field(default_factory=dict)


EXACT = {
    **{kind: Variant(kind) for kind in ROUTINGS},
    "tied": Variant("switch", 2, {"tie_experts_until": STEPS}),
    "low rank": Variant("hybrid", 1, {"trainable": ("encoder.attention",), "low_rank": 2}),
}
"""What two ranks do as one process does."""
TAUGHT = ObjectiveConfig(distil_encoder=1.0, distil_decoder=1.0, teacher_cache_gb=0)
PAIRED = {
    "bfloat16": Variant("omni", 1, {"precision": "bfloat16"}),
    "taught": Variant("omni", 1, {"objective": TAUGHT, "init_from": "its beginning"}),
}
"""What is not that of one process on batches joined (their padding counts in bfloat16), but what
two ranks do that hold the whole model."""


def config_of(variant: Variant, output: Path) -> TrainConfig:
    """Of one layer on each side, without dropout."""
    settings: dict[str, object] = {
        "model": small(ROUTINGS[variant.kind], dropout=0.0),
        "objective": ObjectiveConfig(balance_weight=0.1),
        # Gradients of these models have a norm above 1 at first: it clips.
        "optimizer": OptimizerConfig(
            learning_rate=1e-3, warmup_steps=0, clip_norm=0.5, accumulate=variant.accumulate
        ),
        **variant.changes,
    }
    return toy_config(output, **settings)


def small(routing: RoutingConfig, dropout: float) -> ModelConfig:
    """Of as few tensors as have all kinds of parts: each costs messages."""
    model = toy_model(routing, routing, dropout=dropout)
    return replace(model, encoder=replace(model.encoder, num_layers=1, block="transformer"))


def take_steps(
    variant: Variant, ranks: Ranks, batch: Callable[[int, int], Batch], *, shard: bool
) -> dict[str, Tensor]:
    """The whole model after the steps on these batches (of a step and micro-step), and what they
    reported."""
    config = config_of(variant, Path())
    stepper = Stepper(config, first_model(config, config.model), ranks)
    if config.tie_experts_until:
        stepper.gradients.make_equal()
    if config.objective.distils:
        with TemporaryDirectory() as kept:
            stepper.teacher = Teacher(stepper.model, config.objective, Path(kept))
    if shard:
        stepper.shard()
    reported = []
    for step in range(STEPS):
        batches = [batch(step, micro_step) for micro_step in range(variant.accumulate)]
        report = stepper(batches, RunState(step=step, updates=step), 0.0)
        figures = (report.loss, report.ctc, report.attention, report.balance, report.norm)
        reported.append(torch.tensor(figures, dtype=torch.float64))
    weights = dict(stepper.whole_model().named_parameters())
    return {
        **{name: weight.detach().contiguous() for name, weight in weights.items()},
        REPORTED: torch.stack(reported),
    }


def steps_of_a_rank(case: Case) -> None:
    """Every variant, spread over the ranks; those of the second kind whole on each as well."""
    ranks = Ranks(open_fabric(toy_config(case.output)))

    def own(step: int, micro_step: int) -> Batch:
        batch = batch_of(ranks.rank, step, micro_step)
        heard = (batch.log_mel, batch.frame_mask, batch.encoder_guide, batch.bandwidth)
        lasting = torch.ones_like(batch.frame_mask[:, 0])
        return replace(batch, clean=Clean(*heard, batch.decoder_guide, lasting))

    sent = counted()
    for name, variant in EXACT.items():
        found = take_steps(variant, ranks, own, shard=True)
        save_file(found, case.output / f"{name}-{ranks.rank}.safetensors")
        (case.output / f"{name}-{ranks.rank}.json").write_text(json.dumps(sent))
        sent.update(dict.fromkeys(sent, 0))
    for name, variant in PAIRED.items():
        # Autocast, as every run has it, is the fabric's.
        ranks = Ranks(open_fabric(config_of(variant, case.output)))
        for shard in (True, False):
            found = take_steps(variant, ranks, own, shard=shard)
            save_file(found, case.output / f"{name}-{shard}-{ranks.rank}.safetensors")


def counted() -> dict[str, int]:
    """Bytes that this rank hands to FSDP2's messages from now on, by their kind."""
    sent = {"gathered": 0, "scattered": 0}

    def counts(kind: str, of: type[Messages]) -> None:
        original = of.__call__  # pyright: ignore[reportAttributeAccessIssue]

        def call(self: Messages, *args: object, input_tensor: Tensor, **rest: object) -> None:
            sent[kind] += input_tensor.nbytes
            original(self, *args, input_tensor=input_tensor, **rest)

        of.__call__ = call  # pyright: ignore[reportAttributeAccessIssue]

    counts("gathered", Gathering)
    counts("scattered", Scattering)
    return sent


class KilledInBackward(Point):
    """The gradients of a layer are to be summed; the other rank waits for them, in the midst of its
    backward pass."""

    def __call__(self) -> None:
        original, after = Trainer._step, self.after

        def step(self: Trainer, batches: list[Batch]) -> None:
            if self.state.step >= after:
                Scattering.__call__ = lambda *_, **__: die()
            original(self, batches)

        Trainer._step = step


def whole_runs(case: Case) -> None:
    """A step that only one rank finds bad. A run that is spread, then whole, then spread again, its
    final model, and a run that was whole all the time."""
    a_bad_batch(case)
    torch.use_deterministic_algorithms(True)
    every = OptimizerConfig(warmup_steps=3, learning_rate=1e-2)
    model = small(ROUTINGS["supervised"], dropout=0.1)
    moved = toy_config(case.output / "moved", model=model, optimizer=every, max_steps=6)
    for steps, parallel in ((3, "sharded"), (5, "replicated")):
        until(steps, replace(moved, parallel=parallel))
    trainer = run_toy(replace(moved, parallel="sharded"))
    finish(trainer, None)
    if trainer.ranks.first:
        weights = {n: p.detach().contiguous() for n, p in trainer.model.named_parameters()}
        save_file(weights, case.output / "final.safetensors")
    run_toy(replace(moved, output=str(case.output / "whole")))


def until(steps: int, config: TrainConfig) -> None:
    """Begin a run or go on with it, and stop it at a step as a signal does."""
    trainer = toy_trainer(config, StopAt(steps))
    assert isinstance(trainer.stop, StopAt)
    trainer.stop.trainer = trainer
    trainer.folder.mkdir(parents=True, exist_ok=True)
    lengths = begin_or_resume(trainer, lambda _: None)
    with pytest.raises(RunStopped), open_log(trainer, lengths) as log:
        trainer.run(log)


class StopAt(StopSignals):
    """As if a signal came in the midst of a step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.trainer: Trainer | None = None

    @property
    def received(self) -> int:
        stopped = self.trainer is not None and self.trainer.state.step >= self.steps
        return signal.SIGTERM if stopped else 0


def a_bad_batch(case: Case) -> None:
    """No rank takes the step."""
    ranks = Ranks(open_fabric(toy_config(case.output)))
    bad = batch_of(ranks.rank, 0, 0)
    if ranks.rank == 1:
        bad = replace(bad, log_mel=bad.log_mel * float("nan"))
    config = config_of(EXACT["switch"], case.output)
    stepper = Stepper(config, first_model(config, config.model), ranks)
    stepper.shard()
    before = stepper.whole_model().state_dict()
    assert not stepper([bad], RunState(), 0.0).finite, "one rank's bad batch must stop all of them"
    after = stepper.whole_model().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "a weight moved"
