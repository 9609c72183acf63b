"""What a prepared corpus holds: printed by the command line, kept in a run's card."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lhotse.cut import Cut
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


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
    def of(cls, path: Path, cuts: Iterable[Cut]) -> "SplitSummary":
        """Count cuts as `write_cuts` takes them."""
        cuts = list(cuts)
        said = [(cut, cut.supervisions[0], cut.supervisions[0].custom or {}) for cut in cuts]
        pairs = (
            f"{supervision.language}>{target}"
            for _, supervision, custom in said
            for target in custom.get("translations", {})
        )
        return cls(
            path=path,
            utterances=len(cuts),
            seconds=sum(cut.duration for cut in cuts),
            speakers=len({supervision.speaker for _, supervision, _ in said} - {None}),
            languages=Counter(str(supervision.language) for _, supervision, _ in said),
            translations=Counter(pairs),
            bandwidths=Counter(str(custom.get("bandwidth")) for _, _, custom in said),
            empty=sum(not (supervision.text or "").strip() for _, supervision, _ in said),
        )

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return self.seconds / 3600


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What `prepare` or `synthesize` wrote, and what it left out."""

    splits: Mapping[str, SplitSummary]
    """By name of the split; 'cuts' where the corpus has none."""
    skipped: tuple[str, ...] = ()
    """One line for each entry left out: file, line, field, reason."""
    notes: tuple[str, ...] = ()
    """What a reader should know, such as lines that were put together."""

    @property
    def hours(self) -> float:
        """Hours of audio in all."""
        return sum(split.hours for split in self.splits.values())

    @property
    def utterances(self) -> int:
        """Utterances in all."""
        return sum(split.utterances for split in self.splits.values())

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
            empty = f" ({split.empty} empty)" if split.empty else ""
            table.add_row(
                name,
                f"{split.utterances:,}{empty}",
                f"{split.hours:.2f}",
                str(split.speakers),
                _counts(split.languages, split.utterances),
                _counts(split.bandwidths, split.utterances),
                _tasks(split),
            )
        return table


def _tasks(split: SplitSummary) -> str:
    pairs = _counts(split.translations, split.utterances)
    return f"transcribe, translate {pairs}" if pairs else "transcribe"


def _counts(counts: Mapping[str, int], total: int) -> str:
    """'en 12, de 3'; a count that all utterances share is left out."""
    return ", ".join(
        name if count == total else f"{name} {count:,}" for name, count in sorted(counts.items())
    )
