"""What became of the inputs and their labels: counted as they come, then told as JSON, as a table
and (`page`) as a page."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from turnout.config.plain import to_plain
from turnout.errors import repeated
from turnout.labelling.choice import Chosen, Reason

LEAST, WIDTH, BINS = -2.0, 0.1, 20
"""Of the histogram of confidence: what is below lies in the first bin."""
MOST_EXAMPLES = 5
"""Labels shown for each reason."""
HOUR = 3600


@dataclass
class Amount:
    """Labels, and the sound that they are of."""

    labels: int = 0
    seconds: float = 0.0

    def add(self, one: Chosen) -> None:
        """One more."""
        self.labels += 1
        self.seconds += one.label.seconds

    @property
    def hours(self) -> float:
        """Of sound."""
        return self.seconds / HOUR


@dataclass(frozen=True)
class Example:
    """A label that was dropped."""

    id: str
    text: str
    confidence: float | None
    disagreement: float | None


@dataclass
class Report:
    """Counts of a labelling. Memory is bounded by the lines on what failed."""

    facts: Mapping[str, Any]
    """What was asked, and of what."""
    place: str = ""
    """Of what was kept."""
    inputs: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Why nothing could be heard, and how often: inputs of one broken shard share a line."""
    warnings: list[str] = field(default_factory=list)
    """What was amiss with recordings and was taken all the same."""
    kept: Amount = field(default_factory=Amount)
    dropped: Amount = field(default_factory=Amount)
    reasons: dict[Reason, Amount] = field(default_factory=lambda: defaultdict(Amount))
    """A label counts for each of its reasons."""
    alone: Counter[Reason] = field(default_factory=Counter)
    """Labels that have but this one."""
    languages: Counter[str] = field(default_factory=Counter)
    """Labels that were kept."""
    histogram: dict[bool, list[int]] = field(
        default_factory=lambda: {True: [0] * BINS, False: [0] * BINS}
    )
    """Labels by confidence, of those that were kept (True) and dropped."""
    examples: dict[Reason, list[Example]] = field(default_factory=lambda: defaultdict(list))

    def add(self, one: Chosen) -> None:
        """Count a label."""
        label = one.label
        (self.kept if one.kept else self.dropped).add(one)
        if label.confidence is not None:
            place = int((label.confidence - LEAST) / WIDTH)
            self.histogram[one.kept][min(max(place, 0), BINS - 1)] += 1
        if one.kept:
            self.languages[str(label.language)] += 1
        for reason in one.reasons:
            self.reasons[reason].add(one)
            if len(self.examples[reason]) < MOST_EXAMPLES:
                shown = Example(label.id, label.text, label.confidence, one.disagreement)
                self.examples[reason].append(shown)
        if len(one.reasons) == 1:
            self.alone[one.reasons[0]] += 1

    @property
    def failed(self) -> list[str]:
        """What failed, line by line, in order."""
        return repeated(self.failures, "inputs")

    @property
    def found(self) -> list[Reason]:
        """Reasons that any label was dropped for, in their order."""
        return [reason for reason in Reason if self.reasons.get(reason)]

    def to_json(self) -> str:
        """Everything."""
        content = {
            **self.facts,
            "inputs": self.inputs,
            "kept": _plain(self.kept),
            "dropped": _plain(self.dropped),
            "reasons": {
                reason.name.lower(): {
                    "why": str(reason),
                    **_plain(self.reasons[reason]),
                    "alone": self.alone[reason],
                    "examples": to_plain(self.examples[reason]),
                }
                for reason in self.found
            },
            "languages": dict(sorted(self.languages.items())),
            "confidence": {
                "from": LEAST,
                "width": WIDTH,
                "kept": self.histogram[True],
                "dropped": self.histogram[False],
            },
            "failed": self.failed,
            "warnings": self.warnings,
        }
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"

    def __rich__(self) -> Table:
        """What was kept, and what was dropped for which reason."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("labels")
        for heading in ("", "hours", "for this alone"):
            table.add_column(heading, justify="right")
        for name, amount, alone in rows_of(self):
            table.add_row(name, f"{amount.labels:,}", f"{amount.hours:.2f}", alone)
        return table


def rows_of(report: Report) -> Iterable[tuple[str, Amount, str]]:
    """The rows of a table: what, how much, and of how much of it that is the only reason."""
    yield "kept", report.kept, ""
    yield "dropped", report.dropped, ""
    for reason in report.found:
        yield f"  {reason}", report.reasons[reason], f"{report.alone[reason]:,}"


def _plain(amount: Amount) -> dict[str, Any]:
    return {"labels": amount.labels, "hours": round(amount.hours, 6)}
