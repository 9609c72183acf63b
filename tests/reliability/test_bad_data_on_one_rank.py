"""Recordings that one rank cannot read are left out by all: equal steps, every one named."""

import json
import shutil
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

from tests.reliability.corpus import CUTS, config_of, make_relative, write_corpus
from tests.reliability.runs import Before, error_lines, outcome, start, steps_of
from tests.reliability.tally import Tally
from turnout.config import TrainConfig
from turnout.data import loader
from turnout.errors import amount

RANKS, CLIPS, STEPS = 2, 100, 6
ALL_KINDS = 10
"""Percent of the recordings: as many as there are ways to break one, and more."""
MOST_SECONDS = 30.0


def garbage(path: Path, rng: Random) -> None:
    """No audio at all."""
    path.write_bytes(rng.randbytes(2000))


def truncated(path: Path, rng: Random) -> None:
    """A part of the samples, the header as it was."""
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: rng.randrange(44, round(0.7 * size))])


def without_bytes(path: Path, rng: Random) -> None:
    """The file is there, and empty."""
    path.write_bytes(b"")


def without_samples(path: Path, rng: Random) -> None:
    """A header alone."""
    soundfile.write(path, np.zeros(0), 16_000)


def missing(path: Path, rng: Random) -> None:
    """The file is not there."""
    path.unlink()


def shorter(path: Path, rng: Random) -> None:
    """A whole recording, of something else."""
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[: len(samples) // 3], rate)


def wrong_rate(path: Path, rng: Random) -> None:
    """The samples as they were, the header of a recording at half the rate."""
    data = bytearray(path.read_bytes())
    rate, bytes_a_second = struct.unpack_from("<II", data, 24)
    struct.pack_into("<II", data, 24, rate // 2, bytes_a_second // 2)
    path.write_bytes(data)


BREAK: tuple[Callable[[Path, Random], None], ...] = (
    garbage, truncated, without_bytes, without_samples, missing, shorter, wrong_rate,
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "corpus"
    make_relative(write_corpus(folder, CLIPS))
    return folder


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    """All paths are relative: each rank's are those of its own folder, as on machines apart."""
    config = config_of(Path("corpus") / CUTS, max_steps=STEPS, checkpoint_every=3)
    data = replace(config.data, cache="features", dev_utterances=4, batch_seconds=4.0)
    return replace(config, data=data)


def folders_of(base: Path, corpus: Path) -> dict[int, Path]:
    """A folder for each rank with a copy of the corpus, and the run's folder shared."""
    folders = {rank: base / f"rank-{rank}" for rank in range(RANKS)}
    for rank, folder in folders.items():
        shutil.copytree(corpus, folder / "corpus")
        if rank:
            (folder / "run").symlink_to(folders[0] / "run")
    return folders


def break_some(folder: Path, count: int, rng: Random) -> list[str]:
    """Damage so many recordings, each in another way; their names."""
    paths = rng.sample(sorted((folder / "corpus").glob("*.wav")), count)
    ways = rng.sample(BREAK, len(BREAK))
    for number, path in enumerate(paths):
        ways[number % len(ways)](path, rng)
    return [path.name for path in paths]


def check(config: TrainConfig, folders: dict[int, Path], bad: list[str]) -> None:
    """The run ends with all its steps, and its first rank names what is left out, and only that."""
    base = folders[0]
    with start(config, base, ranks=RANKS, folders=folders) as running:
        running.finish()
        said = running.stderr(0).splitlines()
        listed = [line for line in said if line.startswith("warning: left out: ")]
        unnamed = [name for name in bad if not any(name in line for line in listed)]
        assert not unnamed, f"not listed: {unnamed}"
        assert len(listed) == len(bad), f"{len(listed)} lines for {len(bad)} recordings"
        total = f"warning: left out in all: {amount(len(bad), 'recording')}"
        assert (total in said) == bool(bad), "they are not counted"
        assert not running.stderr(1), f"rank 1 talks: {running.stderr(1)[-300:]}"
    assert steps_of(base) == STEPS, f"{steps_of(base)} steps were taken"


@pytest.mark.counts("T6", "bad recordings on one rank")
@pytest.mark.parametrize(
    "percent", [pytest.param(few, marks=pytest.mark.full) for few in (0, 1)] + [ALL_KINDS]
)
def test_what_one_rank_cannot_read_all_leave_out(
    tally: Tally, percent: int, corpus: Path, config: TrainConfig, tmp_path: Path
) -> None:
    for trial in range(tally.size(1, 10)):
        rank, rng = (trial + 1) % RANKS, tally.random(trial)
        with tally.trial(f"rank {rank}, {trial}"):
            folders = folders_of(tmp_path / str(trial), corpus)
            bad = break_some(folders[rank], CLIPS * percent // 100, rng)
            check(config, folders, bad)


@pytest.mark.counts("T6", "bad recordings on all ranks")
def test_what_no_rank_can_read_is_listed_once(
    tally: Tally, corpus: Path, config: TrainConfig, tmp_path: Path
) -> None:
    for trial in range(tally.size(1, 5)):
        folders = folders_of(tmp_path / str(trial), corpus)
        bad = break_some(folders[0], CLIPS * ALL_KINDS // 100, tally.random(trial))
        shutil.rmtree(folders[1] / "corpus")
        shutil.copytree(folders[0] / "corpus", folders[1] / "corpus")
        with tally.trial(str(trial)):
            check(config, folders, bad)


@pytest.mark.counts("T6", "nothing on one rank")
def test_a_rank_that_has_nothing_ends_them_all(
    tally: Tally, corpus: Path, config: TrainConfig, tmp_path: Path
) -> None:
    """It says why, the others that it ended, each in one line, and nobody waits."""
    cases = [("recordings", 1), ("cuts", 0)]
    if tally.full:
        cases += [("recordings", 0), ("cuts", 1)]
    longest = 0.0
    for what, rank in cases:
        folders = folders_of(tmp_path / f"{what}-{rank}", corpus)
        for path in (folders[rank] / "corpus").glob("*.wav" if what == "recordings" else CUTS):
            path.unlink()
        with (
            tally.trial(f"no {what} on rank {rank}"),
            start(config, folders[0], ranks=RANKS, folders=folders) as running,
        ):
            started = time.monotonic()
            statuses = running.wait()
            # What a configuration names and is not there is the user's mistake.
            assert statuses[rank] == (1 if what == "recordings" else 2), statuses
            assert statuses[1 - rank] == 1, statuses
            longest = max(longest, time.monotonic() - started)
            assert longest <= MOST_SECONDS, f"it took {longest:.0f} s"
            own, other = (error_lines(running.stderr(r)) for r in (rank, 1 - rank))
            reason = "none of the 100 clips can be used" if what == "recordings" else CUTS
            assert len(own) == 1
            assert reason in own[0], own[0]
            assert len(other) == 1
            assert "the other ranks cannot be reached" in other[0], other[0]
    tally.measure(longest_seconds_to_the_end=round(longest, 2))


@pytest.mark.counts("T6", "fewer cuts on one rank")
def test_a_rank_with_fewer_cuts_keeps_nobody_waiting(
    tally: Tally, corpus: Path, config: TrainConfig, tmp_path: Path
) -> None:
    """What is left is what both have: its batches are those of ranks that never had the rest."""
    # At the small size each lacks what the other has, in one run.
    for ranks in [(0,), (1,)] if tally.full else [(0, 1)]:
        name = " and ".join(map(str, ranks))
        uneven, even = (folders_of(tmp_path / kind / name, corpus) for kind in ("uneven", "even"))
        dropped: set[int] = set()
        for rank in ranks:
            rng = tally.random(rank)
            lacking = set(rng.sample(range(CLIPS), rng.randrange(1, CLIPS // 2)))
            drop_cuts(uneven[rank], lacking)
            dropped |= lacking
        for folder in even.values():
            drop_cuts(folder, dropped)
        with tally.trial(f"rank {name}"):
            for folders in (uneven, even):
                all_steps(config, folders)
            assert utterances_of(uneven[0]) == utterances_of(even[0])
    if tally.full:
        folders = folders_of(tmp_path / "control", corpus)
        drop_cuts(folders[1], set(range(CLIPS // 2)))
        tally.controlled(noticed_without_agreement(config, folders))


def all_steps(
    config: TrainConfig, folders: dict[int, Path], before: Mapping[int, Before] | None = None
) -> None:
    """Assert that the ranks take all steps of the run."""
    with start(config, folders[0], ranks=RANKS, folders=folders, before=before) as running:
        running.finish()
    assert steps_of(folders[0]) == STEPS


def agrees_on_nothing() -> None:
    """The negative control: each rank trains on what it has."""
    loader.with_common_clips = lambda store, _: store


def noticed_without_agreement(config: TrainConfig, folders: dict[int, Path]) -> bool:
    """Whether the same check fails where the ranks do not agree on a store."""
    try:
        all_steps(config, folders, dict.fromkeys(range(RANKS), agrees_on_nothing))
    except AssertionError:
        return True
    return False


def utterances_of(folder: Path) -> list[str]:
    """Digest of each step's utterances."""
    return [json.loads(line)["ids"] for line in outcome(folder)["steps"]]


def drop_cuts(folder: Path, numbers: set[int]) -> None:
    """Leave some cuts out of a rank's corpus."""
    path = folder / "corpus" / CUTS
    cuts = list(CutSet.from_file(path))
    CutSet.from_cuts(cut for number, cut in enumerate(cuts) if number not in numbers).to_file(path)
