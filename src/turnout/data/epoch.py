"""The batches of an epoch: how many utterances of each corpus, which of them make a batch, and
which batches are a rank's. An epoch of shards has parts, each planned by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from turnout.config import JoinConfig
from turnout.data.plan import (
    FRAMES_PER_SECOND,
    CorpusPlanner,
    PlannedUtterance,
    Stream,
    generator,
)
from turnout.shards.manifest import Listed

T = TypeVar("T")
SHARDS_AT_ONCE = 8
"""Shards of a rank whose utterances are known at one time: batches of like lengths are chosen from
these."""
LENGTH_JITTER = 0.05
"""Lengths are blurred by this share before they are sorted, so that batch-mates change."""


class Streamed(NamedTuple):
    """An utterance of a shard, before it is read."""

    corpus: int
    hearing: int
    """How often all shards of the corpus were heard before: what stands for the epoch."""
    shard: str
    listed: Listed


class Turn(NamedTuple):
    """A shard's turn to be heard."""

    stream: int
    """The number of its corpus."""
    hearing: int
    shard: int

    @property
    def key(self) -> str:
        """What it is called in a checkpoint."""
        return "/".join(map(str, self))


class Unread(NamedTuple):
    """A shard that is left out since nobody can tell what is in it."""

    key: str
    utterances: int
    line: str


@dataclass(frozen=True)
class Part:
    """Which part of an epoch, and what it goes without."""

    number: int = 0
    unread: tuple[str, ...] = ()
    """Keys of turns that were found to be unreadable when it was planned first."""


WHOLE = Part()
"""Of an epoch that has one part."""
EpochPlan = list[list[PlannedUtterance | Streamed]]
"""A rank's batches."""


@dataclass(frozen=True)
class Dealing:
    """How the shards of streams are dealt to the ranks, part by part of every epoch.

    A stream is all shards of a corpus in random order, and again in another, without end: an epoch
    is a stretch of it, found by counting alone.
    """

    seed: int
    sizes: dict[int, tuple[int, int]]
    """Of each stream: how many shards it has, and how many of them an epoch hears."""
    ranks: int

    @property
    def parts(self) -> int:
        """Of an epoch: in each, a rank has SHARDS_AT_ONCE shards or somewhat more."""
        shards = sum(self._heard(size) for size in self.sizes.values())
        return max(shards // (SHARDS_AT_ONCE * self.ranks), 1)

    def turns(self, epoch: int, part: int, rank: int) -> list[Turn]:
        """The rank's shards. No other rank has them, unless there are fewer shards than ranks."""
        found = [t for stream in self.sizes for t in self._stretch(stream, epoch, part)]
        if len(found) >= self.ranks:
            return found[rank :: self.ranks]
        return [found[rank % len(found)]] if found else []

    def _stretch(self, stream: int, epoch: int, part: int) -> list[Turn]:
        shards, heard = self.sizes[stream][0], self._heard(self.sizes[stream])
        # By rounds of all ranks, so that each has as many; of few shards by themselves.
        step = self.ranks if heard >= self.ranks else 1
        rounds = heard // step
        first, last = (
            epoch * heard + step * (rounds * number // self.parts) for number in (part, part + 1)
        )
        places = [divmod(place, shards) for place in range(first, last)]
        orders = {
            hearing: generator(Stream.SHARDS, self.seed, hearing, stream).permutation(shards)
            for hearing in dict.fromkeys(hearing for hearing, _ in places)
        }
        return [Turn(stream, hearing, int(orders[hearing][place])) for hearing, place in places]

    def _heard(self, size: tuple[int, int]) -> int:
        """Shards that an epoch hears of a stream: the same number on each rank. The stream goes on
        in the next epoch where this one ends, so none is left out."""
        heard = size[1]
        return heard - heard % self.ranks if heard >= self.ranks else heard


def words_at(config: JoinConfig, share: float) -> int:
    """Most words of an utterance when this share of the run is done."""
    return next((most for until, most in config.curriculum if share < until), config.max_words)


def epoch_sizes(
    planners: Sequence[CorpusPlanner],
    epoch_hours: float | None,
    most_words: int,
    streamed: float = 0.0,
) -> list[int]:
    """Utterances of each corpus in one epoch; `streamed` frames of others are in it besides."""
    scale = epoch_scale(planners, epoch_hours, most_words, streamed)
    return [scaled(planner.natural_size(most_words), scale) for planner in planners]


def epoch_scale(
    planners: Sequence[CorpusPlanner],
    epoch_hours: float | None,
    most_words: int,
    streamed: float = 0.0,
) -> float:
    """By how much an epoch is more than one pass, weights considered."""
    if epoch_hours is None:
        return 1.0
    frames = sum(
        planner.natural_size(most_words) * planner.mean_frames(most_words) for planner in planners
    )
    return epoch_hours * 3600 * FRAMES_PER_SECOND / max(frames + streamed, 1.0)


def scaled(size: float, scale: float) -> int:
    """A number of utterances or shards: one at least where there are any."""
    return max(1, round(size * scale)) if size > 0 else 0


def pack(lengths: Sequence[int], most_frames: int, rng: np.random.Generator) -> list[list[int]]:
    """Utterances of like lengths in batches of at most `most_frames`, padding included.

    An utterance longer than that is a batch of its own. Shortest batches first.
    """
    # Sorted, so that little is padded; blurred, so that an epoch's batches are not the last one's.
    exact = np.asarray(lengths)
    blurred = exact * rng.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(exact))
    batches: list[list[int]] = []
    longest = 0
    for index in np.argsort(blurred, kind="stable").tolist():
        longest = max(longest, int(exact[index]))
        if not batches or longest * (len(batches[-1]) + 1) > most_frames:
            batches.append([])
            longest = int(exact[index])
        batches[-1].append(index)
    return batches


def rank_share(
    batches: list[list[int]], rank: int, world_size: int, rng: np.random.Generator
) -> list[list[int]]:
    """One rank's batches in random order, as many as every other's; at one step they are alike.

    Where the number does not divide, the longest batches are dealt again.
    """
    steps = -(-len(batches) // world_size)
    short = steps * world_size - len(batches)
    # Over and over: there may be fewer batches than ranks.
    full = [*batches, *(batches * world_size)[len(batches) * world_size - short :]]
    return [full[step * world_size + rank] for step in rng.permutation(steps).tolist()]


def evened(batches: list[list[T]], steps: int) -> list[list[T]]:
    """So many batches: the longest are dealt again where there are fewer, and are empty where there
    are none at all."""
    if not batches:
        return [[] for _ in range(steps)]
    short = steps - len(batches)
    repeated = batches * (-(-short // len(batches)))
    return [*batches, *repeated[len(repeated) - short :]]
