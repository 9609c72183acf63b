"""Transcripts by actors of Ray, in a process of its own: python -m ... SOURCE OUTPUT [WHAT DIES].

Without the third word two actors of this machine hear everything. 'driver': the process ends
itself, as `kill -9` would, once two parts are written. 'node': there are two nodes, of an actor
each, and the second is killed, with what it has in hand, once a part is written.
"""

import os
import signal
import sys
import time
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, cast

from tests.unit.labelling.clustered import Poisoned
from tests.unit.labelling.hearer import Hearer
from turnout.config import TranscriptionOptions
from turnout.labelling.cluster import Cluster
from turnout.labelling.parts import Parts
from turnout.labelling.transcribing import BulkTranscriber, Outcome, Writer
from turnout.transcription.transcriber import Transcriber


class Slow(Poisoned):
    """Takes a while, so that there is something in hand; notes its node."""

    def _heard(self, source: Any, options: Any) -> Any:
        time.sleep(0.5)
        return super()._heard(source, options)


def made(log: Path) -> Writer:
    """As an actor loads it."""
    return writer(Slow("hearer", log))


def writer(hearer: Hearer) -> Writer:
    """Of a hearer, asked for what is usual."""
    return Writer(transcriber=cast(Transcriber, hearer), options=TranscriptionOptions())


def transcribed(
    source: Path | str, output: Path, hearer: Hearer, cluster: object, **more: Any
) -> tuple[Outcome, list[float]]:
    """What came out, in parts of three seconds, and what was told of its progress."""
    told: list[float] = []
    bulk = BulkTranscriber(
        writer=writer(hearer), cluster=cast(Cluster, cluster), part_minutes=0.05, **more
    )
    return bulk.transcribe(source, output, lambda _: nullcontext(told.append)), told


def main(source: Path, output: Path, dies: str) -> None:
    """Transcribe."""
    write, written = Parts.write, count(1)
    address, kill = None, lambda: None
    if dies == "node":
        nodes = import_module("ray.cluster_utils").Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        second = nodes.add_node(num_cpus=1)
        nodes.wait_for_nodes()
        address, kill = nodes.address, partial(nodes.remove_node, second, allow_graceful=False)

    def put(self: Parts, number: int, first: int, rows: Any) -> None:
        write(self, number, first, rows)
        place = next(written)
        if dies == "driver" and place == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if place == 1:
            kill()

    Parts.write = put  # type: ignore[method-assign]
    make = partial(made, output.with_suffix(".log"))
    cluster = Cluster(make=make, address=address, actors=2, cpus=1)
    # This process hears nothing.
    outcome, told = transcribed(source, output, Hearer(), cluster)
    sys.stdout.write(f"{outcome.inputs} {len(told)} {sum(told):g}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "".join(sys.argv[3:]))
