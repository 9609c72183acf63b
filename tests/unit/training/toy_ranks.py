"""What each of two processes does in `test_ranks.py`; started by torchrun."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.unit.training.toy import run_toy, toy_batch, toy_config, toy_model
from turnout.config import ObjectiveConfig, RoutingConfig
from turnout.data.batch import Batch
from turnout.model.build import build_model
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.state import RunState, named_weights
from turnout.training.step import Stepper, StepReport

ROUTINGS = {
    "dense": RoutingConfig(kind="dense"),
    "switch": RoutingConfig(kind="switch", num_experts=3, jitter=0.0),
    "omni": RoutingConfig(kind="omni", num_experts=3, jitter=0.0),
    "supervised": RoutingConfig(kind="supervised"),
    "hybrid": RoutingConfig(kind="hybrid", num_experts=2, jitter=0.0),
}
STEPS = 2


def batch_of(rank: int, step: int) -> Batch:
    """Of unlike sizes; in the first step each rank has one bandwidth only, in the second the
    second rank has no decoder row."""
    batch = toy_batch(f"rank{rank}-step{step}", 2 + rank)
    if step == 0:
        guide = torch.full_like(batch.bandwidth, rank)
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


def main(output: Path) -> None:
    """Steps under every routing, a step that only one rank finds bad, then a whole run."""
    ranks = Ranks(open_fabric(toy_config(output)))
    for kind in ROUTINGS:
        stepper = toy_stepper(kind, output, ranks)
        reports: list[StepReport] = [
            stepper([batch_of(ranks.rank, step)], RunState(step=step, updates=step), 0.0)
            for step in range(STEPS)
        ]
        save_rank(output / f"{kind}-{ranks.rank}.safetensors", stepper, reports)
    stepper = toy_stepper("omni", output, ranks)
    bad = batch_of(ranks.rank, 0)
    if ranks.rank == 1:
        bad = replace(bad, log_mel=bad.log_mel * float("nan"))
    report = stepper([bad], RunState(), 0.0)
    assert not report.finite, "one rank's bad batch must stop all of them"
    texts = ranks.gather_text("é" * (ranks.rank * 3))
    assert texts == ["", "ééé"], texts
    run_toy(toy_config(output / "run", max_steps=4))


def save_rank(path: Path, stepper: Stepper, reports: list[StepReport]) -> None:
    """The rank's weights and what it reported."""
    losses = torch.tensor([[r.loss, r.ctc, r.attention, r.balance, r.norm] for r in reports])
    save_file({**named_weights(stepper.model), "reported": losses}, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
