"""`turnout prepare`: a corpus as somebody has it -> lhotse cuts, one file a split.

Knows the order of the work, not the kinds of manifests (`readers`).
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from turnout.audio.waveform import LastRecording
from turnout.config.preparation import PrepareConfig, shares_of
from turnout.corpora.cuts import FRAME_WANTED, is_less_than_a_frame
from turnout.corpora.entry import Entry, EntryStream, MeasuredEntry, UniqueIds
from turnout.corpora.limits import remarks_on
from turnout.corpora.manifest import each
from turnout.corpora.measure import measure, unsure
from turnout.corpora.readers.kinds import reader_of
from turnout.corpora.spelling import recording_at
from turnout.corpora.splits import by_split, shared_between, split_by_speaker, stated_by_all
from turnout.corpora.summary import Summary
from turnout.corpora.unpacking import unpacking
from turnout.corpora.writing import write_splits
from turnout.errors import ManifestError
from turnout.progress import progress

T = TypeVar("T")


def prepare(source: Path, output: Path, config: PrepareConfig | None = None) -> Summary:
    """Read the corpus at `source` and write its cuts into the folder `output`.

    Writes `<split>.jsonl.gz` for each split, or `cuts.jsonl.gz` where there are none, and audio
    that lies inside of the source into the folder `audio`. Raises
    ManifestError where lines cannot be used, citing the first (or leaves them out, with
    `skip_bad`), UsageError for a source that is nothing known, StorageError.
    """
    config = config or PrepareConfig()
    ledger = Ledger(config.skip_bad)
    with unpacking(output / "audio") as unpack:
        measured = _measured(reader_of(source, config, unpack)(source, config), config, ledger)
        if not measured:
            bad = ledger.skipped
            what = f"usable utterance; the first of {len(bad)}: {bad[0]}" if bad else "utterance"
            raise ManifestError(str(source), None, None, f"holds no {what}")
        ledger.remarks.extend((*unsure(measured), *remarks_on(measured)))
        if shares := shares_of(config.split):
            measured = ledger.good(stated_by_all(measured, "speaker"))
            measured = ledger.good(split_by_speaker(measured, shares, config.seed))
        dealt = by_split(ledger.good(stated_by_all(measured, "split")))
        ledger.remarks.extend(shared_between([one for split in dealt.values() for one in split]))
        splits, remarks = write_splits(dealt, output, source)
    notes = (*ledger.remarks, *remarks)
    return Summary(splits=splits, skipped=tuple(ledger.skipped), notes=notes)


def _measured(stream: EntryStream, config: PrepareConfig, ledger: "Ledger") -> list[MeasuredEntry]:
    """What can be used of a source, with the figures of its audio."""
    # Before lines are put together: a time that is none must not become another line's.
    timed = ledger.good(map(_timed, ledger.good(stream)))
    entries = ledger.good(merged(list(one_path_each(timed))))
    entries = ledger.good(map(_checked, entries))
    stated = config.stated_bandwidth
    entries = [
        replace(
            entry,
            bandwidth=entry.bandwidth or stated,
            domain=entry.domain or config.domain,
        )
        for entry in entries
    ]
    watched = progress(entries, "measuring", len(entries))
    # Kept by nothing else: the last recording is let go of before the cuts are written.
    return ledger.good(
        each(watched, partial(measure, recordings=LastRecording(config.max_duration)))
    )


@dataclass(frozen=True)
class Ledger:
    """What of a corpus cannot be used, and what is to be said of it."""

    skip_bad: bool
    skipped: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def good(self, items: Iterable[T | ManifestError | str]) -> list[T]:
        """The items that are neither errors nor remarks; the first error is raised, with the
        number of all, or else they are listed."""
        found: list[T] = []
        bad: list[ManifestError] = []
        for item in items:
            if isinstance(item, str):
                self.remarks.append(item)
            elif isinstance(item, ManifestError):
                bad.append(item)
            else:
                found.append(item)
        if bad and not self.skip_bad:
            raise counted(bad)
        self.skipped.extend(str(error) for error in bad)
        return found


def counted(bad: Sequence[ManifestError]) -> ManifestError:
    """The first of several errors, and how to go on."""
    first, left = bad[0], "1 line cannot" if len(bad) == 1 else f"{len(bad)} lines cannot"
    advice = "mend that, or leave it out by `turnout prepare --skip-bad`"
    reason = f"{first.reason} ({left} be used: {advice})"
    return ManifestError(first.file, first.line, first.field, reason)


def one_path_each(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries, all of one recording with the same path: the one that came first."""
    paths: dict[Hashable, Path] = {}
    for entry in entries:
        path = paths.setdefault(recording_at(entry.audio), entry.audio.absolute())
        yield replace(entry, audio=path)


def merged(entries: Sequence[Entry]) -> EntryStream:
    """One entry for each utterance.

    Several lines may name the same audio, each with another translation; ids become unique.
    """
    found: dict[tuple[str, float, float | None, int], Entry] = {}
    for entry in entries:
        key = (
            str(entry.audio),
            # Times that differ by less were rounded by whoever wrote them.
            round(entry.offset, 3),
            entry.duration and round(entry.duration, 2),
            entry.channel or 0,
        )
        try:
            found[key] = _joined(found[key], entry) if key in found else entry
        except ManifestError as error:
            yield error
    if len(found) < len(entries):
        put = len(entries) - len(found)
        yield f"{put} of {len(entries)} lines named audio of an earlier line"
    yield from map(UniqueIds(), found.values())


def _joined(first: Entry, second: Entry) -> Entry:
    """The entry of two lines that name the same audio."""
    said: dict[str, str | None] = {}
    before = f"line {first.place.line}"
    if first.place.file != second.place.file:
        before += f" of {first.place.file}"
    for name in ("text", "language", "speaker", "split", "domain"):
        old, new = getattr(first, name), getattr(second, name)
        if None not in (old, new) and old != new:
            raise second.place.error(
                name, f"is '{new}', and '{old}' in {before} for the same audio"
            )
        said[name] = new if old is None else old
    for target, text in second.translations.items():
        if first.translations.get(target, text) != text:
            raise second.place.error(
                "translation",
                f"into {target} differs from that of {before}, which names the same audio",
            )
    return replace(first, **said, translations={**first.translations, **second.translations})


def _timed(entry: Entry) -> Entry | ManifestError:
    """The entry, if something can be heard in the time that it states."""
    if entry.duration is not None and is_less_than_a_frame(entry.duration):
        reason = f"is {entry.duration:g}: {FRAME_WANTED} were expected"
        return entry.place.error("duration", reason)
    return entry


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
    try:
        str(entry.audio).encode()
    except UnicodeEncodeError:
        return entry.place.error(
            entry.audio_field,
            f"names '{entry.audio}', which is not UTF-8, and cuts are: rename the file or folder",
        )
    return entry
