"""Scored outcomes -> rows by bandwidth x task x language, with counts: a table and JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from turnout.evaluation.scores import Score, bleu, character_errors, chrf, word_errors
from turnout.guidance import Bandwidth, Task

HEADINGS = {"wer": "WER", "cer": "CER", "bleu": "BLEU", "chrf": "chrF"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One text that was asked for, and what the model wrote."""

    id: str
    task: Task
    bandwidth: Bandwidth
    """Stated by the data, or measured where they state none."""
    language: str
    """Spoken, as the data say."""
    target_language: str
    """Of the text: the spoken language where the task is to transcribe."""
    reference: str
    hypothesis: str
    seconds: float
    found_language: str | None
    """Spoken language that the model found, or was told; None where the transcript was not asked
    for, and where the model tells none."""
    found_bandwidth: Bandwidth
    """Measured, or told."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The scores of all outcomes of one bandwidth, task and language."""

    bandwidth: Bandwidth
    task: Task
    language: str
    target_language: str
    utterances: int
    hours: float
    language_found: float | None
    """Share of utterances whose spoken language was found right; None where it is not told."""
    bandwidth_found: float
    """Share of utterances whose bandwidth was found right."""
    wer: Score
    cer: Score
    bleu: Score
    chrf: Score

    @property
    def scores(self) -> tuple[Score, Score, Score, Score]:
        """WER, CER, BLEU, chrF."""
        return self.wer, self.cer, self.bleu, self.chrf


@dataclass(frozen=True, kw_only=True)
class Report:
    """An evaluation: what was asked, of which model, on which data, and what came out."""

    model: str
    data: tuple[str, ...]
    options: dict[str, Any]
    rows: tuple[Row, ...]
    outcomes: tuple[Outcome, ...]
    failed: tuple[str, ...] = ()
    """One line for each utterance that could not be taken; they are in no score."""
    left_out: int = 0
    """Utterances without a text that was asked for and that the model could write."""

    @property
    def signatures(self) -> dict[str, str]:
        """What each metric was computed with."""
        return {score.metric: score.signature for row in self.rows for score in row.scores}

    def to_json(self) -> str:
        """Everything, each utterance's texts included."""
        content = {
            "model": self.model,
            "data": list(self.data),
            "options": self.options,
            "signatures": self.signatures,
            "rows": [asdict(row) for row in self.rows],
            "failed": list(self.failed),
            "left_out": self.left_out,
            "utterances": [asdict(outcome) for outcome in self.outcomes],
        }
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"

    def __rich__(self) -> RenderableType:
        """The table, and under it what each metric was computed with."""
        lines = [f"{HEADINGS[metric]}: {used}" for metric, used in self.signatures.items()]
        return Group(self.to_table(), *(Text(line, style="dim") for line in lines))

    def to_table(self) -> Table:
        """The rows, each figure with its 95 % interval."""
        table = Table(title_justify="left", box=None, pad_edge=False, header_style="bold")
        for heading in ("bandwidth", "task", "language"):
            table.add_column(heading, no_wrap=True)
        for heading in ("utterances", "hours", "WER %", "CER %", "BLEU", "chrF"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("language found", justify="right")
        table.add_column("bandwidth found", justify="right")
        for row in self.rows:
            table.add_row(*_cells(row))
        return table


def rows_of(outcomes: Iterable[Outcome], seed: int = 0) -> tuple[Row, ...]:
    """A row for each bandwidth, task, language and target language that occurs, sorted."""
    groups: dict[tuple[str, str, str, str], list[Outcome]] = {}
    for outcome in outcomes:
        key = (outcome.task, outcome.language, outcome.target_language, outcome.bandwidth)
        groups.setdefault(key, []).append(outcome)
    return tuple(_row(groups[key], seed) for key in sorted(groups))


def _row(outcomes: Sequence[Outcome], seed: int) -> Row:
    first = outcomes[0]
    references = [outcome.reference for outcome in outcomes]
    hypotheses = [outcome.hypothesis for outcome in outcomes]
    found = [outcome.found_language for outcome in outcomes]
    right = sum(language == first.language for language in found) / len(found)
    measured = sum(outcome.found_bandwidth == outcome.bandwidth for outcome in outcomes)
    return Row(
        bandwidth=first.bandwidth,
        task=first.task,
        language=first.language,
        target_language=first.target_language,
        utterances=len(outcomes),
        hours=sum(outcome.seconds for outcome in outcomes) / 3600,
        language_found=right if any(found) else None,
        bandwidth_found=measured / len(outcomes),
        wer=word_errors(references, hypotheses, seed=seed),
        cer=character_errors(references, hypotheses, seed=seed),
        bleu=bleu(references, hypotheses),
        chrf=chrf(references, hypotheses),
    )


def _cells(row: Row) -> list[str]:
    spoken = row.language
    language = spoken if row.task is Task.TRANSCRIBE else f"{spoken} > {row.target_language}"
    return [
        str(row.bandwidth),
        str(row.task),
        language,
        f"{row.utterances:,}",
        f"{row.hours:.2f}",
        *(str(score) for score in row.scores),
        "" if row.language_found is None else f"{100 * row.language_found:.1f} %",
        f"{100 * row.bandwidth_found:.1f} %",
    ]
