"""Labels again and again, each time killed at another point, and then once more to the end.

Prints each folder's name and what was heard in all. A process of its own: it forks, which one with
threads should not.
"""

import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import lhotse  # noqa: F401 - once, before the forks

from tests.unit.labelling.hearer import Hearer, labelled


def arm(moment: int) -> None:
    """End the process, without any tidying, when so many steps were passed: each file that is
    written has two, before it is in its place and behind that."""
    replaced, steps = Path.replace, count()

    def passed() -> None:
        if next(steps) == moment:
            os._exit(9)

    def replace(path: Path, target: Path) -> Path:
        passed()
        found = replaced(path, target)
        passed()
        return found

    Path.replace = replace  # type: ignore[method-assign]


def forked(work: Callable[[], Any]) -> int:
    """The exit status of work in a process of its own."""
    process = os.fork()
    if process == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def heard(source: Path, output: Path, log: Path, *, alone: bool) -> None:
    """Label; what was heard goes into a file at once, since the process may not see its end."""

    class Logged(Hearer):
        def _heard(self, source: Any, options: Any) -> Any:
            with log.open("a") as file:
                file.write(f"{getattr(source, 'stem', 'utterance')}\n")
            return super()._heard(source, options)

    labelled(source, output, Logged(), None if alone else Hearer("other"))


def main(source: Path, folder: Path, first: int, *, alone: bool) -> None:
    """From a moment on, until nothing is left to be killed; `alone` without a second model."""
    os.fsync = lambda _: None  # the machine lives on
    for moment in count(first):
        output, log = folder / str(moment), folder / f"{moment}.log"

        def killed(moment: int = moment, output: Path = output, log: Path = log) -> None:
            arm(moment)
            heard(source, output, log, alone=alone)

        status = forked(killed)
        assert status in (0, 9), status
        if status == 0:
            return
        heard(source, output, log, alone=alone)
        sys.stdout.write(f"{moment} {len(log.read_text().split())}\n")


if __name__ == "__main__":
    first = int(sys.argv[3]) if sys.argv[3:] else 0
    main(Path(sys.argv[1]), Path(sys.argv[2]), first, alone=bool(sys.argv[4:]))
