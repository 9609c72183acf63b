"""What the frames of recordings did, as counts that are added: nothing of a recording is kept, so
an hour takes the memory of its longest recording.

Frames without an expert (index -1: padding, gaps between windows) are never counted. Beside each
table of two things lies what chance alone would give: the same table with one of the two moved in
time within the recording, by amounts that follow from SEED and the recording's name.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from turnout.guidance import Guide
from turnout.inspection.labels import Labels, labels_of
from turnout.inspection.record import Layout, RoutingRecord

Index = NDArray[np.int64]
Floats = NDArray[np.float64]
Key = TypeVar("Key")
Kind = tuple[str, ...]
"""Values of `guides_told`."""
Moves = Callable[[int], Sequence[int]]
"""By how many frames so many frames are moved, of each shuffle."""
SEED = 0
SHUFFLES = 8
"""How often one of two things is moved in time."""
TOLD = (Guide.BANDWIDTH, Guide.LANGUAGE, Guide.TASK)
"""What load is told apart by, beside what guides."""


@dataclass(frozen=True)
class Paired:
    """How often each expert of each feed-forward met each label."""

    tables: Mapping[str, Index]
    """Label -> [1 + shuffles, feed_forwards, experts]: as it was, then as chance has it."""

    def __add__(self, other: "Paired") -> "Paired":
        """Of both."""
        return Paired(merged(self.tables, other.tables))


@dataclass(frozen=True)
class Counts:
    """What was counted of one stack of layers; `frames` are tokens where a decoder's are."""

    layout: Layout
    frames: Index
    """[feed_forwards, experts]: how many frames each expert took."""
    joint: Index
    """[1 + shuffles, feed_forwards, experts, feed_forwards, experts]: how often they came together;
    as it was, then with the second feed-forward moved in time."""
    runs: Index
    """[feed_forwards]: stretches of frames on one expert."""
    asked: int
    """Frames whose router's probabilities are known."""
    probability: Floats
    """[feed_forwards, experts]: sums over those."""
    doubt: Floats
    """[feed_forwards]: sums of the entropy of each frame's probabilities, in nats."""
    by_guidance: Mapping[Kind, Index]
    """[feed_forwards, experts] of each."""
    letters: Paired
    silence: Paired
    """Labels 'silence' and 'sound'."""
    speakers: tuple[tuple[str, Kind, Index], ...]
    """Of each recording of a known speaker, who, its kind, and [feed_forwards, experts]."""

    def __add__(self, other: "Counts") -> "Counts":
        """Of both."""
        assert self.layout == other.layout
        return Counts(
            self.layout,
            self.frames + other.frames,
            self.joint + other.joint,
            self.runs + other.runs,
            self.asked + other.asked,
            self.probability + other.probability,
            self.doubt + other.doubt,
            merged(self.by_guidance, other.by_guidance),
            self.letters + other.letters,
            self.silence + other.silence,
            self.speakers + other.speakers,
        )


def merged(first: Mapping[Key, Index], second: Mapping[Key, Index]) -> dict[Key, Index]:
    """The sums of both, where a name is in both."""
    found = dict(first)
    for name, table in second.items():
        found[name] = found[name] + table if name in found else table
    return found


def nothing(layout: Layout) -> Counts:
    """Before the first recording."""
    rows, experts = len(layout.feed_forwards), len(layout.experts)
    shape = (rows, experts)
    return Counts(
        layout,
        np.zeros(shape, np.int64),
        np.zeros((1 + SHUFFLES, *shape, *shape), np.int64),
        np.zeros(rows, np.int64),
        0,
        np.zeros(shape),
        np.zeros(rows),
        {},
        Paired({}),
        Paired({}),
        (),
    )


def counts_of(records: Iterable[RoutingRecord], layout: Layout) -> Counts:
    """Of these recordings."""
    each = (count(record, layout, moves_of(record)) for record in records)
    return reduce(Counts.__add__, each, nothing(layout))


def moves_of(record: RoutingRecord) -> Moves:
    """At least a quarter of the frames, either way, and none back to its own place."""
    name = crc32(record.name.encode(errors="surrogateescape"))

    def moves(frames: int) -> list[int]:
        random = np.random.default_rng((SEED, name))
        low = max(frames // 4, 1)
        return random.integers(low, max(frames - low, low), SHUFFLES, endpoint=True).tolist()

    return moves


def count(record: RoutingRecord, layout: Layout, moves: Moves) -> Counts:
    """Of one recording."""
    index = record.choices_of(layout)
    taken = index[0] >= 0 if len(index) else np.zeros(index.shape[1], np.bool_)
    chosen = one_hot(index[:, taken], len(layout.experts))
    frames = chosen.sum(axis=1).astype(np.int64).reshape(len(index), len(layout.experts))
    probabilities = record.probabilities_of(layout)
    if probabilities is not None:
        probabilities = probabilities[:, taken].astype(np.float64)
    kind = guides_told(record, layout)
    together = [paired(chosen, chosen, shift) for shift in (0, *moves(chosen.shape[1]))]
    shape = (len(together), *frames.shape, *frames.shape)
    return Counts(
        layout,
        frames,
        np.stack(together).reshape(shape),
        runs_of(index),
        0 if probabilities is None else int(taken.sum()),
        np.zeros(frames.shape) if probabilities is None else probabilities.sum(axis=1),
        np.zeros(len(index)) if probabilities is None else doubt_of(probabilities),
        {kind: frames} if frames.any() else {},
        met(chosen, letters_of_frames(record, layout), taken, moves, frames.shape),
        met(chosen, silence_of_frames(record, layout), taken, moves, frames.shape),
        ((record.speaker, kind, frames),) if record.speaker is not None else (),
    )


def one_hot(index: Index, experts: int) -> NDArray[np.float32]:
    """[feed_forwards * experts, frames]: 1 where the expert was taken."""
    # float32, whose sums are exact up to 16 million frames, is multiplied far faster than integers.
    hot = index[:, None] == np.arange(experts)[:, None]
    return hot.reshape(len(index) * experts, index.shape[1]).astype(np.float32)


def paired(first: NDArray[np.float32], second: NDArray[np.float32], shift: int) -> Index:
    """How often each row of one was there together with each of the other, moved in time."""
    return np.rint(first @ np.roll(second, shift, axis=1).T).astype(np.int64)


def runs_of(index: Index) -> Index:
    """[feed_forwards]: stretches on one expert; a gap ends one."""
    before = np.pad(index[:, :-1], ((0, 0), (1, 0)), constant_values=-1)[:, : index.shape[1]]
    return ((index != before) & (index >= 0)).sum(axis=1)


def doubt_of(probabilities: Floats) -> Floats:
    """[feed_forwards]: sums of the entropies of [feed_forwards, frames, experts]."""
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return np.abs(-(probabilities * logs).sum(axis=(1, 2)))


def met(
    chosen: NDArray[np.float32],
    labels: Labels | None,
    taken: NDArray[np.bool_],
    moves: Moves,
    shape: tuple[int, ...],
) -> Paired:
    """How often each expert met each label, in the frames that have one."""
    if labels is None or not labels.names:
        return Paired({})
    codes = labels.codes[taken]
    named = codes >= 0
    hot, chosen = one_hot(codes[None, named], len(labels.names)), chosen[:, named]
    # Of those that have a label alone: by more than they are, they would come back to their places.
    tables = np.stack([paired(hot, chosen, shift) for shift in (0, *moves(int(named.sum())))])
    return Paired(
        {
            name: tables[:, place].reshape(len(tables), *shape)
            for place, name in enumerate(labels.names)
        }
    )


def letters_of_frames(record: RoutingRecord, layout: Layout) -> Labels | None:
    """The letter of each frame of the encoder's."""
    if layout.stack == "decoder":
        return None
    return labels_of(record.letters, record.expert_index.shape[1], layout.frame_seconds)


def silence_of_frames(record: RoutingRecord, layout: Layout) -> Labels | None:
    """Which frames of the encoder's hold no sound."""
    if layout.stack == "decoder" or record.silent is None:
        return None
    return Labels(("sound", "silence"), record.silent.astype(np.int64))


def guides_of(layout: Layout) -> list[Guide]:
    """Bandwidth, language and task, and what else guides."""
    return list(dict.fromkeys((*TOLD, *layout.guides)))


def guides_told(record: RoutingRecord, layout: Layout) -> Kind:
    """The values of these guides; 'unknown' where one is."""
    return tuple(record.guidance.value(guide) or "unknown" for guide in guides_of(layout))
