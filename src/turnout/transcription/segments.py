"""A stream of samples of any length -> stretches that the model takes at once, in bounded memory.

Cut at the quietest point of the second half of each window, so that words stay whole. Where the
cuts fall does not depend on the blocks in which the samples come.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE

Floats = NDArray[np.float32]

FRAME = SAMPLE_RATE // 100
SMOOTHING_FRAMES = 20
"""Quiet means quiet for 0.2 s: a pause between words, not the closure inside a stop consonant."""
SILENCE = 1.0 / 32768
"""Peak to peak; half a step of 16-bit samples each way, beyond which nothing can be heard."""


def cut(blocks: Iterable[Floats], window: int) -> Iterator[Floats]:
    """Stretches of at most `window` samples that together are the stream."""
    buffer = np.zeros(0, dtype=np.float32)
    for block in blocks:
        buffer = np.concatenate((buffer, block))
        while len(buffer) > window:
            point = quietest(buffer[:window])
            yield buffer[:point]
            buffer = buffer[point:]
    if len(buffer):
        yield buffer


def quietest(samples: Floats) -> int:
    """The quietest point in the second half, the last one where several are."""
    first = len(samples) // 2
    frames = (len(samples) - first) // FRAME
    if frames <= SMOOTHING_FRAMES:
        return len(samples)
    power = np.square(samples[first : first + frames * FRAME].astype(np.float64))
    total = np.concatenate(([0.0], np.cumsum(power.reshape(frames, FRAME).sum(axis=1))))
    smooth = total[SMOOTHING_FRAMES:] - total[:-SMOOTHING_FRAMES]
    # Differences of a running sum are exact to about 1e-12 of it: equal ones must count as equal.
    tied = np.flatnonzero(smooth <= smooth.min() + 1e-9 * total[-1])
    return first + (int(tied[-1]) + SMOOTHING_FRAMES // 2) * FRAME


def is_silent(samples: Floats) -> bool:
    """Whether there is nothing but a constant: digital silence or an offset."""
    return len(samples) == 0 or float(np.ptp(samples)) <= SILENCE
