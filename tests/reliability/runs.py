"""Runs of `turnout train` in processes of the test's own, one for each rank.

They are forked from a server that has imported everything, so that a start takes a fraction of a
second. Otherwise each is what a launcher starts: the command line in a session of its own, its
words in files, its exit status the operating system's.
"""

import faulthandler
import itertools
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from matplotlib.figure import Figure

from turnout.cli import main
from turnout.config import TrainConfig
from turnout.config.plain import to_plain
from turnout.training import curves
from turnout.training.checkpoints import read_manifest

WATCHDOG = 300.0
"""Seconds after which a run is taken to hang."""
MOST_SECONDS_AFTER = 60.0
"""How long what a rank started may be there after it."""
PRELOADED = ["turnout.cli.train", "turnout.cli.command", "turnout.training.train", __name__]

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(PRELOADED)
_numbers = itertools.count()

Before = Callable[[], None]
"""Called in a rank's process before the command; it must be picklable."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """How one rank's process begins."""

    words: tuple[str, ...]
    folder: Path
    said: Path
    """Its stdout and stderr, with these two endings."""
    environment: Mapping[str, str]
    before: Before | None


class BlankFigure(Figure):
    """Nothing is drawn: drawing would be a third of such a short run."""

    def draw(self, renderer: object) -> None:
        """The picture is written, and empty."""


def rank_process(start: Start) -> None:
    """The process of one rank: the command line, and its exit status."""
    os.setsid()
    # The platform's own way to start processes, not this one's.
    multiprocessing.set_start_method(None, force=True)
    for name, number in (("stdout", 1), ("stderr", 2)):
        file = os.open(f"{start.said}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        setattr(sys, name, os.fdopen(number, "w", buffering=1, closefd=False))
    faulthandler.enable()  # says where each thread stands, at SIGABRT
    os.chdir(start.folder)
    # As if it had begun there: a process that it starts begins where it began itself.
    multiprocessing.process.ORIGINAL_DIR = str(start.folder)
    os.environ.update(start.environment)
    curves.Figure = BlankFigure
    if start.before is not None:
        start.before()
    sys.exit(main(list(start.words)))


class Running:
    """The processes of one run, killed at the end of the context where they still are."""

    def __init__(self, starts: list[Start]) -> None:
        self.starts = starts
        self.processes: list[BaseProcess] = [
            processes.Process(target=rank_process, args=(start,)) for start in starts
        ]
        for process in self.processes:
            process.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self.processes:
            if process.is_alive():
                process.kill()
                process.join()

    @property
    def alive(self) -> bool:
        """Whether every rank runs."""
        return all(process.is_alive() for process in self.processes)

    def send(self, number: signal.Signals, rank: int | None = None) -> None:
        """Send a signal to one rank, or to all."""
        for process in self.processes if rank is None else [self.processes[rank]]:
            if process.is_alive():
                assert process.pid is not None
                os.kill(process.pid, number)

    def send_to_groups(self, number: signal.Signals) -> None:
        """Send a signal to each rank's whole group of processes, as torchrun does."""
        for process in self.processes:
            assert process.pid is not None
            os.killpg(process.pid, number)

    def wait(self, seconds: float = WATCHDOG) -> list[int | None]:
        """The exit statuses; AssertionError where a rank hangs."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(deadline - time.monotonic(), 0.0))
        hanging = [rank for rank, process in enumerate(self.processes) if process.is_alive()]
        assert not hanging, f"rank {hanging} hangs: {self.where(hanging[0])}"
        return [process.exitcode for process in self.processes]

    def where(self, rank: int) -> str:
        """What a rank that hangs said, and where it stands; it is there no more then."""
        self.send(signal.SIGABRT, rank)
        self.processes[rank].join(MOST_SECONDS_AFTER)
        return self.stderr(rank)[-4000:]

    def finish(self) -> None:
        """Wait for a run that ends well."""
        statuses = self.wait()
        said = " / ".join(self.stderr(rank)[-300:] for rank in range(len(self.starts)))
        assert not any(statuses), f"exit status {statuses}: {said}"

    def until(self, condition: Callable[[], bool]) -> bool:
        """Wait until it holds; False where a rank ended before. AssertionError where it hangs."""
        deadline = time.monotonic() + WATCHDOG
        while not condition():
            if not self.alive:
                return False
            assert time.monotonic() < deadline, f"the run hangs: {self.where(0)}"
            time.sleep(0.002)
        return True

    def stdout(self, rank: int) -> str:
        """What a rank said so far."""
        return Path(f"{self.starts[rank].said}.stdout").read_text()

    def stderr(self, rank: int) -> str:
        """What a rank said so far."""
        return Path(f"{self.starts[rank].said}.stderr").read_text()


def start(
    config: TrainConfig,
    folder: Path,
    *,
    ranks: int = 1,
    before: Mapping[int, Before] | None = None,
    folders: Mapping[int, Path] | None = None,
) -> Running:
    """Begin or go on with a run in `folder`; `folders` are working folders of single ranks."""
    said = folder / "said"
    said.mkdir(parents=True, exist_ok=True)
    path = write_config(config, folder)
    number = next(_numbers)
    return Running(
        [
            Start(
                words=("train", "--config", str(path)),
                folder=(folders or {}).get(rank, folder),
                said=said / f"{number}-rank{rank}",
                environment=environment,
                before=(before or {}).get(rank),
            )
            for rank, environment in enumerate(environments(ranks))
        ]
    )


def write_config(config: TrainConfig, folder: Path) -> Path:
    """The configuration as a user writes it."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(to_plain(config)))
    return path


def environments(ranks: int) -> list[dict[str, str]]:
    """What a launcher tells each rank; a single process is told nothing."""
    if ranks == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "test",
    }
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def steps_of(folder: Path) -> int:
    """Steps that the run in `folder` has logged."""
    path = folder / "run" / "steps.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def checkpoints_of(folder: Path) -> list[int]:
    """Steps of the run's checkpoints, oldest first."""
    found = (folder / "run" / "checkpoints").glob("step-*")
    return sorted(int(path.name.removeprefix("step-")) for path in found)


def outcome(folder: Path) -> dict[str, Any]:
    """All that two runs have in common where they are the same to the last bit.

    Weights, moments and the model folder as SHA-256, the counters, the log of every step with the
    digest of its utterances, and the log without its times.
    """
    run = folder / "run"
    manifest = read_manifest(run / "checkpoints" / f"step-{checkpoints_of(folder)[-1]:08d}")
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {
        "files": manifest["files"],
        "state": manifest["fields"]["state"],
        "steps": (run / "steps.jsonl").read_text().splitlines(),
        "log": [{k: v for k, v in line.items() if k != "hours_per_minute"} for line in log],
        "model": (run / "model" / "SHA256SUMS").read_text(),
        "card": (run / "model" / "README.md").read_text(),
    }


def same(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Assert that two outcomes are equal, naming what is not."""
    unlike = [name for name in one if one[name] != two[name]]
    assert not unlike, f"not the same: {', '.join(unlike)}"


def processes_in(folder: Path) -> list[int]:
    """Ids of the processes that work there; none where there is no /proc."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cwd").resolve() == folder.resolve():
                found.append(int(place.name))
        except OSError:
            continue
    return found


def nobody_stays(folder: Path) -> None:
    """Assert that what a run started ends with it, soon."""
    deadline = time.monotonic() + MOST_SECONDS_AFTER
    while processes_in(folder):
        assert time.monotonic() < deadline, f"{len(processes_in(folder))} processes stay"
        time.sleep(0.02)


def leftovers(folder: Path) -> list[str]:
    """Files and folders that are half written."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*.partial*")] + [
        str(path.relative_to(folder)) for path in folder.rglob(".replaced-*")
    ]


def error_lines(text: str) -> list[str]:
    """The lines of stderr that say what went wrong."""
    assert "Traceback" not in text, text[-600:]
    return [line for line in text.splitlines() if line.startswith("turnout: error: ")]
