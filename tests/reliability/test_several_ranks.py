"""`torchrun -m turnout train` ends as one process does: the same files, one rank talking.

At the small size test_stop_signals.py has torchrun; here are the ranks that it would start."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.reliability.corpus import config_of, write_corpus
from tests.reliability.runs import WATCHDOG, leftovers, start, steps_of
from tests.reliability.tally import Tally
from tests.reliability.test_stop_signals import launch
from turnout.config import TrainConfig
from turnout.model_folder import ModelFolder


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return config_of(write_corpus(tmp_path / "corpus", 24), max_steps=6)


def files_of(folder: Path) -> set[str]:
    """What a run left, but for what is named by a process or a digest."""
    run = folder / "run"
    named = {"features", "tensorboard"}
    found = [path.relative_to(run) for path in run.rglob("*") if path.is_file()]
    return {str(path) for path in found if path.parts[0] not in named}


def by_torchrun(config: TrainConfig, folder: Path) -> tuple[str, str]:
    """What all say, on stdout and stderr."""
    launcher = launch(config, folder)
    try:
        stdout, stderr = launcher.communicate(timeout=3 * WATCHDOG)
    except subprocess.TimeoutExpired:
        launcher.kill()
        stdout, stderr = launcher.communicate()
    assert launcher.returncode == 0, stderr[-600:]
    return stdout, stderr


def by_hand(config: TrainConfig, folder: Path) -> tuple[str, str]:
    """The same of ranks that are begun here."""
    with start(config, folder, ranks=2) as running:
        running.finish()
        return tuple("".join(map(said, range(2))) for said in (running.stdout, running.stderr))


@pytest.mark.counts("T6", "torchrun")
def test_torchrun_leaves_what_one_process_leaves(
    tally: Tally, config: TrainConfig, tmp_path: Path
) -> None:
    with tally.trial("two ranks"):
        stdout, stderr = (by_torchrun if tally.full else by_hand)(config, tmp_path / "two")
        assert stdout == "run/model\n", f"more than one rank talks: {stdout}"
        assert stderr.count("final model:") == 1, f"more than one rank talks: {stderr[-600:]}"
        assert stderr.count("turnout transcribe AUDIO") == 1, stderr[-600:]
        assert steps_of(tmp_path / "two") == config.max_steps
        assert not leftovers(tmp_path / "two")
    with tally.trial("one process"), start(config, tmp_path / "one") as running:
        running.finish()
        assert running.stdout(0) == "run/model\n"
    with tally.trial("the same files"):
        ranks = {name for name in files_of(tmp_path / "two") if "rank-0001" in name}
        assert ranks, "the second rank wrote no part of the checkpoints"
        assert files_of(tmp_path / "two") - ranks == files_of(tmp_path / "one")
        ModelFolder.open(tmp_path / "two" / "run" / "model")


@pytest.mark.counts("T6", "other ranks and workers")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param((1, 0), (2, 0), id="1 rank to 2"),
        pytest.param((2, 0), (1, 0), id="2 ranks to 1", marks=pytest.mark.full),
        pytest.param((1, 0), (1, 2), id="0 workers to 2", marks=pytest.mark.full),
    ],
)
def test_other_ranks_or_workers_go_on_with_a_warning(
    tally: Tally,
    config: TrainConfig,
    before: tuple[int, int],
    after: tuple[int, int],
    tmp_path: Path,
) -> None:
    from tests.reliability.kills import Point

    warning = (
        f"warning: the run was on {before[0]} ranks and goes on with {after[0]}"
        if before[0] != after[0]
        else "warning: data.workers changed since the run began"
    )
    folder = tmp_path / "run"
    with tally.trial(f"{before} -> {after}"):
        first = replace(config, data=replace(config.data, workers=before[1]))
        with start(first, folder, ranks=before[0], before={0: Point("rename", 4)}) as running:
            assert any(running.wait())
        second = replace(config, data=replace(config.data, workers=after[1]))
        with start(second, folder, ranks=after[0]) as running:
            running.finish()
            assert warning in running.stderr(0), running.stderr(0)[-600:]
            assert "going on at step 2" in running.stderr(0)
        assert steps_of(folder) == config.max_steps
        ModelFolder.open(folder / "run" / "model")
