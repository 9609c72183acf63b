"""The 95 % interval of a figure over utterances, of which those of one speaker are alike.

Resampled are speakers, then the utterances of each: the bootstrap of Bisani and Ney 2004
("Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP) over blocks
of dependent utterances, as Liu and Peng 2020 ("Statistical testing on ASR performance via blockwise
bootstrap", arXiv 1912.09508) have it. Knows nothing of texts.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 0
"""The same utterances always have the same interval."""
FEWEST_GROUPS = 5
"""Speakers that an interval needs to say much of others."""
DESCRIPTION = (
    f"95 % intervals: {RESAMPLES:,} resamples of the speakers (of recordings, where no speaker is "
    f"stated), then of each one's utterances; seed {SEED}"
)

Figures = NDArray[np.float64]


def interval(
    counts: Figures,
    figure: Callable[[Figures], float | None],
    groups: Sequence[Hashable] | None,
    resamples: int,
) -> tuple[float, float] | None:
    """The 2.5 and 97.5 percentiles of `figure`, which is computed of sums of `counts`.

    `counts` is [utterances, counts]; `groups` says whose each utterance is, and where it is None
    each stands for itself. None where the figure is None in every resample.
    """
    draws = resampled(range(len(counts)) if groups is None else groups, resamples)
    found = [figure(drawn @ counts) for drawn in draws]
    known = [value for value in found if value is not None]
    if not known:
        return None
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)


def resampled(groups: Sequence[Hashable], resamples: int) -> Iterator[Figures]:
    """How often each utterance is drawn, [utterances], in one resample after the other.

    As many groups as there are, with replacement, and of each as many utterances as it has, with
    replacement; where each utterance is a group of its own, the ordinary bootstrap.
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    owner = np.array([numbers[group] for group in groups])
    members = np.argsort(owner, kind="stable")
    sizes = np.bincount(owner)
    firsts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(SEED)
    for _ in range(resamples):
        drawn = rng.integers(len(sizes), size=len(sizes))
        of_each = np.repeat(sizes[drawn], sizes[drawn])
        places = np.repeat(firsts[drawn], sizes[drawn]) + rng.integers(of_each)
        yield np.bincount(members[places], minlength=len(owner)).astype(np.float64)
