"""What an expert makes of one tensor of its base: another in its place, or a low-rank difference
(Hu et al. 2021, arXiv 2106.09685)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Whole:
    """The tensor itself."""

    values: NDArray[Any]
    """float16 or float32."""

    def applied(self, base: NDArray[Any]) -> Floats:  # noqa: ARG002 - as LowRank's
        """In float32."""
        return self.values.astype(np.float32)


@dataclass(frozen=True, eq=False)
class LowRank:
    """base + up @ down."""

    up: NDArray[Any]
    """[rows, rank]"""
    down: NDArray[Any]
    """[rank, columns]"""

    def applied(self, base: NDArray[Any]) -> Floats:
        """In float32, [rows, columns]: the same bits on every machine, since products and sums are
        rounded one by one; a matrix product adds in an order of its own."""
        up, down = self.up.astype(np.float32), self.down.astype(np.float32)
        total = np.zeros(base.shape, np.float32)
        product = np.empty(base.shape, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # whoever asks looks at what comes out
            for column, row in zip(up.T, down, strict=True):
                np.multiply(column[:, None], row, out=product)
                total += product
            return base.astype(np.float32) + total


Change = Whole | LowRank
UP, DOWN = ".up", ".down"
"""Behind the name of a tensor: the two parts of its low-rank difference."""
