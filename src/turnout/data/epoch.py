"""The batches of an epoch: how many utterances of each corpus, which of them make a batch, and
which batches are a rank's."""

from collections.abc import Sequence

import numpy as np

from turnout.config import JoinConfig
from turnout.data.plan import FRAMES_PER_SECOND, CorpusPlanner, PlannedUtterance

EpochPlan = list[list[PlannedUtterance]]
"""A rank's batches."""
LENGTH_JITTER = 0.05
"""Lengths are blurred by this share before they are sorted, so that batch-mates change."""


def words_at(config: JoinConfig, share: float) -> int:
    """Most words of an utterance when this share of the run is done."""
    return next((most for until, most in config.curriculum if share < until), config.max_words)


def epoch_sizes(
    planners: Sequence[CorpusPlanner], epoch_hours: float | None, most_words: int
) -> list[int]:
    """Utterances of each corpus in one epoch."""
    sizes = [planner.natural_size(most_words) for planner in planners]
    if epoch_hours is not None:
        frames = sum(
            size * planner.mean_frames(most_words)
            for size, planner in zip(sizes, planners, strict=True)
        )
        scale = epoch_hours * 3600 * FRAMES_PER_SECOND / max(frames, 1.0)
        sizes = [size * scale for size in sizes]
    return [max(1, round(size)) if size > 0 else 0 for size in sizes]


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
