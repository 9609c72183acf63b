"""Killed at any moment and started again, a run ends with the same bits as one that never was."""

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Literal

import pytest

from tests.reliability.corpus import config_of, write_corpus
from tests.reliability.kills import ANY_RANK, POINTS, Point, die
from tests.reliability.runs import (
    WATCHDOG,
    Before,
    Running,
    checkpoints_of,
    error_lines,
    leftovers,
    nobody_stays,
    outcome,
    same,
    start,
    steps_of,
)
from tests.reliability.tally import Tally
from turnout.config import TrainConfig
from turnout.data import store
from turnout.errors import CheckpointError
from turnout.training.checkpoints import verify

RANDOM = "a random moment"
LAST = ("validated weights", "last batch", "model")
FEW = ("rename", RANDOM, "last batch")
"""At the small size."""
CLIPS = 36
EPOCH_STEPS = 10
"""About: a run has several epochs, and some epoch several kills."""
BOUNDARY = "epoch boundary"


@dataclass(frozen=True)
class Setting:
    """What a run is made of."""

    ranks: int
    workers: int
    accumulate: int
    parallel: Literal["replicated", "sharded", "experts"] = "replicated"

    def __str__(self) -> str:
        spread = "" if self.parallel == "replicated" else f"-{self.parallel}"
        return f"{self.ranks}-ranks-{self.workers}-workers-accumulate-{self.accumulate}{spread}"


FULL = [
    Setting(2, 2, 4, "sharded"),
    Setting(2, 2, 4, "experts"),
    *(Setting(r, w, a) for r in (1, 2) for w in (0, 2) for a in (1, 4)),
]
SMALL = [Setting(2, 0, 2)]
"""At the small size test_sharded_ranks.py and test_streams_on_ranks.py kill the others."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The settings of this size."""
    if "setting" in metafunc.fixturenames:
        full = metafunc.config.getoption("--full")
        metafunc.parametrize("setting", FULL if full else SMALL, ids=str)


@dataclass(frozen=True)
class Kill:
    """One kill of one run."""

    when: str
    after: int
    """Step."""
    rank: int
    everybody: bool
    """Whether the other ranks are killed as well; else they have to end by themselves."""

    def __str__(self) -> str:
        who = "all ranks" if self.everybody else f"rank {self.rank}"
        return f"{who} killed at '{self.when}' after step {self.after}"

    @property
    def before(self) -> dict[int, Before]:
        """What the process that is to be killed does first."""
        return {} if self.when == RANDOM else {self.rank: Point(self.when, self.after)}


def kills_of(setting: Setting, steps: int, full: bool, rng: Random) -> list[Kill]:
    """Twelve kills, or three: the named points and random moments, at ascending steps."""
    names = [name for name in POINTS if name not in (*LAST, BOUNDARY)] + [RANDOM] * 4
    rng.shuffle(names)
    names.insert(rng.randrange(3), BOUNDARY)  # early enough that there is one
    names = [*names, *LAST] if full else list(FEW)
    # A random moment comes some steps later than wanted: there must be steps left for the others.
    after = sorted(rng.choices(range(1, steps // 2), k=len(names)))
    anywhere = (*ANY_RANK, RANDOM)
    return [
        Kill(
            name,
            step,
            rng.randrange(setting.ranks) if name in anywhere else 0,
            everybody=setting.ranks == 1 or rng.random() < 0.5,
        )
        for name, step in zip(names, after, strict=True)
    ]


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", CLIPS)


def config_for(setting: Setting, cuts: Path, steps: int) -> TrainConfig:
    config = config_of(cuts, max_steps=steps)
    seconds = EPOCH_STEPS * setting.accumulate * setting.ranks * config.data.batch_seconds
    return replace(
        config,
        parallel=setting.parallel,
        data=replace(
            config.data,
            workers=setting.workers,
            cache=str(cuts.parent / "features"),
            epoch_hours=seconds / 3600,
        ),
        optimizer=replace(config.optimizer, accumulate=setting.accumulate),
    )


def finished(config: TrainConfig, folder: Path, ranks: int) -> Path:
    """A run that nobody disturbs, to its end; its folder."""
    with start(config, folder, ranks=ranks) as running:
        running.finish()
    return folder


def wait_for_death(running: Running, kill: Kill, folder: Path, rng: Random, steps: int) -> None:
    """Wait for the named point, or for a random moment, and kill who is left to kill.

    `steps` were logged before: a rank that waits for one that never came is not what is tried.
    """
    if kill.when == RANDOM:
        reached = running.until(lambda: steps_of(folder) > max(kill.after, steps))
        assert reached, f"it ended before it could be killed: {running.stderr(0)[-300:]}"
        time.sleep(rng.uniform(0, 0.05))
        running.send(signal.SIGKILL, kill.rank)
    else:
        running.until(lambda: False)
    running.processes[kill.rank].join(WATCHDOG)
    if kill.everybody:
        running.send(signal.SIGKILL)


def go_on_and_kill(config: TrainConfig, folder: Path, ranks: int, kill: Kill, rng: Random) -> float:
    """Start or go on with the run, kill it, and return after how long its last rank was gone."""
    had, steps = verified(folder), steps_of(folder)
    with start(config, folder, ranks=ranks, before=kill.before) as running:
        wait_for_death(running, kill, folder, rng, steps)
        killed = time.monotonic()
        statuses = running.wait()
        gone = time.monotonic() - killed
        assert statuses[kill.rank] == -signal.SIGKILL, f"exit status {statuses}"
        assert all(statuses), f"exit status {statuses}"
        others = [rank for rank in range(ranks) if rank != kill.rank]
        for rank in [] if kill.everybody else others:
            said = running.stderr(rank)
            assert "Traceback" not in said, said[-600:]
            assert "turnout: error: " in said, f"rank {rank} said nothing: {said[-300:]}"
    nobody_stays(folder)
    whole = verified(folder)
    newest = max(whole, default=0)
    assert newest >= max(had, default=0), f"step {max(had)} was there and is gone"
    lost = steps_of(folder) - newest
    assert lost <= config.checkpoint_every, f"{lost} steps were lost"
    return gone


def verified(folder: Path) -> list[int]:
    """Steps of the checkpoints that are whole."""
    found = []
    for step in checkpoints_of(folder):
        try:
            verify(folder / "run" / "checkpoints" / f"step-{step:08d}")
        except CheckpointError:
            continue
        found.append(step)
    return found


@pytest.mark.counts("T1", "kills")
def test_a_killed_run_ends_with_the_same_bits(
    tally: Tally, setting: Setting, cuts: Path, tmp_path: Path
) -> None:
    rng = tally.random("kills")
    steps = tally.size(12, 64)
    config = config_for(setting, cuts, steps)
    whole = outcome(finished(config, tmp_path / "whole", setting.ranks))
    folder = tmp_path / "killed"
    longest = 0.0
    epochs: Counter[int] = Counter()
    for kill in kills_of(setting, steps, tally.full, rng):
        with tally.trial(str(kill)):
            gone = go_on_and_kill(config, folder, setting.ranks, kill, rng)
            longest = max(longest, gone)
            epochs[steps_of(folder) // EPOCH_STEPS] += 1
    with tally.trial("the end"):
        finished(config, folder, setting.ranks)
        same(outcome(folder), whole)
        assert not leftovers(folder), f"left behind: {leftovers(folder)}"
        most = max(epochs.values())
        assert most >= 3 or not tally.full, f"{most} kills in one epoch"
    tally.measure(
        longest_until_the_last_rank_was_gone=round(longest, 2), most_kills_in_an_epoch=most
    )


def without_seeds() -> None:
    """Leave the random state out."""
    from turnout.training import step

    step.seed_step = lambda *_: None


@pytest.mark.full
@pytest.mark.counts("T1", "without the random state")
def test_without_the_random_state_the_bits_differ(tally: Tally, cuts: Path, tmp_path: Path) -> None:
    """The negative control: these tests notice a state that is not restored."""
    config = config_for(Setting(1, 0, 1), cuts, 16)
    runs: dict[str, Path] = {}
    for name, killed in (("whole", False), ("killed", True)):
        runs[name] = tmp_path / name
        if killed:
            before = partial(_both, without_seeds, Point("rename", 8))
            with start(config, runs[name], before={0: before}) as running:
                running.wait()
        with (
            tally.trial(f"{name}: it runs"),
            start(config, runs[name], before={0: without_seeds}) as running,
        ):
            running.finish()
    try:
        same(outcome(runs["killed"]), outcome(runs["whole"]))
    except AssertionError:
        tally.controlled(failed=True)
    else:
        tally.controlled(failed=False)


def _both(first: Before, second: Before) -> None:
    first()
    second()


def children_of(process: int) -> list[int]:
    """Ids of the processes that a process started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process:
            found.append(int(path.parent.name))
    return found


@pytest.mark.full  # at the small size: tests/unit/data/test_workers.py
@pytest.mark.counts("T1", "a worker killed")
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_where_a_process_that_prepares_batches_is_killed_the_run_says_so(
    tally: Tally, cuts: Path, tmp_path: Path
) -> None:
    """As the system does where memory is short."""
    config = config_for(Setting(1, 2, 1), cuts, 16)
    # One epoch, whose workers live as long as the run.
    config = replace(config, data=replace(config.data, epoch_hours=0.05))
    whole = outcome(finished(config, tmp_path / "whole", 1))
    for number in range(10):
        folder, rng = tmp_path / str(number), tally.random(number)
        after = rng.randrange(1, 12)
        with tally.trial(f"after step {after}, {number}"):
            with start(config, folder) as running:
                assert running.until(lambda: steps_of(folder) >= after)  # noqa: B023
                process = running.processes[0].pid
                assert process is not None
                servers = children_of(process)
                workers = [worker for server in servers for worker in children_of(server)]
                assert len(workers) >= 2, "a server that begins them, and the two"
                os.kill(rng.choice(servers + workers), signal.SIGKILL)
                assert running.wait() == [1]
                said = error_lines(running.stderr(0))
                assert len(said) == 1
                assert "a process that prepares batches was killed" in said[0]
            finished(config, folder, 1)
            same(outcome(folder), whole)


def die_while_storing(after: int) -> None:
    """Kill the process that writes the store of mel power, once so many clips are in it."""
    original: Callable[..., object] = store._all_variants

    def dying(*arguments: object):
        for number, result in enumerate(original(*arguments)):  # pyright: ignore
            if number == after:
                die()
            yield result

    store._all_variants = dying


@pytest.mark.counts("T1", "kills while the clips are stored")
def test_killed_while_the_clips_are_stored_it_starts_again(
    tally: Tally, cuts: Path, tmp_path: Path
) -> None:
    """What a killed process leaves, its helpers and their locks, keeps nobody waiting."""
    config = config_of(cuts, max_steps=1)
    config = replace(config, data=replace(config.data, workers=2))
    for number in range(tally.size(1, 6)):
        folder = tmp_path / str(number)
        after = tally.random(number).randrange(CLIPS)
        with tally.trial(f"killed after {after} clips"):
            with start(config, folder, before={0: partial(die_while_storing, after)}) as running:
                assert running.wait() == [-signal.SIGKILL]
            nobody_stays(folder)
            finished(config, folder, 1)
            assert not leftovers(folder), f"left behind: {leftovers(folder)}"
        shutil.rmtree(folder, ignore_errors=True)
