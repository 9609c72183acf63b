"""`turnout` as users run it: a process, whose temporary files go where a test can see them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.reliability.examples import ROOT

WATCHDOG_SECONDS = 300.0
SAYS = ("turnout: error: ", "turnout: warning: ")
"""How every line of stderr begins."""


def transcribe(
    recordings: Sequence[Path], temporary: Path, *, piped: bytes | None = None
) -> subprocess.CompletedProcess[str]:
    """What `turnout transcribe` printed, and its exit status; `piped` is its stdin."""
    temporary.mkdir(exist_ok=True)
    result = subprocess.run(
        [sys.executable, "-m", "turnout", "transcribe", *map(str, recordings), "--threads", "1"],
        input=piped,
        stdin=None if piped is not None else subprocess.DEVNULL,
        capture_output=True,
        cwd=ROOT,
        env={
            **os.environ,
            "TMPDIR": str(temporary),
            "HOME": str(temporary),
            "PYTHONIOENCODING": "utf-8",
        },
        timeout=WATCHDOG_SECONDS,
        check=False,
    )
    return subprocess.CompletedProcess(
        result.args, result.returncode, result.stdout.decode(), result.stderr.decode()
    )


def lines_about(path: Path, result: subprocess.CompletedProcess[str]) -> list[str]:
    """The text or the error of one of several recordings: there should be exactly one of both."""
    printed = [line for line in result.stdout.splitlines() if line.startswith(f"{path}: ")]
    errors = [line for line in result.stderr.splitlines() if line.startswith(f"{SAYS[0]}{path}: ")]
    return printed + errors
