"""`turnout prepare`: a corpus as somebody has it -> lhotse cuts, one file a split.

Knows the order of the work, not the formats (`readers`, `corpora`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from lhotse.cut import Cut

from turnout.config.preparation import PrepareConfig
from turnout.corpora.cuts import cut_of, write_cuts
from turnout.corpora.entry import Entry, Note, Read
from turnout.corpora.measure import Measured, Measurer, settle_bandwidths
from turnout.corpora.readers.detect import reader_of
from turnout.corpora.splits import deal
from turnout.corpora.summary import SplitSummary, Summary
from turnout.errors import ManifestError, UsageError
from turnout.progress import progress

Pair = tuple[Entry, Measured]
T = TypeVar("T")
BY_RECORDING = (
    "no line has a speaker: the splits are dealt by recording, so a speaker may be in several of "
    "them, and scores may be better than for new speakers"
)


def prepare(source: Path, output: Path, config: PrepareConfig | None = None) -> Summary:
    """Read the corpus at `source` and write its cuts into the folder `output`.

    Writes `<split>.jsonl.gz` for each split, or `cuts.jsonl.gz` where there are none. Raises
    ManifestError at the first line that cannot be used (or leaves it out, with `skip_bad`),
    UsageError for a source that is nothing known, StorageError.
    """
    config = config or PrepareConfig()
    bad = Bad(config.skip_bad)
    notes: list[str] = []
    entries = list(bad.without(_without(notes, reader_of(source, config)(source, config))))
    entries, more = merge(entries, bad)
    notes += more
    entries = list(bad.without(_checked(entry) for entry in entries))
    pairs = list(bad.without(_measured(entries, config)))
    if not pairs:
        raise ManifestError(str(source), None, None, _nothing(bad))
    pairs = list(settle_bandwidths(pairs))
    if config.shares is not None:
        pairs, more = dealt(list(bad.without(_attributed(pairs))), config.shares, config.seed)
        notes += more
    splits = write_splits(split(pairs), output)
    return Summary(splits=splits, skipped=tuple(bad.skipped), notes=tuple(notes))


def _without(notes: list[str], items: Read) -> Iterator[Entry | ManifestError]:
    """The items that are no notes; the others are added to `notes`."""
    for item in items:
        if isinstance(item, Note):
            notes.append(item.text)
        else:
            yield item


@dataclass(frozen=True)
class Bad:
    """What becomes of a line that cannot be used: it is raised, or left out and listed."""

    skip: bool
    skipped: list[str] = field(default_factory=list)

    def without(self, items: Iterable[T | ManifestError]) -> Iterator[T]:
        """The good items."""
        for item in items:
            if isinstance(item, ManifestError):
                self.take(item)
            else:
                yield item

    def take(self, error: ManifestError) -> None:
        """Raise the error, or note it."""
        if not self.skip:
            raise error
        self.skipped.append(str(error))


def merge(entries: Iterable[Entry], bad: Bad) -> tuple[list[Entry], list[str]]:
    """One entry for each stretch of audio, and notes.

    Several lines may name the same stretch, each with another translation; ids become unique.
    """
    merged: dict[tuple[str, float, float, int], Entry] = {}
    lines = 0
    for entry in entries:
        lines += 1
        key = (
            str(entry.audio.absolute()),
            round(entry.offset, 3),
            round(entry.duration or 0.0, 2),
            entry.channel or 0,
        )
        try:
            merged[key] = _joined(merged[key], entry) if key in merged else entry
        except ManifestError as error:
            bad.take(error)
    put = lines - len(merged)
    notes = [f"{put} of {lines} lines named audio of an earlier line"] if put else []
    return list(_unique(merged.values())), notes


def _joined(first: Entry, second: Entry) -> Entry:
    """The entry of two lines that name the same audio."""
    for name in ("text", "language", "speaker", "split"):
        old, new = getattr(first, name), getattr(second, name)
        if None not in (old, new) and old != new:
            raise second.place.error(
                name, f"is '{new}', and '{old}' in line {first.place.line} for the same audio"
            )
    for target, text in second.translations.items():
        if first.translations.get(target, text) != text:
            raise second.place.error(
                "translation",
                f"into {target} differs from line {first.place.line}'s, which names the same audio",
            )
    return replace(
        first,
        text=second.text if first.text is None else first.text,
        language=first.language or second.language,
        speaker=first.speaker or second.speaker,
        split=first.split or second.split,
        translations={**first.translations, **second.translations},
    )


def _unique(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries, with a number added to ids that came before."""
    seen: set[str] = set()
    for entry in entries:
        name, number = entry.id, 1
        while name in seen:
            number += 1
            name = f"{entry.id}-{number}"
        seen.add(name)
        yield replace(entry, id=name)


def _checked(entry: Entry) -> Entry | ManifestError:
    """The entry, if it holds all that training needs of it."""
    if entry.language is None:
        return entry.place.error(
            entry.language_field,
            "is missing: the spoken language was expected, here or for all lines by an option "
            "such as --language en",
        )
    if entry.text is None:
        return entry.place.error("text", "is missing: the words that are spoken were expected")
    if entry.language in entry.translations:
        return entry.place.error(
            entry.target_field,
            f"is '{entry.language}', the spoken language: another was expected",
        )
    return entry


def _measured(entries: list[Entry], config: PrepareConfig) -> Iterator[Pair | ManifestError]:
    """Each entry with its audio's figures; a progress bar on stderr."""
    measurer = Measurer(config.max_duration)
    for entry in progress(entries, "measuring", len(entries)):
        try:
            yield entry, measurer.measure(entry)
        except ManifestError as error:
            yield error


def split(pairs: list[Pair]) -> dict[str, list[Cut]]:
    """The cuts of each split that the entries name, or 'cuts' alone."""
    stated = [entry.split is not None for entry, _ in pairs]
    if any(stated) and not all(stated):
        entry, _ = pairs[stated.index(False)]
        raise entry.place.error("split", "is missing here, and other lines have one")
    splits: dict[str, list[Cut]] = {}
    for entry, measured in pairs:
        splits.setdefault(entry.split or "cuts", []).append(cut_of(entry, measured))
    return splits


def _attributed(pairs: list[Pair]) -> Iterator[Pair | ManifestError]:
    """The pairs that have a speaker; all of them where none has."""
    some = any(entry.speaker is not None for entry, _ in pairs)
    for entry, measured in pairs:
        if some and entry.speaker is None:
            yield entry.place.error(
                "speaker", "is missing here, and other lines have one: --split deals out by speaker"
            )
        else:
            yield entry, measured


def dealt(
    pairs: list[Pair], shares: Mapping[str, float], seed: int
) -> tuple[list[Pair], list[str]]:
    """The entries with splits by speaker, or by recording where no speaker is stated; notes."""
    if any(entry.split is not None for entry, _ in pairs):
        raise UsageError("the corpus has splits of its own: leave --split out")
    by_recording = all(entry.speaker is None for entry, _ in pairs)
    seconds: defaultdict[str, float] = defaultdict(float)
    owners = [
        str(entry.audio.absolute()) if by_recording else str(entry.speaker) for entry, _ in pairs
    ]
    for owner, (_, measured) in zip(owners, pairs, strict=True):
        seconds[owner] += measured.duration
    splits = deal(seconds, shares, seed, "recording" if by_recording else "speaker")
    found = [
        (replace(entry, split=splits[owner]), measured)
        for owner, (entry, measured) in zip(owners, pairs, strict=True)
    ]
    return found, [BY_RECORDING] if by_recording else []


def write_splits(splits: Mapping[str, list[Cut]], output: Path) -> dict[str, SplitSummary]:
    """Write a file for each split into `output`, and count what is in it."""
    summaries: dict[str, SplitSummary] = {}
    for name, cuts in splits.items():
        path = output / f"{name}.jsonl.gz"
        write_cuts(cuts, path)
        summaries[name] = SplitSummary.of(path, cuts)
    return summaries


def _nothing(bad: Bad) -> str:
    if not bad.skipped:
        return "holds no utterance"
    return f"holds no usable utterance; the first of {len(bad.skipped)}: {bad.skipped[0]}"
