"""Makes shards again and again, each time killed at another point, and then once more to the end.

Prints the folders' names. A process of its own: it forks, which one with threads should not.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.unit.shards.corpus import SMALL
from turnout.shards.store import PATIENCE, Folder
from turnout.shards.writing import make_shards


class Dying(Folder):
    """Ends the process, without any tidying, at the moment of a number."""

    def __init__(self, folder: Path, moment: int) -> None:
        super().__init__(folder, PATIENCE)
        self._left = moment

    def _passed(self) -> None:
        if self._left == 0:
            os._exit(9)
        self._left -= 1

    @contextmanager
    def written(self, name: str) -> Iterator[Path]:
        self._passed()
        with super().written(name) as path:
            yield path
            self._passed()
            # The end of what was written may not have come to the disk.
            if self._left == 0:
                with path.open("r+b") as file:
                    file.truncate(path.stat().st_size // 2)
            self._passed()
        self._passed()


def died(cuts: Path, folder: Path, moment: int) -> bool:
    """Whether the moment came before the end."""
    process = os.fork()
    if process == 0:
        make_shards(cuts, Dying(folder, moment), SMALL)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert status in (0, 9), status
    return status == 9


def main(cuts: Path, folder: Path) -> None:
    """Until nothing is left to be killed."""
    moment = 0
    while died(cuts, folder / str(moment), moment):
        make_shards(cuts, Folder(folder / str(moment), PATIENCE), SMALL)
        sys.stdout.write(f"{moment}\n")
        moment += 1


main(Path(sys.argv[1]), Path(sys.argv[2]))
