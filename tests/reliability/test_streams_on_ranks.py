"""Two ranks that learn from shards, one of which is broken, or does not answer, for one of them:
equal steps, and a run that was killed ends as one that never was."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.reliability.corpus import CUTS, config_of, write_corpus
from tests.reliability.kills import Point
from tests.reliability.runs import outcome, start, steps_of
from tests.reliability.tally import Tally
from tests.unit.shards.corpus import sharded
from tests.unit.shards.range_server import serving
from turnout.config import CorpusConfig, TrainConfig
from turnout.config.sharding import ShardConfig
from turnout.data import epoch
from turnout.data.hearing import AT_ONCE
from turnout.shards.reading import open_shards

RANKS, CLIPS, STEPS, FEW, PART = 2, 96, 8, 4, 2
"""Of so many clips an epoch has more parts, of so many shards, than steps: the broken shard is met
once."""
SHARDS = "shards"
PATIENCE = 3.0
"""Seconds that a store may take for a part, of a run whose `worker_timeout` is ten times that."""


def small_parts() -> None:
    """Parts of an epoch that few steps go through."""
    epoch.SHARDS_AT_ONCE = PART


class KilledInSmallParts(Point):
    """Killed at a point, in a run of such parts."""

    def __call__(self) -> None:
        small_parts()
        super().__call__()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "corpus"
    cuts = write_corpus(folder, CLIPS)
    # Shuffled, which recordings share a shard would depend on what the folder is called.
    sharded(cuts, folder / SHARDS, ShardConfig(shard_size=0.03, shuffle=False))
    return folder


@pytest.fixture(scope="module")
def config(request: pytest.FixtureRequest, corpus: Path) -> TrainConfig:
    """Each rank's shards are those of its own folder, as on machines apart; at the full size a
    process of its own prepares its batches."""
    config = config_of(corpus / CUTS, max_steps=STEPS, checkpoint_every=2)
    train = (CorpusConfig(shards=SHARDS),)
    workers = 1 if request.config.getoption("--full") else 0
    return replace(config, data=replace(config.data, train=train, workers=workers))


def folders_of(base: Path, corpus: Path) -> tuple[dict[int, Path], str, int]:
    """A folder for each rank; a shard that the second one's copy lacks the end of, and how many
    utterances that costs."""
    folders = {rank: base / f"rank-{rank}" for rank in range(RANKS)}
    for folder in folders.values():
        shutil.copytree(corpus / SHARDS, folder / SHARDS)
    (folders[1] / "run").symlink_to(folders[0] / "run")
    shards = open_shards(str(folders[1] / SHARDS))
    number = len(shards.manifest.shards)
    first = epoch.Dealing(0, {0: (number, number)}, RANKS).turns(0, 0, 1)[:PART]
    place = max((turn.shard for turn in first), key=lambda n: shards.manifest.shards[n].utterances)
    entry = shards.manifest.shards[place]
    path = folders[1] / SHARDS / entry.name
    path.write_bytes(path.read_bytes()[: shards.index(place).span(0)[1]])
    return folders, entry.name, entry.utterances - 1


@pytest.mark.counts("T1", "shards on two ranks")
def test_a_killed_run_on_shards_ends_as_one_that_never_was(
    tally: Tally, corpus: Path, config: TrainConfig, tmp_path: Path
) -> None:
    small = dict.fromkeys(range(RANKS), small_parts)
    whole, name, lost = folders_of(tmp_path / "whole", corpus)
    with start(config, whole[0], ranks=RANKS, folders=whole, before=small) as running:
        running.finish()
        said = running.stderr(0)
    assert steps_of(whole[0]) == STEPS
    assert f"{name}: is cut short" in said
    expected = outcome(whole[0])
    # Some of them again, where a batch of them is dealt again for as many steps on each rank.
    assert expected["state"]["lost"] >= lost > 1
    assert expected["state"]["epoch"] > 0 or expected["state"]["part"] > 0
    for trial, step in enumerate((2, 4, 6) if tally.full else (4,)):
        folders, *_ = folders_of(tmp_path / str(trial), corpus)
        killed = {**small, 0: KilledInSmallParts("rename", step)}
        with tally.trial(f"killed at step {step}"):
            with start(config, folders[0], ranks=RANKS, folders=folders, before=killed) as running:
                assert any(running.wait())
            with start(config, folders[0], ranks=RANKS, folders=folders, before=small) as running:
                running.finish()
            found = outcome(folders[0])
            assert found == expected, [k for k in found if found[k] != expected[k]]


@pytest.mark.counts("T6", "a shard that does not answer one rank")
def test_a_shard_that_does_not_answer_is_waited_for_once_and_left_out(
    tally: Tally, corpus: Path, config: TrainConfig, tmp_path: Path
) -> None:
    shards = open_shards(str(corpus / SHARDS))
    number = len(shards.manifest.shards)
    turns = epoch.Dealing(0, {0: (number, number)}, RANKS).turns(0, 0, 1)
    sound, index = (shards.manifest.shards[turn.shard] for turn in turns[:2])
    small = dict.fromkeys(range(RANKS), small_parts)
    with serving(corpus / SHARDS) as served:
        served.wrong = {sound.name: "silent", index.index: "silent"}
        train = (CorpusConfig(shards=served.address),)
        data = replace(config.data, train=train, workers=1, worker_timeout=PATIENCE * 10)
        few = replace(config, data=data, max_steps=FEW)
        with start(few, tmp_path, ranks=RANKS, before=small) as running:
            running.finish()
            said = running.stderr(0)
        asked = [name for name, _ in served.seen]
    with tally.trial("all steps, and what was lost counted"):
        assert steps_of(tmp_path) == FEW
        # A batch that is dealt again, for as many steps on each rank, is lost again.
        lost = sum(entry.utterances for entry in (sound, index))
        assert outcome(tmp_path)["state"]["lost"] >= lost
        told = [line for line in said.splitlines() if "so far): http" in line]
        assert len(told) in (2, 3)  # who waited, and who did not wait again, in a step or two
        assert all(sound.name in line or index.index in line for line in told), told
    for name in (sound.name, index.index):
        with tally.trial(f"{name} is told of and not waited for again"):
            assert f"{name}: the store did not answer within {PATIENCE:g} s" in said
            assert asked.count(f"/{name}") <= 1 + AT_ONCE  # the first for the tokenizer
