"""A model on several sets: a report each, in one table, and the average over them."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from turnout.config import TranscriptionOptions
from turnout.config.sets import SetConfig, SetsConfig
from turnout.evaluation.alteration import Alteration
from turnout.evaluation.evaluate import Evaluation, Scored
from turnout.evaluation.report import Report
from turnout.evaluation.score_rows import ScoreRow
from turnout.transcription.transcriber import Transcriber

Watched = Callable[[str, Iterable[Scored], int], Iterable[Scored]]
Hear = Callable[[int, Evaluation], Iterable[Scored]]
"""Given a set's number, and what is to be heard of it."""


@dataclass(frozen=True, kw_only=True)
class SetsReport:
    """What came out, by the names of the sets."""

    model: str
    sets: Mapping[str, SetConfig]
    reports: Mapping[str, Report]

    @property
    def averages(self) -> dict[str, float]:
        """WER and CER in percent by task: the mean of the sets, each counting as much as the
        others, whatever its size; of a set with several rows, the mean of these."""
        found: dict[str, list[float]] = {}
        for report in self.reports.values():
            for task in dict.fromkeys(str(row.task) for row in report.rows):
                rows = [row for row in report.rows if row.task == task]
                for metric in ("wer", "cer"):
                    values = [v for row in rows if (v := getattr(row, metric).value) is not None]
                    if values:
                        mean = sum(values) / len(values)
                        found.setdefault(f"{task} {metric}", []).append(mean)
        return {key: sum(values) / len(values) for key, values in found.items()}

    def to_json(self) -> str:
        """Everything, each utterance's texts included."""
        reports = {
            # The data as the report tells them: an address may hold what lets somebody in.
            name: {"set": {**asdict(self.sets[name]), "data": report.data}, **report.content}
            for name, report in self.reports.items()
        }
        content = {"model": self.model, "averages": self.averages, "sets": reports}
        return json.dumps(content, default=asdict, ensure_ascii=False, indent=1) + "\n"

    def __rich__(self) -> RenderableType:
        """The rows of all sets in one table, and their average."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("set", "bandwidth", "task", "language"):
            table.add_column(heading, no_wrap=True)
        for heading in ("utterances", "hours", "WER %", "CER %", "BLEU", "chrF"):
            table.add_column(heading, justify="right", no_wrap=True)
        for name, report in self.reports.items():
            for row in report.rows:
                table.add_row(*cells_of(name, row))
        means = ", ".join(f"{key} {value:.2f} %" for key, value in self.averages.items())
        lines = [f"average of {len(self.reports)} sets: {means}"] if means else []
        return Group(table, *(Text(line) for line in lines))


def cells_of(name: str, row: ScoreRow) -> list[str]:
    """A row of the table."""
    spoken, target = row.language, row.target_language
    language = spoken if spoken == target else f"{spoken} > {target}"
    told = [str(row.bandwidth), str(row.task), language]
    return [name, *told, f"{row.utterances:,}", f"{row.hours:.2f}", *map(str, row.scores)]


def evaluate_sets(
    transcriber: Transcriber,
    asked: SetsConfig,
    options: TranscriptionOptions,
    *,
    limit: int | None = None,
    watched: Watched = lambda _, outcomes, __: outcomes,
    hear: Hear = lambda _, evaluation: evaluation.outcomes(),
) -> SetsReport:
    """Score a model on each of the sets; `limit` is for those that have none of their own, `hear`
    has them heard, here by default.

    Channels are opened before anything is scored. Raises as `evaluate` does, and ConfigError.
    """
    channels = [one.channel and Alteration.of(one.channel) for one in asked.sets]
    reports: dict[str, Report] = {}
    for number, (one, channel) in enumerate(zip(asked.sets, channels, strict=True)):
        own = limit if one.limit is None else one.limit
        evaluation = Evaluation.of(transcriber, one.data, options, own, channel)
        outcomes = watched(one.name, hear(number, evaluation), len(evaluation.passes))
        reports[one.name] = evaluation.report(outcomes)
    (model, *_) = (report.model for report in reports.values())
    return SetsReport(model=model, sets={one.name: one for one in asked.sets}, reports=reports)


def lines_of(report: SetsReport, choose: Callable[[Report], Iterable[str]]) -> list[str]:
    """What there is to be said of the sets, each line with its set's name."""
    return [f"{name}: {line}" for name, own in report.reports.items() for line in choose(own)]
