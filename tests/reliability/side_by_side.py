"""Steps of two processes, and of one on their batches joined, under every routing."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.reliability.runs import WATCHDOG, environments, processes
from tests.unit.training.toy import joined, run_toy, toy_batch, toy_config, toy_model
from turnout.config import ObjectiveConfig, RoutingConfig
from turnout.data.batch import Batch
from turnout.model.build import build_model
from turnout.training import step as step_module
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.objective import StepCounts
from turnout.training.state import RunState, named_weights
from turnout.training.step import Stepper

ROUTINGS = {
    "dense": RoutingConfig(kind="dense"),
    "switch": RoutingConfig(kind="switch", num_experts=4, jitter=0.0),
    "omni": RoutingConfig(kind="omni", num_experts=4, jitter=0.0),
    "supervised": RoutingConfig(kind="supervised"),
    "hybrid": RoutingConfig(kind="hybrid", num_experts=2, jitter=0.0),
}
RANKS, STEPS = 2, 2
REPORTED = "reported"
"""What each step reported: loss, CTC, attention, balance and the gradient's norm."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained, and where the tensors go."""

    kind: str
    accumulate: int
    output: Path
    counts_alone: bool = False
    """The negative control: each rank divides by its own tokens, not by everybody's."""


def batch_of(rank: int, step: int, micro_step: int) -> Batch:
    """Of unlike sizes; in the first step each rank has one bandwidth only, in the second all but
    the first have no decoder row."""
    batch = toy_batch(f"rank{rank}-step{step}-{micro_step}", 2 + rank)
    if step == 0:
        guide = torch.full_like(batch.bandwidth, rank % 2)
        return replace(batch, bandwidth=guide, encoder_guide=guide)
    if rank == 0:
        return batch
    none = batch.rows[:0]
    return replace(
        batch,
        rows=none,
        decoder_guide=none,
        token_counts=none,
        tokens=batch.tokens[:0],
        labels=batch.labels[:0],
    )


def toy_stepper(kind: str, output: Path, ranks: Ranks) -> Stepper:
    """Without dropout and jitter."""
    routing = ROUTINGS[kind]
    torch.manual_seed(0)
    model = build_model(toy_model(routing, replace(routing), dropout=0.0))
    config = toy_config(output, objective=ObjectiveConfig(balance_weight=0.1))
    return Stepper(config, model, ranks)


def take_steps(case: Case, ranks: Ranks, batch: Callable[[int, int], Batch]) -> dict[str, Tensor]:
    """The weights after the steps on these batches (of a step and micro-step), and what they
    reported."""
    stepper = toy_stepper(case.kind, case.output, ranks)
    reported = []
    for step in range(STEPS):
        batches = [batch(step, micro_step) for micro_step in range(case.accumulate)]
        report = stepper(batches, RunState(step=step, updates=step), 0.0)
        figures = (report.loss, report.ctc, report.attention, report.balance, report.norm)
        reported.append(torch.tensor(figures, dtype=torch.float64))
    return {**named_weights(stepper.model), REPORTED: torch.stack(reported)}


def one_process(case: Case) -> dict[str, Tensor]:
    """On the ranks' batches joined."""

    def both(step: int, micro_step: int) -> Batch:
        return joined(batch_of(0, step, micro_step), batch_of(1, step, micro_step))

    return take_steps(case, Ranks(open_fabric(toy_config(case.output))), both)


def each_rank(case: Case) -> list[dict[str, Tensor]]:
    """In processes of their own."""
    case.output.mkdir(parents=True)
    together(rank_of, case)
    return [load_file(case.output / f"{rank}.safetensors") for rank in range(RANKS)]


def rank_of(case: Case) -> None:
    """One rank's steps."""
    ranks = Ranks(open_fabric(toy_config(case.output)))
    if case.counts_alone:
        count_alone()
    found = take_steps(case, ranks, lambda step, micro: batch_of(ranks.rank, step, micro))
    save_file(found, case.output / f"{ranks.rank}.safetensors")


def count_alone() -> None:
    """Divide the losses by the tokens of the own batches."""
    original = step_module.count_step

    def count_step(
        batches: list[Batch], ranks: Ranks, subsampling: int = 1
    ) -> tuple[StepCounts, float]:
        whole, ranks.size = ranks.size, 1
        try:
            return original(batches, ranks, subsampling)
        finally:
            ranks.size = whole

    step_module.count_step = count_step


def whole_run(case: Case) -> None:
    """A step that only one rank finds bad, words of unlike length, then a whole run."""
    ranks = Ranks(open_fabric(toy_config(case.output)))
    stepper = toy_stepper(case.kind, case.output, ranks)
    bad = batch_of(ranks.rank, 0, 0)
    if ranks.rank == 1:
        bad = replace(bad, log_mel=bad.log_mel * float("nan"))
    report = stepper([bad], RunState(), 0.0)
    assert not report.finite, "one rank's bad batch must stop all of them"
    texts = ranks.gather_text("é" * (ranks.rank * 3))
    assert texts == ["", "ééé"], texts
    run_toy(toy_config(case.output / "run", max_steps=4))


def together(what: Callable[[Case], None], case: Case, ranks: int = RANKS) -> None:
    """Call it in a process for each rank; AssertionError where one fails or hangs."""
    started = [
        processes.Process(target=begin, args=(what, case, environment))
        for environment in environments(ranks)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(WATCHDOG)
    statuses = [process.exitcode for process in started]
    for process in started:
        process.kill()
    assert statuses == [0] * ranks, f"exit status {statuses}"


def begin(what: Callable[[Case], None], case: Case, environment: dict[str, str]) -> None:
    """A rank's process."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    what(case)
