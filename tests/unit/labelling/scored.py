"""Scores by actors of Ray, in a process of its own: python -m ... CUTS OUTPUT [LAST PART].

With a last part, the process ends itself, as `kill -9` would, once that is written.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from tests.unit.labelling.hearer import Hearer
from turnout.config import TranscriptionOptions
from turnout.config.sets import SetChannel, SetConfig, SetsConfig
from turnout.evaluation.report import Report
from turnout.evaluation.sets import SetsReport
from turnout.labelling.cluster import Cluster
from turnout.labelling.parts import Parts
from turnout.labelling.scoring import BulkScorer, Scorer
from turnout.transcription.transcriber import Transcriber

OPTIONS = TranscriptionOptions(task="transcribe", language="en")
FASTER = SetChannel(speed=1.25)


def sets_of(cuts: str) -> SetsConfig:
    """The same data as they are and faster."""
    return SetsConfig(
        sets=(
            SetConfig(name="plain", data=(cuts,)),
            SetConfig(name="faster", data=(cuts,), channel=FASTER, limit=5),
        )
    )


def scorer(hearer: Hearer) -> Scorer:
    """Of a hearer, for `sets_of`."""
    return Scorer.of(cast(Transcriber, hearer), OPTIONS, (None, FASTER))


def made() -> Scorer:
    """As an actor loads it."""
    return scorer(Hearer())


def scored(asked: Sequence[str] | SetsConfig, folder: Path, cluster: object) -> Any:
    """The scores, by a process that hears nothing."""
    bulk = BulkScorer(scorer=scorer(Hearer()), cluster=cast(Cluster, cluster), folder=folder)
    return bulk.scored(asked, lambda _, outcomes, __: outcomes)


def main(cuts: str, output: Path, last: int | None) -> None:
    """Score."""
    write, left = Parts.write, [last]

    def written(self: Parts, number: int, first: int, rows: Any) -> None:
        write(self, number, first, rows)
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    Parts.write = written  # type: ignore[method-assign]
    report: Report | SetsReport = scored(
        sets_of(cuts), output, Cluster(make=made, address=None, actors=2, cpus=1)
    )
    sys.stdout.write(report.to_json())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else None)
