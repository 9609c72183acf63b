"""Asked to stop, a run saves the step it is at and ends; the same command goes on from there."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.reliability.corpus import config_of, write_corpus
from tests.reliability.runs import (
    Running,
    checkpoints_of,
    error_lines,
    outcome,
    processes_in,
    same,
    start,
    steps_of,
    write_config,
)
from tests.reliability.tally import Tally
from turnout.config import TrainConfig
from turnout.training.loop import Trainer

MOST_SECONDS = 30.0
RANKS = 2
EARLIEST = 2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
WHOM = ("one rank", "all groups", "all twice")
SMALL = ((signal.SIGINT, "one rank"), (signal.SIGUSR1, "all twice"))
"""At the small size torchrun itself sends one to all groups."""
TORCHRUN = [
    sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(RANKS),
    "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0",
]  # fmt: skip


def case(number: signal.Signals, whom: str) -> object:
    """A signal, and who is sent it."""
    marks = () if (number, whom) in SMALL else pytest.mark.full
    return pytest.param(number, whom, id=f"{number.name} to {whom}", marks=marks)


@pytest.fixture(scope="module")
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """At the full size two processes for each rank prepare its batches; a save at the end and on
    request alone."""
    cuts = write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", 36)
    steps, workers = (40, 2) if request.config.getoption("--full") else (24, 0)
    config = config_of(cuts, max_steps=steps, checkpoint_every=1000, validate_every=steps // 2)
    data = replace(config.data, workers=workers, cache=str(cuts.parent / "features"))
    return replace(config, data=data)


@pytest.fixture(scope="module")
def undisturbed(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("undisturbed")
    with start(config, folder, ranks=RANKS) as running:
        running.finish()
    return outcome(folder)


def check_stopped(folder: Path, number: signal.Signals, stderr: str) -> None:
    """It says so in one line, and saved the last step that it took."""
    assert error_lines(stderr) == [
        f"turnout: error: stopped by {number.name} at step {steps_of(folder)}, checkpoint saved: "
        "the same command goes on from there"
    ], stderr[-600:]
    assert checkpoints_of(folder) == [steps_of(folder)]


def check_resumed(config: TrainConfig, folder: Path, undisturbed: dict[str, object]) -> None:
    """Gone on with, it ends with the same bits."""
    with start(config, folder, ranks=RANKS) as running:
        running.finish()
    same(undisturbed, outcome(folder))


def some_steps(config: TrainConfig, rng: Random) -> int:
    """After which a signal is sent: enough are left for it to be heard."""
    assert config.max_steps is not None
    return rng.randrange(EARLIEST, config.max_steps // 2)


def stop(running: Running, number: signal.Signals, whom: str, after: int, rng: Random) -> float:
    """Send the signal after so many steps; how long the last rank was there."""
    folder = running.starts[0].folder
    assert running.until(lambda: steps_of(folder) >= after), running.stderr(0)[-600:]
    time.sleep(rng.uniform(0, 0.02))
    sent = time.monotonic()
    if whom == "one rank":
        running.send(number, rng.randrange(RANKS))
    elif whom == "all groups":
        running.send_to_groups(number)
    else:
        running.send(number)
        running.send(number)
    statuses = running.wait()
    took = time.monotonic() - sent
    assert statuses == [128 + number] * RANKS, f"exit status {statuses}: {running.stderr(0)[-600:]}"
    return took


@pytest.mark.parametrize(("number", "whom"), [case(n, w) for n in SIGNALS for w in WHOM])
@pytest.mark.counts("T2", "signals")
def test_a_signal_saves_the_step_and_the_same_command_goes_on(
    tally: Tally,
    number: signal.Signals,
    whom: str,
    config: TrainConfig,
    undisturbed: dict[str, object],
    tmp_path: Path,
) -> None:
    longest = 0.0
    for trial in range(tally.size(1, 10)):
        folder = tmp_path / str(trial)
        with (
            tally.trial(str(trial)),
            start(config, folder, ranks=RANKS) as running,
        ):
            rng = tally.random(trial)
            longest = max(longest, stop(running, number, whom, some_steps(config, rng), rng))
            assert longest <= MOST_SECONDS, f"it took {longest:.0f} s"
            check_stopped(folder, number, running.stderr(0))
            assert not running.stderr(1), f"rank 1 talks: {running.stderr(1)[-300:]}"
            check_resumed(config, folder, undisturbed)
    tally.measure(longest_seconds_to_the_end=round(longest, 2))
    if tally.full and whom == WHOM[0]:
        tally.controlled(noticed_without_a_save(config, tmp_path / "none", number, tally))


def saves_nothing() -> None:
    """The negative control: the step that a run stops at is not saved."""
    Trainer.save = lambda self: self.ranks.barrier()


def noticed_without_a_save(
    config: TrainConfig, folder: Path, number: signal.Signals, tally: Tally
) -> bool:
    """Whether the same check fails where nothing is saved."""
    before = dict.fromkeys(range(RANKS), saves_nothing)
    with start(config, folder, ranks=RANKS, before=before) as running:
        rng = tally.random("control")
        stop(running, number, WHOM[0], some_steps(config, rng), rng)
        try:
            check_stopped(folder, number, running.stderr(0))
        except AssertionError:
            return True
    return False


def launch(config: TrainConfig, folder: Path) -> subprocess.Popen[str]:
    """The command of two ranks as a user gives it."""
    folder.mkdir()
    command = [*TORCHRUN, "-m", "turnout", "train", "--config", str(write_config(config, folder))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.counts("T2", "signals to torchrun")
@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks into /proc")
def test_a_signal_to_torchrun_stops_the_ranks(
    tally: Tally, config: TrainConfig, undisturbed: dict[str, object], tmp_path: Path
) -> None:
    """SIGUSR1 kills torchrun itself: the ranks that it leaves behind must stop nevertheless."""
    small = (signal.SIGTERM,)
    for number in SIGNALS if tally.full else small:
        folder = tmp_path / number.name
        with tally.trial(number.name):
            took, status = stop_torchrun(config, folder, number, tally.random(number.name))
            tally.measure(**{f"{number.name}_seconds": took, f"{number.name}_status": status})
            check_resumed(config, folder, undisturbed)


def stop_torchrun(
    config: TrainConfig, folder: Path, number: signal.Signals, rng: Random
) -> tuple[float, int]:
    """Run, send the signal to the launcher, and see all its processes end, the step saved."""
    launcher = launch(config, folder)
    try:
        after = some_steps(config, rng)
        deadline = time.monotonic() + 4 * MOST_SECONDS
        while steps_of(folder) < after and launcher.poll() is None:
            assert time.monotonic() < deadline, "the run hangs"
            time.sleep(0.01)
        sent = time.monotonic()
        launcher.send_signal(number)
        while processes_in(folder) and time.monotonic() < sent + 2 * MOST_SECONDS:
            time.sleep(0.05)
        took = time.monotonic() - sent
        left = processes_in(folder)
        assert not left, f"{len(left)} processes are there after {took:.0f} s"
        _, stderr = launcher.communicate()
        assert launcher.returncode, f"exit status {launcher.returncode}"
        assert took <= MOST_SECONDS, f"it took {took:.0f} s"
        expected = signal.SIGHUP if number is signal.SIGUSR1 else number
        said = [line for line in stderr.splitlines() if line.startswith("turnout: ")]
        check_stopped(folder, expected, "\n".join(said))
    finally:
        for process in processes_in(folder):
            os.kill(process, signal.SIGKILL)
        launcher.kill()
        launcher.communicate()
    return round(took, 1), launcher.returncode
