"""`turnout prepare`: a corpus as somebody has it -> lhotse cuts, one file a split.

Knows the order of the work, not the kinds of manifests (`readers`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from turnout.config.preparation import PrepareConfig
from turnout.corpora.entry import Entries, Entry, MeasuredEntry
from turnout.corpora.measure import Measurer, settle_bandwidths
from turnout.corpora.readers.kinds import reader_of
from turnout.corpora.splits import by_split, split_by_speaker, with_speakers
from turnout.corpora.summary import Summary
from turnout.corpora.writing import write_splits
from turnout.errors import ManifestError
from turnout.progress import progress

T = TypeVar("T")


def prepare(source: Path, output: Path, config: PrepareConfig | None = None) -> Summary:
    """Read the corpus at `source` and write its cuts into the folder `output`.

    Writes `<split>.jsonl.gz` for each split, or `cuts.jsonl.gz` where there are none. Raises
    ManifestError at the first line that cannot be used (or leaves it out, with `skip_bad`),
    UsageError for a source that is nothing known, StorageError.
    """
    config = config or PrepareConfig()
    bad = BadLines(config.skip_bad)
    remarks: list[str] = []
    entries = list(bad.without(_without(remarks, reader_of(source, config)(source, config))))
    entries, more = merge(entries, bad)
    remarks += more
    entries = list(bad.without(map(_checked, entries)))
    measured = list(bad.without(_measured(entries, config)))
    if not measured:
        raise ManifestError(str(source), None, None, _nothing(bad))
    measured = list(settle_bandwidths(measured))
    if config.shares is not None:
        attributed = list(bad.without(with_speakers(measured)))
        measured, more = split_by_speaker(attributed, config.shares, config.seed)
        remarks += more
    splits = write_splits(by_split(measured), output)
    return Summary(splits=splits, skipped=tuple(bad.skipped), notes=tuple(remarks))


def _without(remarks: list[str], items: Entries) -> Iterator[Entry | ManifestError]:
    """The items that are no remarks; those are added to `remarks`."""
    for item in items:
        if isinstance(item, str):
            remarks.append(item)
        else:
            yield item


@dataclass(frozen=True)
class BadLines:
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


def merge(entries: Iterable[Entry], bad: BadLines) -> tuple[list[Entry], list[str]]:
    """One entry for each utterance, and remarks.

    Several lines may name the same audio, each with another translation; ids become unique.
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


def _measured(
    entries: list[Entry], config: PrepareConfig
) -> Iterator[MeasuredEntry | ManifestError]:
    """Each entry with its audio's figures; a bar on stderr."""
    measurer = Measurer(config.max_duration)
    for entry in progress(entries, "measuring", len(entries)):
        try:
            yield measurer.measure(entry)
        except ManifestError as error:
            yield error


def _nothing(bad: BadLines) -> str:
    if not bad.skipped:
        return "holds no utterance"
    return f"holds no usable utterance; the first of {len(bad.skipped)}: {bad.skipped[0]}"
