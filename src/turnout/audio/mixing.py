"""The channels of a recording -> one: their mean, or those that do not cancel where some do.

Decided for each short frame by itself, so that nothing loud that lies behind or ahead has a say.
Knows nothing of files or of 16 kHz.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FRAME_SECONDS = 0.05
"""Some periods of the deepest voice: shorter ones are opposed by chance, and of longer ones more is
lost where channels become opposed in their midst."""
FADE = 0.2
"""Of a frame, in which one mix passes into the next: a step would click."""
FRAME_VALUES = 2**20
"""Most values of a frame over all channels."""
LEAST_SHARE = 0.35
"""Of a channel's power, in what it has in common with the sum of all: 1 where the others have
nothing to do with it, 2 where another is the same, 0 where another is its opposite."""
SHARE_TO_RETURN = 0.7
"""To the mix, once it was left: noise beside what cancels must not flip it to and fro."""
OPPOSED = -0.3
"""Correlation with the channel that is heard, below which another is left out beside it."""
LOUDER = 2.0
"""In power; a channel of less than the loudest one's by so much may be drowned."""
GAP_SECONDS = 1.0
"""Nearer than this, two places are told as one."""
SHORTEST_SECONDS = 0.2
"""Of a place that is told: some frames may be opposed by chance."""
MOST_PLACES = 5
"""That are told."""


@dataclass
class Place:
    """Where the mix was left, now and again; in samples."""

    start: int
    end: int
    left: int


class Mixer:
    """Mixes the blocks of one recording; what comes out does not depend on how long they are."""

    def __init__(self, num_channels: int, rate: int) -> None:
        self._rate = rate
        self._size = max(1, min(round(FRAME_SECONDS * rate), FRAME_VALUES // num_channels))
        ramp = np.arange(1, round(FADE * self._size) + 1, dtype=np.float32)
        self._ramp = ramp / np.float32(len(ramp) + 1)
        self._waiting = np.zeros((0, num_channels), np.float32)
        self._position = 0
        self._heard: int | None = None
        """The channel that was heard where the mix was left last."""
        self._weights: Floats | None = None
        """Of each channel in the frame before; None where all were mixed."""
        self._left: list[Place] = []

    @property
    def warnings(self) -> list[str]:
        """Where the mix was left."""
        rate = self._rate
        told = [place for place in self._left if place.left >= SHORTEST_SECONDS * rate]
        if not told:
            return []
        names = [f"{one.start / rate:.1f} to {one.end / rate:.1f} s" for one in told[:MOST_PLACES]]
        more = [f"{len(told) - MOST_PLACES} more places"] if len(told) > MOST_PLACES else []
        return [
            "channels cancel each other, and one was heard instead of all, at "
            + ", ".join([*names, *more])
        ]

    def mix(self, block: Floats) -> Floats:
        """[samples, channels] -> [samples], whole frames of them; the rest waits for more."""
        if len(self._waiting):
            block = np.concatenate((self._waiting, block))
        whole = len(block) // self._size * self._size
        self._waiting = block[whole:].copy()
        return self._mixed(block[:whole])

    def rest(self) -> Floats:
        """What still waits, once the blocks have ended."""
        return self._mixed(self._waiting)

    def _mixed(self, block: Floats) -> Floats:
        mixed = block.mean(axis=1)
        for start in range(0, len(block), self._size):
            frame = block[start : start + self._size]
            before, self._weights = self._weights, self._weights_of(frame)
            if self._weights is not None:
                self._note(len(frame))
                mixed[start : start + len(frame)] = frame @ self._weights
            if self._position and not same(before, self._weights):
                fading = mixed[start : start + len(self._ramp)]
                old = frame[: len(fading)]
                old = old.mean(axis=1) if before is None else old @ before
                fading += (old - fading) * (1 - self._ramp[: len(fading)])
            self._position += len(frame)
        return mixed

    def _weights_of(self, frame: Floats) -> Floats | None:
        """Of each channel in the mix of a frame; None where nothing cancels."""
        centred = frame - frame.mean(axis=0, dtype=np.float64)  # offsets are not heard
        powers = np.square(centred).sum(axis=0)
        least = LEAST_SHARE if self._weights is None else SHARE_TO_RETURN
        cancelled = (centred.sum(axis=1) @ centred < least * powers) & (
            LOUDER * powers >= powers.max()
        )
        if not cancelled.any():
            return None
        if self._heard is None or not cancelled[self._heard]:
            self._heard = int(np.where(cancelled, powers, -1.0).argmax())
        shared = centred[:, self._heard] @ centred
        kept = shared >= OPPOSED * np.sqrt(powers * powers[self._heard])
        return None if kept.all() else (kept / kept.sum()).astype(np.float32)

    def _note(self, length: int) -> None:
        """The mix is left in the frame that begins here."""
        end = self._position + length
        if not self._left or self._position - self._left[-1].end >= GAP_SECONDS * self._rate:
            self._left.append(Place(self._position, end, 0))
        self._left[-1].end = end
        self._left[-1].left += length


def same(one: Floats | None, other: Floats | None) -> bool:
    """Whether two mixes are."""
    return one is other or (one is not None and other is not None and bool((one == other).all()))
