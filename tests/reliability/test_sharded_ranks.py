"""Two ranks that share a model out equal one process, and a run of theirs can be killed."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.reliability import corpus
from tests.reliability.kills import Point
from tests.reliability.runs import outcome, same, start
from tests.reliability.sharded import (
    EXACT,
    PAIRED,
    STEPS,
    KilledInBackward,
    config_of,
    small,
    steps_of_a_rank,
    take_steps,
    whole_runs,
)
from tests.reliability.side_by_side import RANKS, REPORTED, ROUTINGS, Case, batch_of, together
from tests.reliability.tally import Tally
from tests.reliability.test_two_ranks_as_one import difference
from tests.unit.training.toy import joined, toy_config, toy_trainer
from turnout.data.batch import Batch
from turnout.model_folder import WEIGHTS
from turnout.planning.micro_batch import of_length
from turnout.planning.traffic import traffic_of
from turnout.planning.weights import weights_of
from turnout.training.checkpoints import read_checkpoint
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.state import average
from turnout.training.train import first_model

MOST = 1e-5
"""Difference of a weight, a loss or a norm."""


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What each rank found, of every variant."""
    output = tmp_path_factory.mktemp("spread")
    together(steps_of_a_rank, Case(kind="", accumulate=1, output=output))
    yield output


def found(spread: Path, name: str) -> list[dict[str, Tensor]]:
    """Of each rank."""
    return [load_file(spread / f"{name}-{rank}.safetensors") for rank in range(RANKS)]


def equal(ranks: list[dict[str, Tensor]], expected: dict[str, Tensor]) -> None:
    """Assert the same bits on both ranks, and weights, losses and norms as expected."""
    for name, tensor in expected.items():
        assert torch.equal(ranks[0][name], ranks[1][name]), f"{name}: the ranks are not the same"
        if name != REPORTED:
            torch.testing.assert_close(ranks[0][name], tensor, atol=MOST, rtol=0, msg=name)
    off = difference(ranks, expected)
    assert off <= MOST, f"a loss or norm is off by {off:.1e}"


@pytest.mark.counts("T6", "a model shared out")
def test_ranks_that_share_a_model_equal_one_process(
    tally: Tally, spread: Path, tmp_path: Path
) -> None:
    alone = Ranks(open_fabric(toy_config(tmp_path)))

    def both(step: int, micro_step: int) -> Batch:
        return joined(batch_of(0, step, micro_step), batch_of(1, step, micro_step))

    for name, variant in EXACT.items():
        one = take_steps(variant, alone, both, shard=False)
        with tally.trial(name):
            equal(found(spread, name), one)
            ours, config = found(spread, name)[0], config_of(variant, tmp_path)
            for weight, parameter in first_model(config, config.model).named_parameters():
                moved = not torch.equal(ours[weight], parameter)
                assert not moved or parameter.requires_grad, f"{weight} is frozen, and moved"
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
            whole = found(spread, f"{name}-False")
            equal(found(spread, f"{name}-True"), whole[0])
            assert difference(whole, found(spread, "omni")[0]) > MOST, "it was trained as ever"


@pytest.mark.counts("T6", "shared out and back")
def test_a_run_is_shared_out_and_back(tally: Tally, tmp_path: Path) -> None:
    together(whole_runs, Case(kind="", accumulate=1, output=tmp_path))
    moved, whole = (
        read_checkpoint(tmp_path / run / "checkpoints" / "step-00000006")
        for run in ("moved", "whole")
    )
    with tally.trial("the same weights and moments"):
        assert moved.tensors.keys() == whole.tensors.keys()
        for name, tensor in whole.tensors.items():
            torch.testing.assert_close(moved.tensors[name], tensor, atol=2e-4, rtol=0, msg=name)
    with tally.trial("one rank goes on"):
        model = small(ROUTINGS["supervised"], dropout=0.1)
        trainer = toy_trainer(toy_config(tmp_path / "moved", model=model, parallel="sharded"))
        trainer.restore(moved)
        for name, weight in trainer.model.named_parameters():
            assert torch.equal(weight, moved.tensors[f"weights/{name}"]), name
    with tally.trial("the final model"):
        kept = trainer.validated.read(trainer.state.validated, pytest.fail)
        candidates, final = [*kept, average(kept[-2:])], load_file(tmp_path / "final.safetensors")
        assert len(kept) == 2
        assert any(all(torch.equal(final[n], one[n]) for n in final) for one in candidates)


@pytest.mark.counts("T1", "a model shared out")
def test_a_killed_run_ends_as_one_that_never_was(tally: Tally, tmp_path: Path) -> None:
    cuts = corpus.write_corpus(tmp_path / "corpus", 24)
    config = corpus.config_of(cuts, max_steps=1)
    with start(config, tmp_path / "base", ranks=1) as running:
        running.finish()
    base = tmp_path / "base" / "run" / "model"
    config = replace(
        config,
        max_steps=6,
        parallel="sharded",
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
