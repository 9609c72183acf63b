"""Steps and runs of ranks that share a model out, by rows or by experts, and of those that hold all
of it."""

import json
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

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
from turnout.guidance import Guide
from turnout.planning.measure import batch_of as batch_to_plan
from turnout.planning.micro_batch import MicroBatch, of_length
from turnout.training.distributed import Ranks, StopSignals, open_fabric
from turnout.training.expert_parallel import Exchange
from turnout.training.finish import finish
from turnout.training.loop import Trainer
from turnout.training.sharding import Gathering, Messages, Scattering
from turnout.training.state import RunState
from turnout.training.step import Stepper
from turnout.training.teacher import Teacher
from turnout.training.train import begin_or_resume, first_model, open_log

STEPS = 3
ROUTED = "routed"
"""Frames of each expert of each layer, of each step."""


@dataclass(frozen=True)
class Variant:
    """A model of a routing, and how it is trained."""

    kind: str
    accumulate: int = 1
    changes: Mapping[str, object] = field(default_factory=dict)


MODELS = {
    **ROUTINGS,
    "many": RoutingConfig(kind="supervised", guided_by=(Guide.BANDWIDTH, Guide.TASK)),
    "few": RoutingConfig(kind="switch", num_experts=2, jitter=0.0),
}
TIED = {"tie_experts_until": STEPS}
EXACT = {
    **{kind: Variant(kind) for kind in ROUTINGS},
    "tied": Variant("switch", 2, TIED),
    "low rank": Variant("hybrid", 1, {"trainable": ("encoder.attention",), "low_rank": 2}),
}
"""What two ranks do as one process does."""
EXPERTS = {
    **{name: variant for name, variant in EXACT.items() if name != "dense"},
    # Of the four experts of a layer two get no frame on any rank.
    "many": Variant("many"),
    # One rank trains nothing, but sends frames, and is sent some.
    "one rank's": Variant("supervised", 1, {"trainable": ("encoder.experts.narrowband",)}),
    # A batch of one bandwidth asks one expert, where nothing is trained.
    "frozen": Variant("supervised", 1, {"trainable": ("encoder.attention",)}),
}
"""So that each holds its share of the experts."""
COPIES = {
    "supervised": Variant("supervised"),
    "tied": Variant("few", 1, TIED),
    "more": Variant("many"),
}
"""Of four ranks: each expert is held by two of them, but in the last."""
TAUGHT = ObjectiveConfig(distil_encoder=1.0, distil_decoder=1.0, teacher_cache_gb=0)
PAIRED = {
    "bfloat16": Variant("omni", 1, {"precision": "bfloat16"}),
    "taught": Variant("omni", 1, {"objective": TAUGHT, "init_from": "its beginning"}),
}
"""What is not that of one process on batches joined (their padding counts in bfloat16), but what
two ranks do that hold the whole model."""


def config_of(variant: Variant, output: Path, parallel: str = "replicated") -> TrainConfig:
    """Of one layer on each side, without dropout."""
    settings: dict[str, object] = {
        "parallel": parallel,
        "model": small(MODELS[variant.kind], dropout=0.0),
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
    variant: Variant, ranks: Ranks, batch: Callable[[int, int], Batch], parallel: str
) -> dict[str, Tensor]:
    """The whole model after the steps on these batches (of a step and micro-step), and what they
    reported."""
    config = config_of(variant, Path(), parallel)
    stepper = Stepper(config, first_model(config, config.model), ranks)
    if config.tie_experts_until:
        stepper.gradients.make_equal()
    if config.objective.distils:
        with TemporaryDirectory() as kept:
            stepper.teacher = Teacher(stepper.model, config.objective, Path(kept))
    if parallel != "replicated":
        stepper.shard()
    reported, routed = [], []
    for step in range(STEPS):
        batches = [batch(step, micro_step) for micro_step in range(variant.accumulate)]
        report = stepper(batches, RunState(step=step, updates=step), 0.0)
        figures = (report.loss, report.ctc, report.attention, report.balance, report.norm)
        reported.append(torch.tensor(figures, dtype=torch.float64))
        routed.append(torch.cat([torch.zeros(0), *report.frames]))
    weights = dict(stepper.whole_model().named_parameters())
    return {
        **{name: weight.detach().contiguous() for name, weight in weights.items()},
        REPORTED: torch.stack(reported),
        ROUTED: torch.stack(routed),
    }


def steps_of_a_rank(case: Case) -> None:
    """Every variant, spread over the ranks by rows or by experts; those of the second kind whole on
    each as well."""
    ranks = Ranks(open_fabric(toy_config(case.output)))

    def own(step: int, micro_step: int) -> Batch:
        batch = batch_of(ranks.rank, step, micro_step)
        heard = (batch.log_mel, batch.frame_mask, batch.encoder_guide, batch.bandwidth)
        lasting = torch.ones_like(batch.frame_mask[:, 0])
        return replace(batch, clean=Clean(*heard, batch.decoder_guide, lasting))

    sent = counted()
    for name, variant in (EXACT if case.kind == "sharded" else EXPERTS).items():
        found = take_steps(variant, ranks, own, case.kind)
        save_file(found, case.output / f"{name}-{ranks.rank}.safetensors")
        (case.output / f"{name}-{ranks.rank}.json").write_text(json.dumps(sent))
        sent.update(dict.fromkeys(sent, 0))
    for name, variant in PAIRED.items():
        # Autocast, as every run has it, is the fabric's.
        ranks = Ranks(open_fabric(config_of(variant, case.output)))
        for parallel in (case.kind, "replicated"):
            found = take_steps(variant, ranks, own, parallel)
            save_file(found, case.output / f"{name}-{parallel}-{ranks.rank}.safetensors")


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


def steps_with_copies(case: Case) -> None:
    """Where there are more ranks than shares of experts."""
    ranks = Ranks(open_fabric(toy_config(case.output)))
    for name, variant in COPIES.items():
        found = take_steps(variant, ranks, lambda *at: batch_of(ranks.rank, *at), "experts")
        save_file(found, case.output / f"{name}-{ranks.rank}.safetensors")


def planned_of(precision: str, output: Path) -> tuple[TrainConfig, MicroBatch]:
    """A run of experts by bandwidth and task, and a micro-batch that takes them alike."""
    config = replace(config_of(Variant("supervised"), output, "experts"), precision=precision)
    return config, of_length(config.model, 4, 1.0, 4, audio_seconds=4.0)


def sent_by_a_rank(case: Case) -> None:
    """A step on what a plan is for: bytes that are sent, and that are held."""
    config, sizes = planned_of(case.kind, case.output)
    ranks = Ranks(open_fabric(config))
    stepper = Stepper(config, first_model(config, config.model), ranks)
    stepper.shard()
    sent = {"exchanged": 0.0, "summed": 0}
    exchange, sum_in_place = Ranks.exchange, Ranks._sum_in_place

    def exchanged(self: Ranks, values: Tensor, *counts: Sequence[int]) -> Tensor:
        going, _ = counts
        if values.is_floating_point():
            sent["exchanged"] += values.nbytes * (1 - going[self.rank] / sum(going))
        return exchange(self, values, *counts)

    def summed(self: Ranks, tensors: Sequence[Tensor]) -> None:
        sent["summed"] += sum(tensor.nbytes for tensor in tensors)
        sum_in_place(self, tensors)

    Ranks.exchange = exchanged  # pyright: ignore[reportAttributeAccessIssue]
    Ranks._sum_in_place = summed
    assert stepper([batch_to_plan(config.model, sizes)], RunState(), 0.0).finite
    here = [p for p in stepper.model.parameters() if not p.is_meta]
    moments = [m for state in stepper.optimizer.state.values() for m in state.values() if m.ndim]
    held = {
        "weights": sum(p.nbytes for p in here),
        "gradients": sum(p.grad.nbytes for p in here if p.grad is not None),
        "optimizer": sum(moment.nbytes for moment in moments),
    }
    (case.output / f"{ranks.rank}.json").write_text(json.dumps(sent | held))


def killed(ctx: object, *gradients: Tensor) -> NoReturn:
    """In place of sending them."""
    die()


class KilledInBackward(Point):
    """The gradients of a layer are to be summed, or to go back to where its frames came from; the
    other rank waits for them, in the midst of its backward pass."""

    def __call__(self) -> None:
        original, after = Trainer._step, self.after

        def step(self: Trainer, batches: list[Batch]) -> None:
            if self.state.step >= after:
                Scattering.__call__ = lambda *_, **__: die()
                Exchange.backward = staticmethod(killed)
            original(self, batches)

        Trainer._step = step


def whole_runs(case: Case) -> None:
    """A step that only one rank finds bad. A run that is spread, then whole, then spread again, its
    final model, and a run that was whole all the time."""
    a_bad_batch(case)
    torch.use_deterministic_algorithms(True)
    every = OptimizerConfig(warmup_steps=3, learning_rate=1e-2)
    model = moved_model(case.kind)
    moved = toy_config(case.output / "moved", model=model, optimizer=every, max_steps=6)
    for steps, parallel in ((3, case.kind), (5, "replicated")):
        until(steps, replace(moved, parallel=parallel))
    trainer = run_toy(replace(moved, parallel=case.kind))
    finish(trainer, None)
    if trainer.ranks.first:
        weights = {n: p.detach().contiguous() for n, p in trainer.model.named_parameters()}
        save_file(weights, case.output / "final.safetensors")
    run_toy(replace(moved, output=str(case.output / "whole")))


def moved_model(parallel: str) -> ModelConfig:
    """With dropout where every rank draws what it would draw with whole models: of experts whoever
    holds them draws for all ranks' frames."""
    return small(ROUTINGS["supervised"], dropout=0.1 if parallel == "sharded" else 0.0)


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
    config = config_of(EXACT["switch"], case.output, case.kind)
    stepper = Stepper(config, first_model(config, config.model), ranks)
    stepper.shard()
    before = {name: tensor.clone() for name, tensor in stepper.whole_model().state_dict().items()}
    assert not stepper([bad], RunState(), 0.0).finite, "one rank's bad batch must stop all of them"
    after = stepper.whole_model().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "a weight moved"
