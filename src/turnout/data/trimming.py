"""Where in a clip of an isolated word the word is, and what the clip sounds like beside it."""

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import HOP_SAMPLES, SAMPLE_RATE

MARGIN_SECONDS = 0.05
"""Kept on either side: stops begin and fricatives end softly."""
SHORTEST_SECONDS = 0.1
"""Whatever seems shorter than this is no word, and the clip is kept whole."""
SPEECH_RANGE_DB = 32.0
"""What lies further below the loudest frame does not count as speech."""
OUTLIER_SHARE = 0.005
"""Of the loudness on either side that is ignored, so that a click does not hold a clip open."""
QUIET_SHARE = 0.1
"""Of the frames that are taken for background."""


def frame_energy_db(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Energy of each 10 ms in decibels (of full scale), the last frame possibly shorter."""
    starts = np.arange(0, max(len(samples), 1), HOP_SAMPLES)
    squares = np.square(samples, dtype=np.float64) if len(samples) else np.zeros(1)
    sizes = np.diff(np.append(starts, max(len(samples), 1)))
    return 10.0 * np.log10(np.add.reduceat(squares, starts) / sizes + 1e-12)


def word_span(samples: NDArray[np.float32]) -> tuple[int, int]:
    """First and last-plus-one sample of the word in a clip, margins included; never empty.

    The threshold stands between the clip's own background and its loudest frame, so that a noisy
    clip is trimmed as a clean one is.
    """
    energy = frame_energy_db(samples)
    smooth = np.convolve(np.pad(energy, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    loudest, background = float(smooth.max()), float(np.quantile(smooth, QUIET_SHARE))
    threshold = max(loudest - SPEECH_RANGE_DB, background + 0.25 * (loudest - background))
    loudness = np.cumsum(np.maximum(smooth - threshold, 0.0))
    if loudest - background < 6.0 or loudness[-1] <= 0.0:
        return 0, len(samples)
    inside = np.searchsorted(
        loudness, [OUTLIER_SHARE * loudness[-1], (1 - OUTLIER_SHARE) * loudness[-1]]
    )
    margin = round(MARGIN_SECONDS * SAMPLE_RATE)
    first = max(int(inside[0]) * HOP_SAMPLES - margin, 0)
    last = min((int(inside[1]) + 1) * HOP_SAMPLES + margin, len(samples))
    return (first, last) if last - first >= SHORTEST_SECONDS * SAMPLE_RATE else (0, len(samples))


def quietest(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean power, [mels], of the quietest tenth of the frames of `power` [frames, mels]."""
    loudness = power.sum(axis=1)
    count = max(1, round(QUIET_SHARE * len(power)))
    return power[np.argpartition(loudness, count - 1)[:count]].mean(axis=0)
