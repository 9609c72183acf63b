"""Reads recordings in another process, so that one which kills it is noticed and named."""

import json
import os
import selectors
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from tests.containers import encode
from tests.reliability.examples import ROOT, speech

WATCHDOG_SECONDS = 300.0
SourceKind = Literal["path", "bytes", "stream"]
SOURCES: tuple[SourceKind, ...] = ("path", "bytes", "stream")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of one recording."""

    outcome: str
    """'read', 'refused', 'raised', 'hung', or 'died' by a signal or an exit."""
    message: str = ""
    samples: int = 0
    """At 16 kHz, also of a recording that was given up."""
    warnings: tuple[str, ...] = ()
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    """Of the process, since it began."""
    resident_mb: float = 0.0
    """Of the process, afterwards."""

    def check(self) -> None:
        """Read, or refused with one line: anything else is a failed assertion."""
        assert self.outcome in ("read", "refused"), f"{self.outcome}: {self.message}"
        assert "\n" not in self.message, "the refusal has several lines"
        assert bool(self.message) == (self.outcome == "refused"), "there is no reason"
        assert self.outcome == "refused" or self.samples, "no sample, and yet not refused"


class Reader:
    """The process; started again after a recording that ended it."""

    def __init__(self, folder: Path) -> None:
        """`folder` is where the process may write: made here, to be looked at afterwards."""
        self._folder = folder / "temporary"
        self._folder.mkdir(parents=True)
        self._good = folder / "good.wav"
        samples, rate = speech()
        self._good.write_bytes(encode(samples, rate))
        self.idle_mb = 0.0
        """Its peak once it has read a good recording."""
        self.starts = 0
        self._start()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def read(
        self,
        path: Path,
        source: SourceKind = "path",
        *,
        limit: float | None = None,
        fault: Literal["crash", "leak"] | None = None,
        leaked_mb: int = 1,
    ) -> Answer:
        """What becomes of a recording; `fault` is planted in the process, for negative controls."""
        request = {
            "path": str(path), "source": source, "limit": limit,
            "fault": fault, "leaked_mb": leaked_mb,
        }  # fmt: skip
        answer = self._ask(request)
        if answer.outcome in ("died", "hung"):
            self.restart()
        return answer

    def resident_mb(self) -> float:
        """Memory that it keeps, once it has read a good recording."""
        return self.read(self._good).resident_mb

    def restart(self) -> None:
        """A new process, whose peak is its own."""
        self._stop()
        self._start()

    def left_behind(self) -> list[str]:
        """Temporary files that lie about."""
        return sorted(str(path.relative_to(self._folder)) for path in self._folder.rglob("*"))

    def _start(self) -> None:
        self.starts += 1
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.reading_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(self._folder)},
            text=True,
        )
        answer = self.read(self._good)
        assert answer.outcome == "read", f"a good recording: {answer.outcome}: {answer.message}"
        self.idle_mb = answer.peak_mb

    def _stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, request: dict[str, object]) -> Answer:
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None and answers is not None
        requests.write(json.dumps(request) + "\n")
        requests.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(answers, selectors.EVENT_READ)
            if not selector.select(WATCHDOG_SECONDS):
                return Answer(outcome="hung", message=f"no answer for {WATCHDOG_SECONDS:g} s")
        line = answers.readline()
        if not line:
            code = self._process.wait(WATCHDOG_SECONDS)
            return Answer(outcome="died", message=f"exit status {code}")
        fields = json.loads(line)
        return Answer(**{**fields, "warnings": tuple(fields.get("warnings", ()))})
