"""What a request leaves behind in a server, by Sen's slope and its interval.

What is held is looked at between requests, when nobody is served. The second half of the looks is
cut into ten parts, each with the median of its looks: of all pairs of parts the median slope is
told, and the interval (95 %) within which it lies (Sen 1968, doi:10.1080/01621459.1968.10480934). A
step, such as an allocator's, leaves many pairs without a slope, and so zero in the interval; what
every request adds to leaves none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np

PARTS = 10
LEAST_LOOKS = 2 * PARTS
"""In the second half."""
NORMAL_95 = 1.96
MOST: Mapping[str, float] = {"malloc_bytes": 256.0, "python_blocks": 0.5, "resident_bytes": 4096.0}
"""That may stay of a request. Bytes that malloc holds are exact, what a process has of the system
is not: it is looked at for what is no malloc's."""


@dataclass(frozen=True)
class Slope:
    """Of what is held, by requests."""

    a_request: float
    low: float
    high: float


@dataclass(frozen=True)
class Look:
    """What a server held at one moment."""

    seconds: float
    requests: int
    held: Mapping[str, float]
    """By the names of `MOST`; without those that the system does not tell."""


def slope(requests: Sequence[float], held: Sequence[float]) -> Slope:
    """Of the parts of a half."""
    x, y = (
        np.array([np.median(part) for part in np.array_split(np.array(values, float), PARTS)])
        for values in (requests, held)
    )
    first, second = np.triu_indices(PARTS, k=1)
    slopes = np.sort((y[second] - y[first]) / (x[second] - x[first]))
    count = len(slopes)
    # How many pairs, of all, may rise more than fall where nothing grows.
    spread = NORMAL_95 * sqrt(PARTS * (PARTS - 1) * (2 * PARTS + 5) / 18)
    low = max(0, round((count - spread) / 2) - 1)
    high = min(count - 1, round((count + spread) / 2))
    return Slope(float(np.median(slopes)), float(slopes[low]), float(slopes[high]))


def last_half(looks: Sequence[Look]) -> list[Look]:
    """Those behind the first half of the requests."""
    return [look for look in looks if 2 * look.requests >= looks[-1].requests]


def enough(looks: Sequence[Look]) -> bool:
    """Whether something can be told from these."""
    return len(last_half(looks)) >= LEAST_LOOKS


def growth(looks: Sequence[Look]) -> dict[str, Any]:
    """What every request left of each kind, and whether that is more than may stay."""
    half = last_half(looks)
    requests = [look.requests for look in half]
    found = {
        name: slope(requests, [look.held[name] for look in half])
        for name in MOST
        if name in half[0].held
    }
    told = {
        name: {key: round(value, 3) for key, value in asdict(one).items()} | {"most": MOST[name]}
        for name, one in found.items()
    }
    return {
        "looks_of_the_last_half": len(half),
        "left_by_a_request": told,
        "grows": any(one.low > MOST[name] for name, one in found.items()),
    }
