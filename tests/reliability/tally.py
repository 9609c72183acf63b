"""What a reliability test counts: its trials, those that failed, and what was measured by the way.

A test runs all its trials and fails at the end, naming those that failed: the figure is the share,
not the first. Each has a seed of its own, from the run's, which is printed and reported.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

NAMED_FAILURES = 20


@dataclass
class Tally:
    """The counts of one test."""

    test: str
    """Its number, such as 'T9'."""
    case: str
    """Which part of it, such as 'decoder'."""
    full: bool
    """Whether the full size is wanted, rather than the small one of every test run."""
    seed: int
    trials: int = 0
    failures: list[str] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)
    control: bool | None = None
    """Whether the negative control failed, as it must; None where there is none."""
    skipped: str | None = None
    """Why nothing was tried."""
    started: float = field(default_factory=time.monotonic)

    def size(self, small: int, full: int) -> int:
        """How many trials are wanted."""
        return full if self.full else small

    def random(self, *names: object) -> Random:
        """A generator for a part of the test, the same whatever ran before it."""
        return Random("/".join(map(str, (self.seed, self.test, self.case, *names))))

    @contextmanager
    def trial(self, name: str) -> Iterator[None]:
        """Count what is done inside; a failed assertion is noted, and the next trial goes on."""
        self.trials += 1
        try:
            yield
        except AssertionError as error:
            reason = str(error).partition("\n")[0]
            self.failures.append(f"{name}: {reason}")

    def controlled(self, failed: bool) -> None:
        """Note what the negative control did."""
        self.control = failed

    def measure(self, **values: Any) -> None:
        """Note a figure for the report; plain JSON."""
        self.measured.update(values)

    def check(self) -> None:
        """Raise AssertionError where a trial failed or the negative control did not."""
        assert self.trials, f"{self.test} {self.case}, seed {self.seed}, made no trial"
        shown = "\n".join(self.failures[:NAMED_FAILURES])
        assert not self.failures, (
            f"{self.test} {self.case}, seed {self.seed}: {len(self.failures)} of {self.trials} "
            f"failed\n{shown}"
        )
        assert self.control is not False, f"{self.test} {self.case}: the negative control passed"

    def to_json(self) -> dict[str, Any]:
        """The line of the report."""
        return {
            "test": self.test,
            "case": self.case,
            "full": self.full,
            "seed": self.seed,
            "trials": self.trials,
            "passed": self.trials - len(self.failures),
            "failures": self.failures[:NAMED_FAILURES],
            "negative_control_failed": self.control,
            "skipped": self.skipped,
            "measured": self.measured,
            "seconds": round(time.monotonic() - self.started, 1),
        }


def report_path(folder: Path, test: str, case: str) -> Path:
    """Where the counts of one test are written."""
    return folder / f"{test}-{case}.json".replace(" ", "_").replace("/", "_")


def is_settled(path: Path) -> bool:
    """Whether a test has been counted whole, with nothing that fell short."""
    if not path.exists():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))
    fell_short = found["failures"] or found["negative_control_failed"] is False
    return bool(found["full"] and found["trials"] and not fell_short)


def write_report(folder: Path, tally: Tally) -> None:
    """One file for each test, written whole: several processes test at once."""
    path = report_path(folder, tally.test, tally.case)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(tally.to_json(), indent=2, ensure_ascii=False) + "\n", "utf-8")
    partial.replace(path)
