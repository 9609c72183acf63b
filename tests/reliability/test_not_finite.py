"""Numbers that are none: all ranks skip the step alike, and no checkpoint ever holds one."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from tests.reliability.corpus import config_of, write_corpus
from tests.reliability.poison import FEATURES, GRADIENT, KINDS, Poison
from tests.reliability.runs import checkpoints_of, error_lines, outcome, same, start, steps_of
from tests.reliability.tally import Tally
from turnout.config import OptimizerConfig, RoutingConfig, TrainConfig
from turnout.training.checkpoints import read_checkpoint
from turnout.training.loop import MOST_SKIPPED

RANKS, STEPS, FIRST, COUNT = 2, 8, 3, 2
SMALL = ("NaN", GRADIENT)
"""What the loss shows, and what it does not."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Two batches a step, a learned router."""
    cuts = write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", 24)
    omni = RoutingConfig(kind="omni", num_experts=2)
    config = config_of(
        cuts, max_steps=STEPS, optimizer=OptimizerConfig(accumulate=2, warmup_steps=2)
    )
    model = replace(config.model, encoder=replace(config.model.encoder, routing=omni))
    data = replace(config.data, cache=str(cuts.parent / "features"))
    return replace(config, model=model, data=data)


class Step(NamedTuple):
    """What one rank recorded of one step."""

    number: int
    finite: bool
    before: str
    after: str
    utterances: list[str]


def poisoned(kind: str, rank: int, count: int, folder: Path) -> dict[int, Poison]:
    """One rank poisoned, all recorded."""
    folder.mkdir()
    return {
        number: Poison(kind, FIRST, count if number == rank else 0, folder / f"record-{number}")
        for number in range(RANKS)
    }


def recorded(folder: Path) -> list[tuple[Step, ...]]:
    """What the ranks recorded, step by step."""
    files = [(folder / f"record-{number}").read_text() for number in range(RANKS)]
    records = [[Step(*json.loads(line)) for line in text.splitlines()] for text in files]
    return list(zip(*records, strict=True))


@pytest.mark.counts("T5", "one rank poisoned")
@pytest.mark.parametrize(
    "kind", [k if k in SMALL else pytest.param(k, marks=pytest.mark.full) for k in KINDS]
)
def test_a_step_that_one_rank_finds_bad_changes_nothing_on_any(
    tally: Tally, kind: str, config: TrainConfig, tmp_path: Path
) -> None:
    for trial in range(tally.size(1, 4)):
        folder, rank = tmp_path / str(trial), (trial + 1) % RANKS
        before = poisoned(kind, rank, COUNT, folder)
        with start(config, folder, ranks=RANKS, before=before) as running:
            with tally.trial(f"rank {rank}: the run ends well"):
                running.finish()
            said = running.stderr(0)
        for steps in recorded(folder):
            with tally.trial(f"rank {rank}: step {steps[0].number}"):
                changes_nothing_where_bad(steps)
        with tally.trial(f"rank {rank}: what is said and counted"):
            warned = [line for line in said.splitlines() if "not finite" in line]
            assert len(warned) == COUNT, said[-600:]
            for steps, line in zip(recorded(folder)[FIRST:], warned, strict=False):
                names_the_right_ones(kind, rank, steps, line)
            assert outcome(folder)["state"]["skipped"] == COUNT
    if tally.full and kind == GRADIENT:
        tally.controlled(noticed_by_the_blind(config, tmp_path / "blind"))


def changes_nothing_where_bad(steps: tuple[Step, ...]) -> None:
    """Assert that all ranks skip a bad step, and take another, alike."""
    good = steps[0].number not in range(FIRST, FIRST + COUNT)
    assert {step.finite for step in steps} == {good}
    assert len({step.after for step in steps}) == 1, "the ranks are not the same"
    changed = {step.before != step.after for step in steps}
    assert changed == {good}, f"changed: {changed}"


@dataclass(frozen=True)
class Blind:
    """The negative control: every number counts as finite."""

    poison: Poison

    def __call__(self) -> None:
        """Arm it, in the process that is to meet it."""
        self.poison()
        torch.isfinite = lambda tensor: torch.ones_like(tensor, dtype=torch.bool)


def noticed_by_the_blind(config: TrainConfig, folder: Path) -> bool:
    """Whether the same check fails where nobody looks."""
    before = {rank: Blind(poison) for rank, poison in poisoned(GRADIENT, 1, COUNT, folder).items()}
    with start(config, folder, ranks=RANKS, before=before) as running:
        running.wait()
    try:
        for steps in recorded(folder):
            changes_nothing_where_bad(steps)
    except AssertionError:
        return True
    return False


def names_the_right_ones(kind: str, rank: int, steps: tuple[Step, ...], line: str) -> None:
    """A warning names utterances of the rank whose loss was bad, and no other's."""
    named = set(re.findall(r"\d+/\d+/\d+", line))
    # Where batches cannot be dealt out evenly, one is dealt twice.
    both = set.intersection(*(set(step.utterances) for step in steps))
    for number, step in enumerate(steps):
        own = named & (set(step.utterances) - both)
        guilty = number == rank or kind == GRADIENT
        assert guilty or not own, f"rank {number} is named: {line}"
        assert not guilty or named & set(step.utterances), f"rank {number} is not named: {line}"


@pytest.mark.full  # at the small size: tests/unit/training/test_loop.py
@pytest.mark.counts("T5", "ten in a row")
def test_ten_steps_in_a_row_end_the_run(tally: Tally, config: TrainConfig, tmp_path: Path) -> None:
    longer = replace(config, max_steps=30)
    for kind in (*FEATURES, GRADIENT):
        folder = tmp_path / kind
        before = poisoned(kind, 1, 30, folder)
        with (
            tally.trial(kind),
            start(longer, folder, ranks=RANKS, before=before) as running,
        ):
            assert running.wait() == [1, 1]
            errors = error_lines(running.stderr(0))
            assert len(errors) == 1
            assert f"{MOST_SKIPPED} steps in a row had a loss or gradient" in errors[0]
            steps = recorded(folder)
            assert len(steps) == FIRST + MOST_SKIPPED
            names_the_right_ones(kind, 1, steps[-1], errors[0])
            finite(folder)


def finite(folder: Path) -> None:
    """Every checkpoint is whole, and holds numbers alone."""
    assert checkpoints_of(folder)
    for step in checkpoints_of(folder):
        tensors = read_checkpoint(folder / "run" / "checkpoints" / f"step-{step:08d}").tensors
        assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def break_a_weight_in_step_5() -> None:
    """As a memory that fails after the step was taken."""
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW) -> None:
        original(self)
        seen.append(1)
        if len(seen) == 5:
            with torch.no_grad():
                self.param_groups[0]["params"][0].view(-1)[0] = float("nan")

    seen: list[int] = []
    torch.optim.AdamW.step = step


@pytest.mark.counts("T5", "no such checkpoint")
def test_weights_that_are_not_finite_are_never_saved(
    tally: Tally, config: TrainConfig, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    with start(config, whole, ranks=RANKS) as running:
        running.finish()
    for rank in range(RANKS) if tally.full else (1,):
        folder = tmp_path / str(rank)
        with (
            tally.trial(f"rank {rank}"),
            start(config, folder, ranks=RANKS, before={rank: break_a_weight_in_step_5}) as running,
        ):
            assert running.wait() == [1, 1]
            errors = error_lines(running.stderr(0))
            assert len(errors) == 1
            assert "not finite at step 6: no checkpoint was written" in errors[0]
            assert steps_of(folder) == 6
            assert checkpoints_of(folder) == [2, 4]
            finite(folder)
            with start(config, folder, ranks=RANKS) as again:
                again.finish()
            same(outcome(folder), outcome(whole))
