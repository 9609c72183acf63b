"""What `turnout evaluate` says: the rows as a table, everything as JSON."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from turnout.evaluation.intervals import DESCRIPTION, FEWEST_GROUPS
from turnout.evaluation.score_rows import ScoredText, ScoreRow
from turnout.guidance import Task

HEADINGS = {"wer": "WER", "cer": "CER", "bleu": "BLEU", "chrf": "chrF"}
FEW = "*"
FEW_SPEAKERS = (
    f"{FEW} of fewer than {FEWEST_GROUPS} speakers (or recordings, where no speaker is stated): "
    "the interval says little of other speakers"
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """An evaluation: what was asked, of which model, on which data, and what came out."""

    model: str
    adapters: tuple[str, ...] = ()
    """By their names, as far as they have an expert."""
    data: tuple[str, ...]
    options: dict[str, Any]
    rows: tuple[ScoreRow, ...]
    texts: tuple[ScoredText, ...]
    failed: tuple[str, ...] = ()
    """One line for each utterance that could not be taken; they are in no score."""
    warnings: tuple[str, ...] = ()
    """What was amiss with recordings and was taken all the same."""
    left_out: int = 0
    """Utterances without a text that was asked for and that the model could write."""

    @property
    def unserved(self) -> int:
        """Texts that the model did not write since it cannot serve what it found, such as a
        language that it does not translate: all of their words are errors."""
        return sum(not text.served for text in self.texts)

    @property
    def signatures(self) -> dict[str, str]:
        """What each metric was computed with; where that depends on the language of the texts,
        with the languages behind its name, as in 'bleu (ja, zh)'."""
        used: dict[str, dict[str, set[str]]] = {}
        for row in self.rows:
            for score in row.scores:
                languages = used.setdefault(score.metric, {}).setdefault(score.signature, set())
                languages.add(row.target_language)
        return {
            f"{metric} ({', '.join(sorted(languages))})" if len(ways) > 1 else metric: signature
            for metric, ways in used.items()
            for signature, languages in ways.items()
        }

    @property
    def content(self) -> dict[str, Any]:
        """Everything, each utterance's texts included."""
        return {
            "model": self.model,
            "adapters": self.adapters,
            "data": self.data,
            "options": self.options,
            "signatures": self.signatures,
            "intervals": DESCRIPTION,
            "rows": self.rows,
            "failed": self.failed,
            "warnings": self.warnings,
            "left_out": self.left_out,
            "unserved": self.unserved,
            "utterances": self.texts,
        }

    def to_json(self) -> str:
        """All of its content."""
        return json.dumps(self.content, default=asdict, ensure_ascii=False, indent=1) + "\n"

    def __rich__(self) -> RenderableType:
        """The rows, each figure with its 95 % interval, and what each metric was computed with."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("bandwidth", "task", "language"):
            table.add_column(heading, no_wrap=True)
        for heading in ("utterances", "hours", "speakers", "WER %", "CER %", "BLEU", "chrF"):
            table.add_column(heading, justify="right", no_wrap=True)
        for heading in ("language found", "bandwidth found"):
            table.add_column(heading, justify="right")
        for row in self.rows:
            table.add_row(*_cells(row))
        lines = [f"adapters: {', '.join(self.adapters)}"] if self.adapters else []
        lines += [f"{_heading(key)}: {used}" for key, used in self.signatures.items()]
        lines += [DESCRIPTION] if self.rows else []
        if any(row.few_speakers for row in self.rows):
            lines.append(FEW_SPEAKERS)
        return Group(table, *(Text(line, style="dim") for line in lines))


def _heading(key: str) -> str:
    metric, *languages = key.split(" ", 1)
    return " ".join((HEADINGS[metric], *languages))


def _speakers(row: ScoreRow) -> str:
    """As '12', '7 recordings' or '12 + 7 recordings'."""
    stated = [f"{row.speakers:,}"] if row.speakers else []
    ending = "" if row.unstated == 1 else "s"
    unstated = [f"{row.unstated:,} recording{ending}"] if row.unstated else []
    return " + ".join(stated + unstated)


def _cells(row: ScoreRow) -> list[str]:
    spoken = row.language
    mark = FEW if row.few_speakers else ""
    language = spoken if row.task is Task.TRANSCRIBE else f"{spoken} > {row.target_language}"
    return [
        str(row.bandwidth),
        str(row.task),
        language,
        f"{row.utterances:,}",
        f"{row.hours:.2f}",
        _speakers(row),
        *(f"{score}{mark if score.value is not None else ''}" for score in row.scores),
        "" if row.language_found is None else f"{100 * row.language_found:.1f} %",
        f"{100 * row.bandwidth_found:.1f} %",
    ]
