"""What `turnout evaluate` says: the rows as a table, everything as JSON."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from turnout.evaluation.score_rows import ScoredText, ScoreRow
from turnout.guidance import Task

HEADINGS = {"wer": "WER", "cer": "CER", "bleu": "BLEU", "chrf": "chrF"}


@dataclass(frozen=True, kw_only=True)
class Report:
    """An evaluation: what was asked, of which model, on which data, and what came out."""

    model: str
    data: tuple[str, ...]
    options: dict[str, Any]
    rows: tuple[ScoreRow, ...]
    texts: tuple[ScoredText, ...]
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
            "data": self.data,
            "options": self.options,
            "signatures": self.signatures,
            "rows": self.rows,
            "failed": self.failed,
            "left_out": self.left_out,
            "utterances": self.texts,
        }
        return json.dumps(content, default=asdict, ensure_ascii=False, indent=1) + "\n"

    def __rich__(self) -> RenderableType:
        """The rows, each figure with its 95 % interval, and what each metric was computed with."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("bandwidth", "task", "language"):
            table.add_column(heading, no_wrap=True)
        for heading in ("utterances", "hours", "WER %", "CER %", "BLEU", "chrF"):
            table.add_column(heading, justify="right", no_wrap=True)
        for heading in ("language found", "bandwidth found"):
            table.add_column(heading, justify="right")
        for row in self.rows:
            table.add_row(*_cells(row))
        lines = [f"{HEADINGS[metric]}: {used}" for metric, used in self.signatures.items()]
        return Group(table, *(Text(line, style="dim") for line in lines))


def _cells(row: ScoreRow) -> list[str]:
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
