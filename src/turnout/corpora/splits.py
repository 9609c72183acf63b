"""Which split each utterance belongs to: as its corpus says, or dealt out by speaker, so that
nobody is heard in two of them."""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from turnout.corpora.entry import Entry, MeasuredEntry
from turnout.errors import ManifestError, UsageError, shown

ADVICE = {
    "speaker": "name fewer splits, or leave the speakers out: then recordings are dealt",
    "recording": "name fewer splits",
}
NEEDED_BY_ALL = {
    "speaker": ": --split deals out by speaker",
    "split": ": state it in all lines or in none",
}
BY_RECORDING = (
    "no line has a speaker: the splits are dealt by recording, so a speaker may be in several of "
    "them, and scores may be better than for new speakers"
)


def by_split(entries: Sequence[MeasuredEntry]) -> dict[str, list[MeasuredEntry]]:
    """The entries of each split that they name, or 'cuts' alone; names that differ in capitals
    alone, which could not be two files everywhere, are one."""
    splits: dict[str, list[MeasuredEntry]] = defaultdict(list)
    names: dict[str, str] = {}
    for measured in entries:
        split = measured.entry.split
        if split is not None:
            split = names.setdefault(split.casefold(), split)
        entry = replace(measured.entry, split=split)
        splits[split or "cuts"].append(replace(measured, entry=entry))
    return splits


def shared_between(entries: Sequence[MeasuredEntry]) -> Iterator[str]:
    """Remarks on recordings and speakers that stand in several splits."""
    # A path is not cut: which recording it is stands at its end.
    kinds = ("recording", lambda e: str(e.audio), repr), ("speaker", lambda e: e.speaker, shown)
    for what, owner, written in kinds:
        found: defaultdict[str | None, set[str | None]] = defaultdict(set)
        for measured in entries:
            found[owner(measured.entry)].add(measured.entry.split)
        several = [name for name in found if name is not None and len(found[name]) > 1]
        if several:
            between = ", ".join(sorted(map(str, found[several[0]])))
            yield (
                f"in several splits: {len(several)} {what}{'s' * (len(several) != 1)} (the first: "
                f"{written(several[0])} in {between}): scores may be better than for new ones"
            )


def stated_by_all(
    entries: Sequence[MeasuredEntry], field: Literal["speaker", "split"]
) -> Iterator[MeasuredEntry | ManifestError]:
    """The entries that state a field; all of them where none does."""
    some = any(getattr(measured.entry, field) is not None for measured in entries)
    for measured in entries:
        if some and getattr(measured.entry, field) is None:
            reason = f"is missing here, and other lines have one{NEEDED_BY_ALL[field]}"
            yield measured.entry.place.error(field, reason)
        else:
            yield measured


def split_by_speaker(
    entries: Sequence[MeasuredEntry], shares: Mapping[str, float], seed: int
) -> Iterator[MeasuredEntry | str]:
    """The entries with splits by speaker, or with a remark by recording where none is stated."""
    if any(measured.entry.split is not None for measured in entries):
        raise UsageError("the corpus has splits of its own: leave --split out")
    by_recording = all(measured.entry.speaker is None for measured in entries)

    def owner(entry: Entry) -> str:
        return str(entry.audio) if by_recording else str(entry.speaker)

    seconds: defaultdict[str, float] = defaultdict(float)
    for measured in entries:
        seconds[owner(measured.entry)] += measured.duration
    splits = assign_splits(seconds, shares, seed, "recording" if by_recording else "speaker")
    if by_recording:
        yield BY_RECORDING
    for measured in entries:
        entry = replace(measured.entry, split=splits[owner(measured.entry)])
        yield replace(measured, entry=entry)


def assign_splits(
    seconds: Mapping[str, float],
    shares: Mapping[str, float],
    seed: int,
    unit: Literal["speaker", "recording"] = "speaker",
) -> dict[str, str]:
    """The split of each speaker: the shares of the audio as nearly as whole speakers allow.

    `seconds` is each speaker's audio (or each recording's, where `unit` says so). Every split gets
    at least one of them. The same speakers, shares and seed give the same splits, in whatever
    order they come. Raises UsageError where there are fewer speakers than splits.
    """
    if len(seconds) < len(shares):
        raise UsageError(
            f"--split names {len(shares)} splits and the corpus has {len(seconds)} "
            f"{unit}{'s' * (len(seconds) != 1)}: no {unit} may stand in two splits, so "
            f"{ADVICE[unit]}"
        )
    # Sorted first: the draw must not depend on the order of the manifest's lines.
    order = sorted(seconds)
    random.Random(seed).shuffle(order)
    total = sum(seconds.values())
    given: defaultdict[str, float] = defaultdict(float)
    result: dict[str, str] = {}
    for position, speaker in enumerate(order):
        empty = [name for name in shares if name not in result.values()]
        # The last speakers are kept for splits that have none yet
        choices = empty if len(empty) >= len(order) - position else list(shares)
        result[speaker] = max(choices, key=lambda name: shares[name] * total - given[name])
        given[result[speaker]] += seconds[speaker]
    return result
