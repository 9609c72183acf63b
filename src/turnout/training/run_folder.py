"""A run's folder: the configuration that it began with, held to ever after, and a lock that keeps
other processes out."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from turnout.config import TrainConfig
from turnout.config.plain import to_plain
from turnout.errors import ConfigError, StorageError
from turnout.files import locked, write_whole
from turnout.model_folder import DIGESTS, OF_A_RUN
from turnout.training.distributed import Ranks

RUN, TOKENIZER, MODEL, LOCK = "run.json", "tokenizer.model", OF_A_RUN, ".lock"
CHECKPOINTS, VALIDATED, TEACHER = "checkpoints", "validated", "teacher"
RUN_FORMAT = 2
"""Of `run.json` and all that a run keeps beside it; that of runs which say none is 1."""
NOT_A_RUN = "{}: holds no configuration of a run: choose another output"
FREE = frozenset(
    {
        "output",
        "log_every",
        "keep_checkpoints",
        "data.worker_start",
        "data.worker_timeout",
        "objective.teacher_cache_gb",
    }
)
"""Fields that change nothing of what is learned."""
WARNED = frozenset({"data.workers", "data.cache", "threads", "device", "parallel"})
"""Fields that may change, at the price of the last bits."""


def check_configuration(
    config: TrainConfig, folder: Path, ranks: Ranks, say: Callable[[str], None]
) -> None:
    """Write the configuration into the run's folder, or compare it with the one that is there.

    Raises ConfigError, naming the fields that changed, and where a turnout of another format began
    the run; before the first checkpoint both may be, and the latter once the run is finished.
    """
    path = folder / RUN
    now = to_plain(config)
    if path.exists():
        run = read_run(path)
        begun = run.get("format", 1)
        if begun != RUN_FORMAT and is_finished(folder):
            return  # Nothing is gone on with: its model is all that is asked for.
        if begun != RUN_FORMAT and has_begun(folder):
            raise ConfigError(
                f"{folder}: this run was begun by another turnout (its format is {begun!r}, this "
                f"one's {RUN_FORMAT}): go on with that turnout, or choose another output"
            )
        changed = changed_fields(run["config"], now) - FREE
        for name in sorted(changed & WARNED):
            say(f"warning: {name} changed since the run began: the last bits may differ")
        refused = sorted(changed - WARNED)
        if refused and has_begun(folder):
            raise ConfigError(
                f"{folder}: the configuration changed since this run began: {', '.join(refused)}: "
                "put back what was there to go on, or choose another output"
            )
        afresh = bool(refused) or begun != RUN_FORMAT
    else:
        afresh = True
    ranks.barrier()
    if afresh and ranks.first:
        # Of a configuration that is the run's no more; nothing was learned with it.
        (folder / TOKENIZER).unlink(missing_ok=True)
        write_run(path, {"format": RUN_FORMAT, "config": now})
    ranks.barrier()


def is_finished(folder: Path) -> bool:
    """Whether a run's model is in its folder."""
    return (folder / MODEL / DIGESTS).exists()


def has_begun(folder: Path) -> bool:
    """Whether there is anything in a run's folder to go on with."""
    return (folder / MODEL).exists() or any((folder / CHECKPOINTS).glob("step-*"))


def write_run(path: Path, run: dict[str, Any]) -> None:
    """Write a run's `run.json`; raises StorageError."""
    write_whole(path, json.dumps(run, indent=1, ensure_ascii=False).encode())


def read_run(path: Path) -> dict[str, Any]:
    """A run's `run.json`: its configuration, and the digest of its tokenizer once there is one.

    Raises ConfigError where no configuration is in it.
    """
    try:
        run = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(NOT_A_RUN.format(path)) from error
    if not isinstance(run, dict) or "config" not in run:
        raise ConfigError(NOT_A_RUN.format(path))
    return run


def changed_fields(before: Any, now: Any, name: str = "") -> set[str]:
    """Dotted names of the values that differ between two nested dictionaries."""
    if isinstance(before, dict) and isinstance(now, dict):
        return {
            field
            for key in before.keys() | now.keys()
            for field in changed_fields(
                before.get(key), now.get(key), f"{name}.{key}" if name else str(key)
            )
        }
    return set() if before == now else {name}


@contextmanager
def locked_run(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Keep other processes out of the run's folder; raises StorageError where one is in it."""
    problem: str | None = None
    with ExitStack() as held:
        if ranks.first:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(folder / LOCK, wait=False))
            except BlockingIOError:
                problem = "another process trains in it: wait for it, or choose another output"
            except OSError as error:
                problem = f"cannot be written ({error.strerror}): choose another output"
        if ranks.largest(int(problem is not None)):
            raise StorageError(f"{folder}: {problem or 'cannot be used by the first rank'}")
        yield
