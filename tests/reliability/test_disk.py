"""A disk that is full or read-only ends a run in one line; the last checkpoint stays."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError
from torch import Tensor

from tests.reliability.corpus import config_of, write_corpus
from tests.reliability.limits import (
    BEFORE_THE_FIRST_STEP,
    WRITES,
    Full,
    obey_permissions,
    small_disk,
)
from tests.reliability.runs import (
    Before,
    checkpoints_of,
    error_lines,
    leftovers,
    outcome,
    same,
    start,
    steps_of,
)
from tests.reliability.tally import Tally
from turnout.config import TrainConfig
from turnout.training import checkpoints
from turnout.training.checkpoints import Checkpoints, verify

AFTER = 4
"""The step whose save meets the full disk; that of two steps before has been saved."""
RANKS = 2


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Eight steps that keep one checkpoint alone."""
    cuts = write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", 24)
    config = config_of(cuts, max_steps=8, keep_checkpoints=1)
    return replace(config, data=replace(config.data, cache=str(cuts.parent / "features")))


@pytest.fixture(scope="module")
def whole(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with room enough."""
    folder = tmp_path_factory.mktemp("whole")
    with start(config, folder) as running:
        running.finish()
    return folder


def fails(config: TrainConfig, folder: Path, before: Before | None = None) -> str:
    """Run into the full disk, and check what that looks like; the line that was said."""
    with start(config, folder, before={0: before} if before else None) as running:
        statuses = running.wait()
        said = running.stderr(0)
        assert statuses == [1], f"exit status {statuses}: {said[-300:]}"
        errors = error_lines(said)
        assert len(errors) == 1, f"{len(errors)} lines: {said[-600:]}"
        assert "run" in errors[0], f"nothing is named: {errors[0]}"
    for step in checkpoints_of(folder):
        verify(folder / "run" / "checkpoints" / f"step-{step:08d}")
    assert not leftovers(folder), f"half written: {leftovers(folder)}"
    return errors[0]


def goes_on(config: TrainConfig, folder: Path, whole: Path) -> None:
    """With room again, the same command ends with the same bits."""
    with start(config, folder) as running:
        running.finish()
        assert "going back" not in running.stderr(0)
    same(outcome(folder), outcome(whole))


def size_of(what: str, whole: Path) -> int:
    """Bytes of what is written, so that any smaller limit stops it."""
    run = whole / "run"
    return {
        "rank file": lambda: next(run.glob("checkpoints/*/rank-0000.safetensors")),
        "manifest": lambda: next(run.glob("checkpoints/*/manifest.json")),
        "validated weights": lambda: next(run.glob("validated/*")),
        "log": lambda: run / "steps.jsonl",
        "TensorBoard": lambda: next(run.glob("tensorboard/*")),
        "plot": lambda: run / "training.png",
        "model": lambda: run / "model" / "model.safetensors",
    }[what]().stat().st_size // (4 if what in ("log", "TensorBoard") else 1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What finds the disk full: each thing by itself at the full size, at the small one all, in
    the order in which a run that goes on comes to them."""
    if "written" in metafunc.fixturenames:
        all_of_it = [what for what in WRITES if what not in BEFORE_THE_FIRST_STEP]
        each = {what: [what] for what in all_of_it}
        cases = each if metafunc.config.getoption("--full") else {"one after the other": all_of_it}
        metafunc.parametrize("written", cases.values(), ids=cases)


@pytest.mark.counts("T4", "no room for")
def test_without_room_the_last_checkpoint_stays_and_the_run_can_go_on(
    tally: Tally, written: list[str], config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    for trial in range(tally.size(1, 12)):
        folder, rng = tmp_path / str(trial), tally.random(trial)
        with tally.trial(str(trial)):
            for what in written:
                largest = rng.randrange(size_of(what, whole))
                line = fails(config, folder, Full(what, largest, AFTER))
                assert "file too large" in line.lower(), f"{what}, {largest} bytes: {line}"
                assert checkpoints_of(folder)[-1:] >= [AFTER - 2], "the last checkpoint is gone"
            goes_on(config, folder, whole)
    if tally.full and "rank file" in written:
        what = "rank file"
        full = Full(what, size_of(what, whole) - 1, AFTER)
        tally.controlled(noticed(config, tmp_path / "swallowed", Swallowed(full)))


def noticed(config: TrainConfig, folder: Path, before: Before) -> bool:
    """Whether the same check fails."""
    try:
        fails(config, folder, before)
    except AssertionError:
        return True
    return False


@dataclass(frozen=True)
class Swallowed:
    """The negative control: a rank file that meets the full disk is left as it is."""

    full: Full

    def __call__(self) -> None:
        """Arm it, in the process that is to meet it."""
        self.full()
        original = checkpoints.save_file

        def save_file(tensors: dict[str, Tensor], path: Path) -> None:
            with suppress(OSError, SafetensorError):
                original(tensors, path)
            path.touch()

        checkpoints.save_file = save_file  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.counts("T4", "no room for the features")
def test_without_room_for_the_features_the_run_begins_when_there_is(
    tally: Tally, config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    assert config.data.cache is not None
    size = next(Path(config.data.cache).glob("mel-*/frames.f16")).stat().st_size
    own = replace(config, data=replace(config.data, cache=None))
    for trial in range(tally.size(1, 12)):
        folder = tmp_path / str(trial)
        largest = tally.random(trial).randrange(size)
        with tally.trial(f"{largest} bytes, {trial}"):
            line = fails(own, folder, Full("features", largest, 0))
            assert "run/features: the mel power of the clips cannot be stored there" in line, line
            assert "File too large" in line, line
            left = [path for path in (folder / "run" / "features").iterdir() if path.is_dir()]
            assert not left, f"half written: {left}"
            with start(own, folder) as running:
                running.finish()
            for part in ("files", "steps", "log"):
                assert outcome(folder)[part] == outcome(whole)[part], f"other {part}"


@pytest.mark.counts("T4", "no room on one rank")
def test_a_checkpoint_that_one_rank_has_no_room_for_is_none(
    tally: Tally, config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    for trial in range(tally.size(1, 12)):
        folder, rank = tmp_path / str(trial), (trial + 1) % RANKS
        # A rank's share is about half of what one process writes.
        largest = tally.random(trial).randrange(size_of("rank file", whole) // 4)
        full = Full("rank file", largest, AFTER)
        with tally.trial(f"rank {rank}, {largest} bytes, {trial}"):
            with start(config, folder, ranks=RANKS, before={rank: full}) as running:
                assert running.wait() == [1] * RANKS
                said = [error_lines(running.stderr(number)) for number in range(RANKS)]
            assert [len(lines) for lines in said] == [1] * RANKS, said
            assert "ile too large" in said[rank][0], said[rank]
            assert "another rank could not write its part" in said[1 - rank][0], said[1 - rank]
            assert checkpoints_of(folder) == [AFTER - 2]
            verify(folder / "run" / "checkpoints" / f"step-{AFTER - 2:08d}")
            assert not leftovers(folder), f"half written: {leftovers(folder)}"
            with start(config, folder, ranks=RANKS) as running:
                running.finish()
                assert f"going on at step {AFTER - 2}" in running.stderr(0)
            assert steps_of(folder) == config.max_steps


@pytest.fixture
def disk(tmp_path: Path, whole: Path) -> Iterator[Callable[[int], None]]:
    """A disk in place of the run's folder that is too small for anything."""
    folder = tmp_path / "small"
    folder.mkdir()
    with small_disk(folder / "run", 4096) as resize:
        if resize is None:
            pytest.skip("mounting a small disk is not allowed here")
        yield resize


@pytest.mark.counts("T4", "a small disk")
def test_on_a_small_disk_a_run_fails_in_one_line_and_goes_on_with_more_room(
    tally: Tally,
    disk: Callable[[int], None],
    config: TrainConfig,
    whole: Path,
    tmp_path: Path,
) -> None:
    """The disk grows little by little; every time the run goes on as far as it can."""
    folder, rng = tmp_path / "small", tally.random("sizes")
    needed = sum(blocks_of(path) for path in (whole / "run").rglob("*") if path.is_file())
    reached: list[int] = []
    for share in sorted(rng.uniform(0.02, 0.95) for _ in range(tally.size(2, 24))):
        size = round(share * needed)
        with tally.trial(f"{size} bytes of {needed}"):
            disk(size)
            before = checkpoints_of(folder)
            line = fails(config, folder)
            assert "No space left" in line or "no space left" in line, line
            assert checkpoints_of(folder)[-1:] >= before[-1:], "the last checkpoint is gone"
            reached.append(max(checkpoints_of(folder), default=0))
    with tally.trial("enough"):
        disk(4 * needed)
        goes_on(config, folder, whole)
    tally.measure(steps_reached=reached, bytes_of_a_whole_run=needed)


def blocks_of(path: Path) -> int:
    """Bytes that a file takes on the disk."""
    return -(-path.stat().st_size // 4096) * 4096


@dataclass(frozen=True)
class Locked:
    """From the save of a step on, nothing can be written into a folder of the run."""

    name: str
    after: int

    def __call__(self) -> None:
        """Arm it, in the process that is to meet it."""
        original = Checkpoints.save
        folder = Path("run") / self.name

        def save(saved: Checkpoints, step: int, *rest: Any) -> None:
            if step >= self.after:
                obey_permissions()
                folder.chmod(0o555)
            original(saved, step, *rest)

        replaced: Any = save
        Checkpoints.save = replaced


@pytest.mark.counts("T4", "a folder that cannot be written")
def test_a_folder_that_cannot_be_written(
    tally: Tally, config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    with tally.trial("below a file"):
        folder = tmp_path / "file"
        folder.mkdir()
        (folder / "run").write_text("a file")
        fails(config, folder)
        assert (folder / "run").read_text() == "a file"
    with tally.trial("read-only from the beginning"):
        folder = tmp_path / "beginning"
        (folder / "run").mkdir(parents=True)
        (folder / "run").chmod(0o555)
        line = fails(config, folder, obey_permissions)
        assert "Permission denied" in line, line
        assert not list((folder / "run").iterdir())
    for name in ("checkpoints", "validated") if tally.full else ("checkpoints",):
        with tally.trial(f"{name} read-only from step {AFTER} on"):
            folder = tmp_path / name
            line = fails(config, folder, Locked(name, AFTER))
            assert "Permission denied" in line, line
            place = folder / "run" / name
            assert stat.S_IMODE(place.stat().st_mode) == 0o555
            assert checkpoints_of(folder)[-1:] >= [AFTER - 2]
            place.chmod(0o755)
            goes_on(config, folder, whole)
    tally.measure(root_obeys_permissions=os.geteuid() == 0)


def loses_the_save_of_step_4() -> None:
    """A disk that says it has written, and has not."""
    original = checkpoints.put_in_place

    def move(partial: Path, place: Path) -> None:
        original(partial, place)
        if place.name == "step-00000004":
            os.truncate(place / "rank-0000.safetensors", 1000)

    checkpoints.put_in_place = move


@pytest.mark.counts("T4", "rotation")
def test_rotation_never_deletes_the_last_checkpoint_that_is_whole(
    tally: Tally, config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with tally.trial("the save of step 4 is lost"):
        with start(config, folder, before={0: loses_the_save_of_step_4}) as running:
            assert running.wait() == [1]
            errors = error_lines(running.stderr(0))
            assert len(errors) == 1
            assert "step-00000004/rank-0000.safetensors: is damaged" in errors[0]
        assert checkpoints_of(folder) == [2, 4]
        verify(folder / "run" / "checkpoints" / "step-00000002")
        assert steps_of(folder) == 4
        with start(config, folder) as running:
            running.finish()
            assert "going back to the checkpoint before it" in running.stderr(0)
        same(outcome(folder), outcome(whole))
