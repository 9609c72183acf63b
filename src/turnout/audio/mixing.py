"""Channels -> mono, also where they cancel each other."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CANCELLED = 0.1
"""Mean of channels / what independent channels would give, in power, below which they cancel."""
MEMORY = 0.5
"""How much of a block's powers counts for the next, lest the choice flip from block to block."""


class Mixer:
    """Mixes the blocks of one recording to mono, or picks one channel."""

    def __init__(self, num_channels: int, channel: int | None) -> None:
        self._channel = 0 if num_channels == 1 else channel
        self._powers = np.zeros(num_channels)
        self._mixed_power = 0.0

    def mix(self, block: Floats) -> Floats:
        """[samples, channels] -> [samples]: the mean, or the loudest where the mean is cancelled.

        Two channels of opposite sign, as a miswired recorder writes them, have a mean of nothing.
        """
        if self._channel is not None:
            return np.ascontiguousarray(block[:, self._channel])
        mean = block.mean(axis=1)
        self._powers = MEMORY * self._powers + np.square(block, dtype=np.float64).sum(axis=0)
        mean_power = float(np.square(mean, dtype=np.float64).sum())
        self._mixed_power = MEMORY * self._mixed_power + mean_power
        independent = self._powers.sum() / len(self._powers) ** 2
        if self._mixed_power < CANCELLED * independent:
            return np.ascontiguousarray(block[:, int(self._powers.argmax())])
        return mean
