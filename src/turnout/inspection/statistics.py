"""What the counts say: load, doubt, agreement of the layers, and what experts are for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64

from turnout.inspection.counts import SEED, SHUFFLES, TOLD, Counts, Paired, counts_of, guides_told
from turnout.inspection.information import (
    adjusted,
    entropy,
    information,
    normalised,
    share_of,
)
from turnout.inspection.record import Layout, RoutingRecord

STARVED = 0.1
"""Of its equal share: an expert of a learned router that takes less is hardly trained."""


@dataclass(frozen=True)
class Told:
    """How much of the choice of expert a label, such as the letter that is spoken, tells."""

    labels: tuple[str, ...]
    """The most frequent first."""
    counts: Int64[np.ndarray, "feed_forwards experts labels"]
    share: Float64[np.ndarray, " feed_forwards"]
    """Mutual information as a share of the choice's entropy: 0 nothing, 1 all of it."""
    chance: Float64[np.ndarray, " feed_forwards"]
    """The same of the shuffled controls, their mean."""

    @property
    def best(self) -> int:
        """The feed-forward whose choice is told most beyond chance."""
        return int((self.share - self.chance).argmax()) if len(self.share) else 0


@dataclass(frozen=True)
class Statistics:
    """What was counted of a stack, and what that says; nothing is worked out before it is asked."""

    counts: Counts

    @property
    def layout(self) -> Layout:
        """Of the stack."""
        return self.counts.layout

    @property
    def frames(self) -> Int64[np.ndarray, "feed_forwards experts"]:
        """How many frames each expert took."""
        return self.counts.frames

    @property
    def load(self) -> Float64[np.ndarray, "feed_forwards experts"]:
        """Share of its frames that each feed-forward gave to each expert."""
        return shares(self.frames)

    @property
    def entropy(self) -> Float64[np.ndarray, " feed_forwards"]:
        """Of the load, as a share of the largest possible: 1 is balanced, 0 is one expert. Where a
        router chooses in a group, the mean over the frames' groups: which one is not its choice."""
        choices = max(self.layout.choices, 1)
        grouped = self.frames.reshape(
            len(self.frames), len(self.layout.experts) // choices, choices
        )
        weights = shares(grouped.sum(axis=-1))
        return (weights * entropy(grouped)).sum(axis=-1) / max(np.log(choices), 1e-12)

    @property
    def doubt(self) -> Float64[np.ndarray, " feed_forwards"] | None:
        """Mean entropy of a frame's router probabilities, as a share of the largest possible: 0 is
        sure of one expert, 1 finds all alike. None where only the choices are known."""
        if not self.counts.asked:
            return None
        most = max(np.log(max(self.layout.choices, 1)), 1e-12)
        return self.counts.doubt / self.counts.asked / most

    @property
    def probability(self) -> Float64[np.ndarray, "feed_forwards experts"] | None:
        """Mean probability of each expert; None where only the choices are known."""
        return self.counts.probability / self.counts.asked if self.counts.asked else None

    @cached_property
    def pairs(self) -> Int64[np.ndarray, "tables feed_forwards feed_forwards experts experts"]:
        """How often two feed-forwards chose each pair of experts, then as chance has it."""
        return self.counts.joint.transpose(0, 1, 3, 2, 4)

    @property
    def same_expert(self) -> Float64[np.ndarray, "feed_forwards feed_forwards"]:
        """Share of frames for which two feed-forwards chose the same index."""
        joint = self.pairs[0]
        same = np.trace(joint, axis1=-2, axis2=-1)
        return same / np.maximum(joint.sum(axis=(-1, -2)), 1)

    @property
    def mutual_information(self) -> Float64[np.ndarray, "feed_forwards feed_forwards"]:
        """Normalised (0 independent, 1 one decides the other), whatever the experts are called."""
        return normalised(self.pairs[0])

    @property
    def chance(self) -> Float64[np.ndarray, "feed_forwards feed_forwards"]:
        """The same of the shuffled controls, their mean."""
        return both_ways(normalised(self.pairs[1:]))

    @property
    def adjusted_information(self) -> Float64[np.ndarray, "feed_forwards feed_forwards"]:
        """Adjusted for chance: 0 is what the shuffled controls give, 1 one decides the other."""
        return adjusted(self.pairs[0], both_ways(information(self.pairs[1:])))

    @property
    def agreement(self) -> float:
        """The mean of that over pairs of different feed-forwards; 0 where there is no pair."""
        upper = np.triu_indices(len(self.layout.feed_forwards), 1)
        found = self.adjusted_information[upper]
        return float(found.mean()) if found.size else 0.0

    @property
    def run_length(self) -> Float64[np.ndarray, " feed_forwards"]:
        """Mean length of a stretch on one expert, in frames (or tokens)."""
        return self.frames.sum(axis=1) / np.maximum(self.counts.runs, 1)

    @property
    def by_guidance(self) -> dict[str, Int64[np.ndarray, " experts"]]:
        """Guidance in words -> frames of each expert, over all feed-forwards."""
        # The task is always the one that is inspected, unless it chooses.
        left_out = TOLD.index("task") if "task" not in self.layout.guides else -1
        found: dict[str, Int64[np.ndarray, " experts"]] = {}
        for values, frames in self.counts.by_guidance.items():
            words = (value for i, value in enumerate(values) if i != left_out)
            key = ", ".join(word for word in words if word != "unknown") or "unknown"
            found[key] = found.get(key, 0) + frames.sum(axis=0)
        return found

    @property
    def dead(self) -> tuple[tuple[str, str], ...]:
        """(feed-forward, expert) of experts that took no frame."""
        return self._named(self.frames == 0)

    @property
    def starved(self) -> tuple[tuple[str, str], ...]:
        """(feed-forward, expert) of experts of learned routers that took some frames, but less
        than STARVED of their equal share, of their group's where there are groups."""
        if not self.layout.learned or not self.frames.size:
            return ()
        grouped = self.frames.reshape(len(self.frames), -1, self.layout.choices)
        equal = grouped.sum(axis=-1, keepdims=True) / self.layout.choices
        few = (grouped > 0) & (grouped < STARVED * equal)
        return self._named(few.reshape(self.frames.shape))

    def _named(self, which: np.ndarray) -> tuple[tuple[str, str], ...]:
        rows, columns = np.nonzero(which)
        return tuple(
            (self.layout.feed_forwards[row], self.layout.experts[column])
            for row, column in zip(rows, columns, strict=True)
        )

    @cached_property
    def letters(self) -> Told:
        """What the letter that is spoken tells."""
        return told_by(self.counts.letters, self.layout)

    @cached_property
    def silence(self) -> Told:
        """What it tells whether there is sound."""
        return told_by(self.counts.silence, self.layout)

    @cached_property
    def speakers(self) -> Told:
        """What the speaker tells; by chance, speakers change places among the recordings of one
        kind: of a language that nobody else speaks, the speaker would seem to tell what it does."""
        names = np.array([name for name, _, _ in self.counts.speakers], object)
        kinds: dict[tuple[str, ...], list[int]] = {}
        for number, (_, kind, _) in enumerate(self.counts.speakers):
            kinds.setdefault(kind, []).append(number)
        random = np.random.default_rng(SEED)
        shape = (1 + SHUFFLES, *self.frames.shape)
        tables = {name: np.zeros(shape, np.int64) for name in names}
        for place in range(1 + SHUFFLES):
            shuffled = names.copy()
            for alike in kinds.values() if place else ():
                shuffled[alike] = names[random.permutation(alike)]
            for name, (_, _, frames) in zip(shuffled, self.counts.speakers, strict=True):
                tables[name][place] += frames
        return told_by(Paired(tables), self.layout)


def told_by(paired: Paired, layout: Layout) -> Told:
    """What these labels tell."""
    shape = (1 + SHUFFLES, len(layout.feed_forwards), len(layout.experts))
    names = sorted(paired.tables, key=lambda name: -int(paired.tables[name][0].sum()))
    tables = np.zeros((*shape, len(names)), np.int64)
    for place, name in enumerate(names):
        tables[..., place] = paired.tables[name]
    found = share_of(information(tables), entropy(tables.sum(axis=-1)))
    return Told(tuple(names), tables[0], found[0], found[1:].mean(axis=0))


def both_ways(
    values: Float64[np.ndarray, "shuffles feed_forwards feed_forwards"],
) -> Float64[np.ndarray, "feed_forwards feed_forwards"]:
    """The mean of shuffles, whichever of a pair was the one that was moved."""
    mean = values.mean(axis=0)
    return (mean + mean.T) / 2


def shares(counts: Int64[np.ndarray, "... values"]) -> Float64[np.ndarray, "... values"]:
    """Of the sum along the last axis; zeros where that is none."""
    return counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)


def statistics_of(records: Sequence[RoutingRecord], layout: Layout) -> Statistics:
    """The statistics over all frames of all recordings."""
    return Statistics(counts_of(records, layout))


def describe(record: RoutingRecord, layout: Layout) -> str:
    """What is known of a recording, in words, as 'narrowband, transcribe, ar'."""
    return ", ".join(value for value in guides_told(record, layout) if value != "unknown")


def dead_in_words(statistics: Statistics) -> tuple[str, ...]:
    """One phrase per expert that took no frame: where, and whether anywhere else it did. None
    where there was nothing to take."""
    total, what = statistics.frames.sum(axis=0), statistics.layout.unit
    phrases = []
    if not total.any():
        return ()
    for column, expert in enumerate(statistics.layout.experts):
        silent = [where for where, name in statistics.dead if name == expert]
        if silent and total[column] == 0:
            phrases.append(f"expert '{expert}' took no {what} in any layer")
        elif silent:
            phrases.append(f"expert '{expert}' took no {what} in layer {', '.join(silent)}")
    return tuple(phrases)
