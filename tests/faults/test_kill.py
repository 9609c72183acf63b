"""Killed at any moment and started again, a run ends with the same bits as one that never was."""

import json
import multiprocessing
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.toy import run_toy, toy_config
from turnout.training.checkpoints import Checkpoints, read_manifest

STEPS, KILLS, WATCHDOG = 24, 3, 120.0
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.unit.training.toy"])


def child(output: str, seeded: bool) -> None:
    run_toy(toy_config(Path(output), max_steps=STEPS), seeded=seeded)


def start(output: Path, seeded: bool) -> BaseProcess:
    process = processes.Process(target=child, args=(str(output), seeded))
    process.start()
    return process


def wait(process: BaseProcess) -> None:
    process.join(WATCHDOG)
    assert process.exitcode == 0, f"the run ended with {process.exitcode}"


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_at(output: Path, step: int, seeded: bool, delay: float) -> None:
    """Start or go on, and kill -9 some time after `step`."""
    process = start(output, seeded)
    deadline = time.monotonic() + WATCHDOG
    while lines(output / "steps.jsonl") < step and process.is_alive():
        assert time.monotonic() < deadline, "the run hangs"
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    process.join(WATCHDOG)
    assert process.exitcode == -signal.SIGKILL, "it ended before it could be killed"


def killed_run(output: Path, rng: random.Random, *, seeded: bool = True) -> None:
    """A run with kills at random steps and moments."""
    for step in sorted(rng.sample(range(1, STEPS - 8), KILLS)):
        kill_at(output, step, seeded, rng.uniform(0, 0.05))
    wait(start(output, seeded))


def digests(output: Path) -> tuple[list[Any], Any]:
    """SHA-256 of weights and moments, and the counters, of the last checkpoint."""
    folder = max((output / "checkpoints").glob("step-*"))
    manifest = read_manifest(folder)
    return manifest["files"], manifest["fields"]["state"]


def log_without_times(output: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "hours_per_minute"} for line in found]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed")
    wait(start(output, seeded=True))
    return output


def test_resume_after_three_kills_is_exact(tmp_path: Path, undisturbed: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    killed_run(tmp_path, random.Random(seed))
    assert digests(tmp_path) == digests(undisturbed)
    steps = (tmp_path / "steps.jsonl").read_bytes()
    assert steps == (undisturbed / "steps.jsonl").read_bytes()
    assert lines(tmp_path / "steps.jsonl") == STEPS
    assert log_without_times(tmp_path) == log_without_times(undisturbed)
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_without_the_random_state_it_is_not(tmp_path: Path) -> None:
    """The negative control: this suite notices a state that is not restored."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    wait(start(whole, seeded=False))
    killed_run(killed, random.Random(0), seeded=False)
    assert digests(killed)[0] != digests(whole)[0]


def test_a_stop_signal_saves_the_step_and_the_same_command_goes_on(
    tmp_path: Path, undisturbed: Path
) -> None:
    process = start(tmp_path, seeded=True)
    while lines(tmp_path / "steps.jsonl") < 5 and process.is_alive():
        time.sleep(0.002)
    process.terminate()
    process.join(WATCHDOG)
    # The child's error is not the command line's: multiprocessing answers 1 for any exception.
    assert process.exitcode == 1
    newest = max((tmp_path / "checkpoints").glob("step-*"))
    assert newest.name == f"step-{lines(tmp_path / 'steps.jsonl'):08d}"
    wait(start(tmp_path, seeded=True))
    assert digests(tmp_path) == digests(undisturbed)


def test_what_a_killed_writer_left_is_no_checkpoint(tmp_path: Path) -> None:
    partial = tmp_path / ".partial-step-00000004"
    partial.mkdir()
    (partial / "rank-0000.safetensors").write_bytes(b"half")
    checkpoints = Checkpoints(tmp_path, None)  # pyright: ignore[reportArgumentType]
    assert checkpoints.newest(pytest.fail) is None
    checkpoints.clean()
    assert not partial.exists()
