"""Speech over a packet network: which packets are lost, and what is heard in their place.

Losses come in bursts (Gilbert's model, Bell System Technical Journal 39, 1960). What is lost is
filled as ITU-T G.711 Appendix I does, more simply: the last pitch period again and again, fading.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

PACKET_SAMPLES = 160
"""20 ms at 8 kHz."""
SHORTEST_PERIOD, LONGEST_PERIOD = 40, 120
"""Of a voice at 8 kHz: 200 to 67 Hz."""
MATCHED_SAMPLES = 160
"""Of the last speech that must be like what was a period before."""
FULL_SAMPLES, FADE_SAMPLES = 80, 400
"""10 ms at full level, then 50 ms down to nothing."""
MERGE_SAMPLES = 32
"""4 ms, in which what is heard again takes over."""


def lost_packets(
    count: int, rate: float, mean_burst: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which of `count` packets are lost: `rate` of them, on average `mean_burst` in a row."""
    recovers = 1.0 / mean_burst
    fails = min(rate * recovers / max(1.0 - rate, 1e-9), 1.0)
    draws = rng.random(count)
    lost = np.zeros(count, np.bool_)
    gone = rng.random() < rate
    for number, draw in enumerate(draws.tolist()):
        lost[number] = gone
        gone = draw >= recovers if gone else draw < fails
    return lost


def concealed(samples: Floats, lost: NDArray[np.bool_]) -> Floats:
    """The samples at 8 kHz with each lost packet filled from what came before it."""
    heard = samples.copy()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lost.astype(np.int8), [0]])))
    for first, last in edges.reshape(-1, 2) * PACKET_SAMPLES:
        stop = min(int(last), len(heard))
        end = min(stop + MERGE_SAMPLES, len(heard))
        if first >= stop:
            continue
        filling = _repeated(heard[:first], end - first)
        merging = np.linspace(1.0, 0.0, end - stop, endpoint=False, dtype=np.float32)
        heard[first:stop] = filling[: stop - first]
        heard[stop:end] = merging * filling[stop - first :] + (1.0 - merging) * heard[stop:end]
    return heard


def _repeated(before: Floats, count: int) -> Floats:
    """The last pitch period again and again, fading: `count` samples; nothing at the beginning."""
    if len(before) < MATCHED_SAMPLES + LONGEST_PERIOD:
        return np.zeros(count, np.float32)
    time = np.arange(count, dtype=np.float32)
    fade = np.clip(1.0 - (time - FULL_SAMPLES) / FADE_SAMPLES, 0.0, 1.0)
    return (np.resize(before[-_period(before) :], count) * fade).astype(np.float32)


def _period(before: Floats) -> int:
    """By how many samples the end is most like what was before it."""
    recent = before[-(MATCHED_SAMPLES + LONGEST_PERIOD) :].astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(recent, MATCHED_SAMPLES)
    # One window for each lag, the longest first; the last is the end itself.
    likeness = windows @ windows[-1] / np.sqrt(np.square(windows).sum(axis=1) + 1e-12)
    return LONGEST_PERIOD - int(likeness[: LONGEST_PERIOD - SHORTEST_PERIOD + 1].argmax())
