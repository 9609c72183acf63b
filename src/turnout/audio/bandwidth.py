"""Narrowband or wideband, by the signal: telephone speech stored at 48 kHz stays narrowband.

Speech that went through an 8 kHz channel has nothing above 4 kHz but the rounding noise of its
samples; any other has some, if only its room's or microphone's noise. The bounds were chosen on
recordings of the development sets with noise, codecs and levels varied (benchmarks/bandwidth.py).
"""

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE
from turnout.guidance import Bandwidth

Floats = NDArray[np.float32]

FFT_SAMPLES = 512
HOP_SAMPLES = 256
MOST_FRAMES = 4096
"""Frames looked at, spread over the recording: the cost of hours is that of a minute."""

NARROWBAND_RATE = 9_000
"""Hz; a rate below cannot hold more than a telephone's band and its filters' slopes."""
LOW_BAND_HZ = (500.0, 3250.0)
HIGH_BAND_HZ = (4500.0, 7500.0)
"""From where resampling filters have closed."""

ACTIVE = 10.0**-3.5
"""A frame counts if its power is at most so much (35 dB) below the loudest frames'."""
LOUDEST_FRAMES = 10
QUANTILE = 0.75
"""Of a band's power over the active frames: consonants are heard in few of them."""
LEAST_RATIO = 10.0**-6.3
"""Power above 4 kHz against the power below: wideband clips were seen down to -62 dB."""
ROUNDING_POWER = 1.0 / 12.0 / 32768.0**2
"""Of 16-bit samples, per sample."""
LEAST_ABOVE_ROUNDING = 5.0
"""Power above 4 kHz against the rounding noise there (7 dB): dither raises that by 5 dB."""


def measure_bandwidth(samples: Floats, native_rate: int) -> Bandwidth:
    """The bandwidth of a recording: samples at 16 kHz, and the rate in Hz that it was stored at.

    Silence, and recordings so quiet that what lies above 4 kHz drowns in 16-bit rounding, count as
    narrowband.
    """
    if native_rate < NARROWBAND_RATE:
        return Bandwidth.NARROWBAND
    low, high = _band_powers(samples, min(HIGH_BAND_HZ[1], 0.45 * native_rate))
    total = low + high
    loudest = np.sort(total)[-LOUDEST_FRAMES:].mean()
    active = total >= ACTIVE * loudest
    low_level = np.quantile(low[active], QUANTILE)
    high_level = np.quantile(high[active], QUANTILE)
    heard = high_level > LEAST_ABOVE_ROUNDING * ROUNDING_POWER
    return (
        Bandwidth.WIDEBAND
        if heard and high_level > LEAST_RATIO * low_level
        else (Bandwidth.NARROWBAND)
    )


def _band_powers(samples: Floats, highest_hz: float) -> tuple[Floats, Floats]:
    """Power per sample that white noise would need to be as strong, in both bands, per frame."""
    padded = np.pad(samples, (0, max(0, FFT_SAMPLES - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::HOP_SAMPLES]
    frames = frames[:: -(-len(frames) // MOST_FRAMES)]
    window = np.hanning(FFT_SAMPLES).astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2 / np.square(window).sum()
    low, high = (
        power[:, round(start * FFT_SAMPLES / SAMPLE_RATE) : round(end * FFT_SAMPLES / SAMPLE_RATE)]
        for start, end in (LOW_BAND_HZ, (HIGH_BAND_HZ[0], highest_hz))
    )
    return low.mean(axis=1), high.mean(axis=1)
