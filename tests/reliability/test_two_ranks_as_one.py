"""Two ranks equal one process on their batches joined."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.reliability.side_by_side import (
    REPORTED,
    ROUTINGS,
    Case,
    each_rank,
    one_process,
    together,
    whole_run,
)
from tests.reliability.tally import Tally
from tests.unit.training.toy import run_toy, toy_config
from turnout.training.checkpoints import read_manifest

MOST = 1e-5
"""Relative difference of a loss or a norm."""
SMALL = ("supervised", "hybrid")
"""At the small size; test_sharded_ranks.py has them all."""


@pytest.mark.counts("T6", "losses of two ranks")
@pytest.mark.parametrize(
    "kind", [k if k in SMALL else pytest.param(k, marks=pytest.mark.full) for k in ROUTINGS]
)
def test_two_ranks_equal_one_process_on_the_batches_joined(
    tally: Tally, kind: str, tmp_path: Path
) -> None:
    largest = 0.0
    for accumulate in (1, 2) if tally.full else (1,):
        case = Case(kind=kind, accumulate=accumulate, output=tmp_path / str(accumulate))
        ranks, one = each_rank(case), one_process(case)
        largest = max(largest, difference(ranks, one))
        with tally.trial(f"accumulation {accumulate}"):
            equal(ranks, one)
    if tally.full:
        case = Case(kind=kind, accumulate=1, output=tmp_path / "alone", counts_alone=True)
        ranks, one = each_rank(case), one_process(case)
        tally.measure(difference_where_each_counts_alone=difference(ranks, one))
        tally.controlled(failed=unequal(ranks, one))
    tally.measure(largest_relative_difference=largest)


def difference(ranks: list[dict[str, Tensor]], one: dict[str, Tensor]) -> float:
    """The largest of what the ranks reported from what one process did, as a share of that."""
    expected = one[REPORTED]
    off = torch.stack([(rank[REPORTED] - expected).abs() for rank in ranks])
    return float((off / expected.abs().clamp(min=1e-12)).max())


def equal(ranks: list[dict[str, Tensor]], one: dict[str, Tensor]) -> None:
    """Assert the same bits on both ranks, and the losses and weights of one process."""
    for name, tensor in one.items():
        assert torch.equal(ranks[0][name], ranks[1][name]), f"{name}: the ranks are not the same"
        if name != REPORTED:
            torch.testing.assert_close(ranks[0][name], tensor, atol=2e-4, rtol=MOST, msg=name)
    off = difference(ranks, one)
    assert off <= MOST, f"a loss or norm is off by {off:.1e}"


def unequal(ranks: list[dict[str, Tensor]], one: dict[str, Tensor]) -> bool:
    """Whether `equal` notices, by the losses alone: the weights' first steps hide a factor."""
    try:
        equal(ranks, {REPORTED: one[REPORTED]})
    except AssertionError:
        return True
    return False


def test_each_rank_writes_its_share_and_one_rank_can_go_on(tmp_path: Path) -> None:
    together(whole_run, Case(kind="omni", accumulate=1, output=tmp_path))
    run = tmp_path / "run"
    manifest = read_manifest(run / "checkpoints" / "step-00000004")
    names = [entry["name"] for entry in manifest["files"]]
    assert names == ["rank-0000.safetensors", "rank-0001.safetensors"]
    shares = [load_file(run / "checkpoints" / "step-00000004" / name) for name in names]
    assert not shares[0].keys() & shares[1].keys()
    assert len((run / "steps.jsonl").read_text().splitlines()) == 4
    trainer = run_toy(toy_config(run, max_steps=4))
    weights = dict(trainer.model.named_parameters())
    for name, tensor in {**shares[0], **shares[1]}.items():
        if name.startswith("weights/"):
            assert torch.equal(weights[name.removeprefix("weights/")], tensor)
