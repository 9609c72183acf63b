"""Scores of data that a cluster's actors hear: those of one process, since the same is heard
together, and put away until all is there.

    FOLDER/000, 001, ...  what was heard of each set, part by part

A run that was stopped goes on behind the parts that are there.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from turnout.config import TranscriptionOptions
from turnout.config.plain import from_plain, to_plain
from turnout.config.sets import SetChannel, SetsConfig
from turnout.corpora.clips import Clip
from turnout.evaluation.alteration import Alteration
from turnout.evaluation.evaluate import (
    ClipPass,
    Evaluation,
    Outcome,
    Scored,
    options_of_data,
    outcomes_of,
    units_of,
)
from turnout.evaluation.report import Report
from turnout.evaluation.sets import SetsReport, Watched, evaluate_sets
from turnout.files import sha256_of
from turnout.labelling.cluster import Actors, Cluster, Unit
from turnout.labelling.hearing import Told
from turnout.labelling.models import Row, model_digest
from turnout.labelling.parts import Parts, reserved
from turnout.shards.origins import ShardClip
from turnout.transcription.transcriber import Transcriber

FORMAT = 1
ALONE = ""
"""The name of data that are no set of several."""


@dataclass(frozen=True)
class SetPass:
    """A pass over a clip of one of the sets."""

    number: int
    asked: ClipPass
    folder: str
    """That relative paths are of: whoever hears it may be at home in another."""

    def __str__(self) -> str:
        """As a line tells it."""
        return self.asked.clip.id


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A model that is ready, with what is asked of it."""

    transcriber: Transcriber
    options: TranscriptionOptions
    alterations: Sequence[Alteration | None]
    """What the recordings of each set go through; nothing, where there are no sets."""

    @classmethod
    def of(
        cls,
        transcriber: Transcriber,
        options: TranscriptionOptions,
        channels: Sequence[SetChannel | None],
    ) -> "Scorer":
        """Open the channels; raises ConfigError and MissingExtra."""
        alterations = [one and Alteration.of(one) for one in channels] or [None]
        return cls(transcriber=transcriber, options=options, alterations=alterations)

    @property
    def all(self) -> Iterator[Transcriber]:
        """The one."""
        yield self.transcriber

    def heard(self, part: Sequence[SetPass], told: Told) -> list[Row]:
        """What became of each pass, all of one set."""
        options = options_of_data(self.options, self.transcriber.backend.config)
        passes, alteration = placed(part), self.alterations[part[0].number]
        found: dict[ClipPass, Outcome] = {}
        for asked, outcome in outcomes_of(self.transcriber, passes, options, alteration):
            found[asked] = outcome
            told(asked.clip.duration)
        return [to_plain(named(found[asked], one)) for asked, one in zip(passes, part, strict=True)]


def placed(part: Sequence[SetPass]) -> list[ClipPass]:
    """The passes, with the whole paths of their recordings; those of one clip still are."""
    clips: dict[int, Clip] = {}
    for one in part:
        clip = one.asked.clip
        if id(clip) not in clips:
            in_shard = isinstance(clip, ShardClip)
            path = clip.path if in_shard else str(Path(one.folder, clip.path))
            clips[id(clip)] = replace(clip, path=path)
    return [replace(one.asked, clip=clips[id(one.asked.clip)]) for one in part]


def named(outcome: Outcome, one: SetPass) -> Outcome:
    """The outcome, with the recording as the data name it."""
    path = one.asked.clip.path
    return replace(outcome, texts=tuple(replace(text, recording=path) for text in outcome.texts))


@dataclass(frozen=True, kw_only=True)
class BulkScorer:
    """A model, and the cluster whose actors have it as well."""

    scorer: Scorer
    cluster: Cluster
    folder: Path
    """Where what was heard is put away."""
    limit: int | None = None

    def scored(
        self, asked: Sequence[Path | str] | SetsConfig, watched: Watched
    ) -> Report | SetsReport:
        """The scores of data, or of several sets; raises as `evaluate_sets` does, and StorageError
        where the folder holds something else."""
        scorer = self.scorer
        with self._opened() as work:
            if isinstance(asked, SetsConfig):
                return evaluate_sets(
                    scorer.transcriber,
                    asked,
                    scorer.options,
                    limit=self.limit,
                    watched=watched,
                    hear=work.outcomes,
                )
            evaluation = Evaluation.of(scorer.transcriber, asked, scorer.options, self.limit)
            outcomes = watched(ALONE, work.outcomes(0, evaluation), len(evaluation.passes))
            return evaluation.report(outcomes)

    @contextmanager
    def _opened(self) -> Iterator["_Work"]:
        scorer = self.scorer
        options = options_of_data(scorer.options, scorer.transcriber.backend.config)
        # Raises what no input could. Of the task that every model has: which others there are
        # something to score of, the data say.
        heard = replace(options, task="transcribe", target_language=None)
        scorer.transcriber.transcribe_files([], heard)
        digests = [model_digest(scorer.transcriber)]
        with reserved(self.folder), ExitStack() as until:
            yield _Work(self, lambda: until.enter_context(self.cluster.opened(digests)))


@dataclass
class _Work:
    """One scoring. Actors begin once something is to be heard, and serve all sets."""

    asked: BulkScorer
    begin: Callable[[], Actors]
    actors: Actors | None = field(default=None, init=False)

    def outcomes(self, number: int, evaluation: Evaluation) -> Iterator[Scored]:
        """What became of the passes of a set; what is there first, the others as they come."""
        parts = Parts(self.asked.folder / f"{number:03d}", self._job(evaluation))
        parts.begin()
        missing: list[Unit] = []
        first, home = 0, str(Path.cwd())
        for place, passes in enumerate(units_of(evaluation.passes)):
            unit = Unit(place, first, [SetPass(number, one, home) for one in passes])
            first += len(passes)
            rows = parts.rows(unit.number, unit.first, len(passes))
            if rows is None:
                missing.append(unit)
            else:
                yield from zip(passes, map(outcome_of, rows), strict=True)
        if missing:
            self.actors = self.actors or self.begin()
            for unit, rows in self.actors.rows(iter(missing)):
                parts.write(unit.number, unit.first, rows)
                passes = [one.asked for one in unit.items]
                yield from zip(passes, map(outcome_of, rows), strict=True)

    def _job(self, evaluation: Evaluation) -> Row:
        """What the outcomes of a set follow from."""
        options = to_plain(evaluation.options)
        del options["batch_size"]  # a smaller one, for want of memory, hears the same
        alteration = evaluation.alteration
        return {
            "format": FORMAT,
            "work": "scores",
            "passes": digest_of(evaluation.passes),
            "channel": alteration and to_plain(alteration.config),
            "model": model_digest(evaluation.transcriber),
            "options": options,
        }


def outcome_of(row: Row) -> Outcome:
    """The outcome that was put away."""
    return from_plain(Outcome, row)


def digest_of(passes: Iterable[ClipPass]) -> str:
    """Of what is asked of which clips."""
    return sha256_of(json.dumps(to_plain(list(passes))).encode())
