"""Load, entropy and agreement of routings, as plain numbers.

Frames without an expert (index -1: padding, gaps between windows) are never counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from turnout.guidance import Guide
from turnout.inspection.record import Layout, RoutingRecord


@dataclass(frozen=True)
class Statistics:
    """What the frames of some recordings say of a routing."""

    layout: Layout
    frames: Int64[np.ndarray, "feed_forwards experts"]
    """How many frames each expert took."""
    same_expert: Float64[np.ndarray, "feed_forwards feed_forwards"]
    """Share of frames for which two feed-forwards chose the same index."""
    mutual_information: Float64[np.ndarray, "feed_forwards feed_forwards"]
    """Normalised (0 independent, 1 one decides the other), whatever the experts are called."""
    by_guidance: dict[str, Int64[np.ndarray, " experts"]]
    """Guidance in words -> frames of each expert, over all feed-forwards."""

    @property
    def load(self) -> Float64[np.ndarray, "feed_forwards experts"]:
        """Share of its frames that each feed-forward gave to each expert."""
        return self.frames / np.maximum(self.frames.sum(axis=1, keepdims=True), 1)

    @property
    def entropy(self) -> Float64[np.ndarray, " feed_forwards"]:
        """Of the load, as a share of the largest possible: 1 is balanced, 0 is one expert."""
        return _entropy(self.load) / max(np.log(max(len(self.layout.experts), 1)), 1e-12)

    @property
    def dead(self) -> tuple[tuple[str, str], ...]:
        """(feed-forward, expert) of experts that took no frame."""
        rows, columns = np.nonzero(self.frames == 0)
        return tuple(
            (self.layout.feed_forwards[row], self.layout.experts[column])
            for row, column in zip(rows, columns, strict=True)
        )


def statistics_of(records: Sequence[RoutingRecord], layout: Layout) -> Statistics:
    """The statistics over all frames of all recordings."""
    experts = len(layout.experts)
    index = np.concatenate(
        [np.zeros((len(layout.feed_forwards), 0), np.int64)]
        + [record.index_of(layout) for record in records],
        axis=1,
    )
    by_guidance: dict[str, Int64[np.ndarray, " experts"]] = {}
    for record in records:
        counts = _counts(record.index_of(layout), experts).sum(axis=0)
        key = describe(record, layout)
        by_guidance[key] = by_guidance.get(key, np.zeros(experts, np.int64)) + counts
    same, information = _agreement(index, experts)
    return Statistics(layout, _counts(index, experts), same, information, by_guidance)


def describe(record: RoutingRecord, layout: Layout) -> str:
    """Bandwidth and language, and what else guides, in words, as 'narrowband, ar'."""
    guides = dict.fromkeys((Guide.BANDWIDTH, Guide.LANGUAGE, *layout.guides))
    values = (record.guidance.value(guide) for guide in guides)
    return ", ".join(value for value in values if value) or "unknown"


def dead_in_words(statistics: Statistics) -> tuple[str, ...]:
    """One phrase per expert that took no frame: where, and whether anywhere else it did."""
    total = statistics.frames.sum(axis=0)
    phrases = []
    for column, expert in enumerate(statistics.layout.experts):
        silent = [where for where, name in statistics.dead if name == expert]
        if silent and total[column] == 0:
            phrases.append(f"expert '{expert}' took no frame in any layer")
        elif silent:
            phrases.append(f"expert '{expert}' took no frame in layer {', '.join(silent)}")
    return tuple(phrases)


def _counts(
    index: Int64[np.ndarray, "feed_forwards hidden"], experts: int
) -> Int64[np.ndarray, "feed_forwards experts"]:
    rows = [np.bincount(row[row >= 0], minlength=experts) for row in index]
    return np.array(rows, dtype=np.int64).reshape(len(index), experts)


def _entropy(shares: Float64[np.ndarray, "... values"]) -> Float64[np.ndarray, "..."]:
    """In nats, along the last axis."""
    logs = np.log(np.where(shares > 0, shares, 1.0))
    # abs, lest an entropy of nothing be printed as -0.
    return np.abs(-(shares * logs).sum(axis=-1))


def _agreement(
    index: Int64[np.ndarray, "feed_forwards hidden"], experts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Share of same choices and normalised mutual information of each pair of feed-forwards."""
    count = len(index)
    same, information = np.zeros((count, count)), np.zeros((count, count))
    for first in range(count):
        for second in range(count):
            joint = _joint(index[first], index[second], experts)
            same[first, second] = np.trace(joint)
            information[first, second] = _normalised_information(joint)
    return same, information


def _joint(first: np.ndarray, second: np.ndarray, experts: int) -> np.ndarray:
    """How often expert i of one was chosen together with expert j of the other, as a share."""
    valid = (first >= 0) & (second >= 0)
    # A pair as one number, so that a single bincount counts them all.
    pairs = first[valid] * experts + second[valid]
    counts = np.bincount(pairs, minlength=experts * experts).reshape(experts, experts)
    return counts / max(counts.sum(), 1)


def _normalised_information(joint: np.ndarray) -> float:
    """I(X; Y) / sqrt(H(X) H(Y)); 0 where one of them never varies, for nothing is told then."""
    first, second = _entropy(joint.sum(axis=1)), _entropy(joint.sum(axis=0))
    # Less than that is rounding.
    if min(first, second) < 1e-12:
        return 0.0
    information = first + second - _entropy(joint.reshape(-1))
    return float(np.clip(information / np.sqrt(first * second), 0.0, 1.0))
