"""What a prepared corpus holds: printed by the command line."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from turnout.corpora.entry import MeasuredEntry


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """One file of cuts."""

    path: Path
    utterances: int
    seconds: float
    speakers: int
    languages: Mapping[str, int]
    """Utterances by spoken language."""
    translations: Mapping[str, int]
    """Utterances by 'spoken>target'."""
    bandwidths: Mapping[str, int]
    """Utterances by bandwidth."""
    empty: int
    """Utterances in which nothing is said."""

    @classmethod
    def of(cls, path: Path, measured: Sequence[MeasuredEntry]) -> "SplitSummary":
        """Count the entries that were written to `path`."""
        entries = [one.entry for one in measured]
        pairs = (f"{entry.language}>{target}" for entry in entries for target in entry.translations)
        return cls(
            path=path,
            utterances=len(entries),
            seconds=sum(one.duration for one in measured),
            speakers=len({entry.speaker for entry in entries} - {None}),
            languages=Counter(str(entry.language) for entry in entries),
            translations=Counter(pairs),
            bandwidths=Counter(one.bandwidth.value for one in measured),
            empty=sum(not (entry.text or "").strip() for entry in entries),
        )


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What `prepare` or `synthesize` wrote, and what it left out."""

    splits: Mapping[str, SplitSummary]
    """By name of the split; 'cuts' where the corpus has none."""
    skipped: tuple[str, ...] = ()
    """One line for each entry left out: file, line, field, reason."""
    notes: tuple[str, ...] = ()
    """What a reader should know, such as lines that were put together."""

    def __rich__(self) -> RenderableType:
        """A table of the splits, the files, and what was left out."""
        parts: list[RenderableType] = [self._table()]
        parts += [Text(f"{split.path}", style="dim") for split in self.splits.values()]
        parts += [Text(note) for note in self.notes]
        if self.skipped:
            parts.append(Text(f"left out: {len(self.skipped)}", style="yellow"))
            parts += [Text(f"  {line}") for line in self.skipped]
        return Group(*parts)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("split", "utterances", "hours", "speakers"):
            table.add_column(heading, justify="left" if heading == "split" else "right")
        for heading in ("languages", "bandwidths", "tasks"):
            table.add_column(heading, overflow="fold")
        for name, split in self.splits.items():
            pairs = _counts(split.translations, split.utterances)
            empty = f" ({split.empty} empty)" if split.empty else ""
            table.add_row(
                name,
                f"{split.utterances:,}{empty}",
                f"{split.seconds / 3600:.2f}",
                str(split.speakers or "not stated"),
                _counts(split.languages, split.utterances),
                _counts(split.bandwidths, split.utterances),
                f"transcribe, translate {pairs}" if pairs else "transcribe",
            )
        return table


def _counts(counts: Mapping[str, int], total: int) -> str:
    """'en 12, de 3'; a count that all utterances share is left out."""
    return ", ".join(
        name if count == total else f"{name} {count:,}" for name, count in sorted(counts.items())
    )
