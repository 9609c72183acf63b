"""Labels by actors of Ray, in a process of its own: python -m ... SOURCE OUTPUT [LAST PART].

With a last part, the process ends itself, as `kill -9` would, once that is written. Recordings
called 'poison' end whoever hears them.
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from tests.unit.labelling.hearer import Hearer, labelled, models
from turnout.labelling.cluster import Cluster
from turnout.labelling.models import Models
from turnout.labelling.parts import Parts


class Poisoned(Hearer):
    """Notes what it hears in a file, since nobody sees its end."""

    def __init__(self, name: str, log: Path) -> None:
        super().__init__(name)
        self._log = log

    def _heard(self, source: Any, options: Any) -> Any:
        with self._log.open("a") as file:
            file.write(f"{self.folder.path.name} {source.stem}\n")
        if source.stem == "poison":
            os._exit(9)
        return super()._heard(source, options)


def made(log: Path) -> Models:
    """As an actor loads them."""
    return models(Poisoned("hearer", log), Poisoned("other", log))


def main(source: Path, output: Path, last: int | None) -> None:
    """Label."""
    write = Parts.write

    def written(self: Parts, number: int, first: int, rows: Any) -> None:
        write(self, number, first, rows)
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)

    Parts.write = written  # type: ignore[method-assign]
    make = partial(made, output.with_suffix(".log"))
    cluster = Cluster(make=make, address=None, actors=2, cpus=1)
    # This process hears nothing.
    report, told = labelled(source, output, Hearer(), Hearer("other"), cluster)
    sys.stdout.write(f"{report.inputs} {len(told)} {sum(told):g}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else None)
