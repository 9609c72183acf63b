"""Two ranks that share a model out equal one process, and a run of theirs can be killed."""

import json
from dataclasses import replace
from functools import reduce
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.reliability import corpus
from tests.reliability.kills import Point
from tests.reliability.runs import outcome, same, start
from tests.reliability.sharded import (
    COPIES,
    EXACT,
    EXPERTS,
    PAIRED,
    STEPS,
    KilledInBackward,
    Variant,
    config_of,
    moved_model,
    planned_of,
    sent_by_a_rank,
    steps_of_a_rank,
    steps_with_copies,
    take_steps,
    whole_runs,
)
from tests.reliability.side_by_side import RANKS, REPORTED, Case, batch_of, together
from tests.reliability.tally import Tally
from tests.reliability.test_two_ranks_as_one import difference
from tests.unit.training.toy import joined, toy_config, toy_trainer
from turnout.data.batch import Batch
from turnout.model_folder import WEIGHTS
from turnout.planning.memory import memory_of
from turnout.planning.micro_batch import of_length
from turnout.planning.traffic import traffic_of
from turnout.planning.weights import weights_of
from turnout.training.checkpoints import read_checkpoint
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.state import average
from turnout.training.train import first_model

MOST = 1e-5
"""Difference of a weight, a loss or a norm."""
ROUNDED = 1e-4
"""Where an expert's gradient is rounded to bfloat16 once, and not once for each rank."""


WAYS = ("sharded", "experts")


def found(spread: Path, name: str, ranks: int = RANKS) -> list[dict[str, Tensor]]:
    """Of each rank."""
    return [load_file(spread / f"{name}-{rank}.safetensors") for rank in range(ranks)]


def equal(ranks: list[dict[str, Tensor]], expected: dict[str, Tensor], most: float = MOST) -> None:
    """Assert the same bits on all ranks, and weights, losses and norms as expected."""
    for name, tensor in expected.items():
        for rank in ranks[1:]:
            assert torch.equal(ranks[0][name], rank[name]), f"{name}: the ranks are not the same"
        if name != REPORTED:
            torch.testing.assert_close(ranks[0][name], tensor, atol=most, rtol=0, msg=name)
    off = difference(ranks, expected)
    assert off <= most, f"a loss or norm is off by {off:.1e}"


def alone(variant: Variant, output: Path, ranks: int = RANKS) -> dict[str, Tensor]:
    """One process on the batches of all of them."""

    def every(step: int, micro_step: int) -> Batch:
        return reduce(joined, (batch_of(rank, step, micro_step) for rank in range(ranks)))

    return take_steps(variant, Ranks(open_fabric(toy_config(output))), every, "replicated")


@pytest.mark.counts("T6", "a model shared out")
@pytest.mark.parametrize("way", WAYS)
def test_ranks_that_share_a_model_equal_one_process(tally: Tally, way: str, tmp_path: Path) -> None:
    spread = tmp_path / "spread"
    spread.mkdir()
    together(steps_of_a_rank, Case(kind=way, accumulate=1, output=spread))
    for name, variant in (EXACT if way == "sharded" else EXPERTS).items():
        one = alone(variant, tmp_path)
        with tally.trial(name):
            equal(found(spread, name), one)
            ours, config = found(spread, name)[0], config_of(variant, tmp_path)
            for weight, parameter in first_model(config, config.model).named_parameters():
                moved = not torch.equal(ours[weight], parameter)
                assert not moved or parameter.requires_grad, f"{weight} is frozen, and moved"
    if way == "sharded":
        with tally.trial("what is sent is what a plan says"):
            config = config_of(EXACT["dense"], tmp_path)
            sent = json.loads((spread / "dense-1.json").read_text())
            # Only batches' frames to experts elsewhere would depend on the sizes of a batch.
            sizes = of_length(config.model, 1, 1.0, 1, audio_seconds=1.0)
            plan = traffic_of(config, weights_of(config), sizes, "fsdp", RANKS)
            # To gather, each of two sends what it has; to scatter, half of what it hands in.
            assert sent["gathered"] == STEPS * plan.all_gather
            assert sent["scattered"] == STEPS * plan.reduce_scatter * 2
    for name in PAIRED:
        with tally.trial(name):
            whole = found(spread, f"{name}-replicated")
            rounded = way == "experts" and name == "bfloat16"
            equal(found(spread, f"{name}-{way}"), whole[0], ROUNDED if rounded else MOST)
            assert difference(whole, found(spread, "omni")[0]) > MOST, "it was trained as ever"


@pytest.mark.counts("T6", "experts on several ranks each")
def test_experts_that_several_ranks_hold_equal_one_process(tally: Tally, tmp_path: Path) -> None:
    together(steps_with_copies, Case(kind="", accumulate=1, output=tmp_path), 4)
    for name, variant in COPIES.items():
        with tally.trial(name):
            equal(found(tmp_path, name, 4), alone(variant, tmp_path, 4))


@pytest.mark.counts("T6", "experts sent and held as planned")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_frames_that_are_sent_and_what_is_held_are_what_a_plan_says(
    tally: Tally, precision: str, tmp_path: Path
) -> None:
    together(sent_by_a_rank, Case(kind=precision, accumulate=1, output=tmp_path))
    config, sizes = planned_of(precision, tmp_path)
    weights = weights_of(config)
    traffic = traffic_of(config, weights, sizes, "experts", RANKS)
    memory = memory_of(config, weights, sizes, "experts", RANKS)
    for rank in range(RANKS):
        with tally.trial(f"rank {rank}"):
            sent = json.loads((tmp_path / f"{rank}.json").read_text())
            assert sent == {
                "exchanged": traffic.all_to_all,
                "summed": traffic.all_reduce,
                "weights": memory.weights,
                "gradients": memory.gradients,
                "optimizer": memory.optimizer,
            }


@pytest.mark.counts("T6", "shared out and back")
@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_shared_out_and_back(tally: Tally, way: str, tmp_path: Path) -> None:
    together(whole_runs, Case(kind=way, accumulate=1, output=tmp_path))
    moved, whole = (
        read_checkpoint(tmp_path / run / "checkpoints" / "step-00000006")
        for run in ("moved", "whole")
    )
    with tally.trial("the same weights and moments"):
        assert moved.tensors.keys() == whole.tensors.keys()
        for name, tensor in whole.tensors.items():
            torch.testing.assert_close(moved.tensors[name], tensor, atol=2e-4, rtol=0, msg=name)
    with tally.trial("one rank goes on"):
        model = moved_model(way)
        trainer = toy_trainer(toy_config(tmp_path / "moved", model=model, parallel=way))
        trainer.restore(moved)
        for name, weight in trainer.model.named_parameters():
            assert torch.equal(weight, moved.tensors[f"weights/{name}"]), name
    with tally.trial("the final model"):
        kept = trainer.validated.read(trainer.state.validated, pytest.fail)
        candidates, final = [*kept, average(kept[-2:])], load_file(tmp_path / "final.safetensors")
        assert len(kept) == 2
        assert any(all(torch.equal(final[n], one[n]) for n in final) for one in candidates)


@pytest.mark.counts("T1", "a model shared out")
@pytest.mark.parametrize("way", [pytest.param("sharded", marks=pytest.mark.full), "experts"])
def test_a_killed_run_ends_as_one_that_never_was(tally: Tally, way: str, tmp_path: Path) -> None:
    cuts = corpus.write_corpus(tmp_path / "corpus", 24)
    config = corpus.config_of(cuts, max_steps=1)
    with start(config, tmp_path / "base", ranks=1) as running:
        running.finish()
    base = tmp_path / "base" / "run" / "model"
    config = replace(
        config,
        max_steps=6,
        parallel=way,
        init_from=str(base),
        trainable=("encoder.attention", "encoder.experts", "decoder"),
        # Of three utterances one rank decodes two, the other one.
        data=replace(config.data, dev_utterances=3),
    )
    with start(config, tmp_path / "whole", ranks=RANKS) as running:
        running.finish()
    expected, folder = outcome(tmp_path / "whole"), tmp_path / "killed"
    assert {name["name"] for name in expected["files"]} == {
        f"rank-{rank:04d}.safetensors" for rank in range(RANKS)
    }
    points = [(1, Point("rank file", 2)), (0, KilledInBackward("backward", 3))]
    if tally.full:
        points += [(0, Point("rename", 4)), (0, Point("validated weights", 6))]
        points += [(1, Point("last batch", 5))]
    for rank, point in points:
        with (
            tally.trial(f"rank {rank} at {point.name}"),
            start(config, folder, ranks=RANKS, before={rank: point}) as running,
        ):
            statuses = running.wait()
            assert all(statuses), f"exit status {statuses}"
            assert "cannot be reached" in running.stderr(1 - rank), running.stderr(1 - rank)[-600:]
    with tally.trial("to its end"):
        with start(config, folder, ranks=RANKS) as running:
            running.finish()
            assert "going on at step" in running.stderr(0)
        same(outcome(folder), expected)
    with tally.trial("what is frozen"):
        before, after = (load_file(one / WEIGHTS) for one in (base, folder / "run" / "model"))
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved and all(
            ".attention." in n or ".experts." in n or "decoder" in n for n in moved
        )
