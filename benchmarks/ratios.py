"""Ratios of medians of what ran in turn, with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 0
RESAMPLES = 2000


def rotated(names: Sequence[str], number: int) -> list[str]:
    """The order of a round: whoever comes first in one comes last in the next."""
    return [*names[number % len(names) :], *names[: number % len(names)]]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Of the medians, and where it lies in 95 of 100 draws of as many rounds, each round whole."""
    pair = np.array([ours, theirs], dtype=np.float64)
    drawn = np.random.default_rng(SEED).integers(pair.shape[1], size=(RESAMPLES, pair.shape[1]))

    def of(values: NDArray[np.float64]) -> NDArray[np.float64]:
        middle = np.median(values, axis=-1)
        return middle[0] / middle[1]

    ends = np.percentile(of(pair[:, drawn]), (2.5, 97.5))
    return {"ratio": round(float(of(pair)), 4), "interval": [round(float(e), 4) for e in ends]}


def compared(seconds: dict[str, list[float]], base: str = "dense") -> dict[str, Any]:
    """Median seconds of each system and its ratio to the base."""
    return {
        name: {"seconds": float(np.median(taken)), **ratio(taken, seconds[base])}
        for name, taken in seconds.items()
    }
