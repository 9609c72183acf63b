"""Narrowband or wideband, by the signal: telephone speech stored at 48 kHz stays narrowband.

Speech that went through an 8 kHz channel has nothing above 4 kHz but the rounding of its samples,
or what a lossy codec left there: a flat floor below a cliff. Any other speech has consonants or its
room's and microphone's noise there, which lie higher or slope. The bounds were chosen on real
recordings with noise, codecs and levels varied; benchmarks/bandwidth.py measures how often they are
right.
"""

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE
from turnout.guidance import Bandwidth

Floats = NDArray[np.float32]

FFT_SAMPLES = 512
FFT_HOP_SAMPLES = 256
BAND_BINS = 8
BAND_HZ = BAND_BINS * SAMPLE_RATE / FFT_SAMPLES
MOST_FRAMES = 4096
"""Frames looked at, spread over the recording: the cost of hours is that of a minute."""

NARROWBAND_RATE = 11_000
"""Hz; a rate below it holds no more than a telephone's band and the slopes of filters."""
SPEECH_HZ = (500.0, 7500.0)
BELOW_CLIFF_HZ = (1750.0, 3250.0)
ABOVE_CLIFF_HZ = (4500.0, 7250.0)
"""From where resampling filters have closed."""
SLOPE_START_HZ = (4250.0, 4750.0)
SLOPE_END_HZ = (6750.0, 7500.0)

ACTIVE = 10.0**-3.5
"""A frame counts if its power is at most so much (35 dB) below the loudest frames'."""
LOUDEST_FRAMES = 10
QUANTILE = 0.75
"""Of a band's power over the active frames: consonants are heard in few of them."""
CLIFF_DB = 40.0
"""Drop across 4 kHz, less the slope above. Of wideband clips fewer than 1 in 1,000 drop so far;
telephone speech does by its lossless rounding, in MP3 and Vorbis, but in Opus only two in three."""
ROUNDING_DB = 10.0 * float(np.log10(1.0 / 12.0 / 32768.0**2))
"""Power of 16-bit rounding, per sample."""
DITHER_DB = 8.0
"""Margin above that: dither raises rounding noise by 5 dB."""


def measure_bandwidth(samples: Floats, native_rate: int) -> Bandwidth:
    """The bandwidth of a recording: samples at 16 kHz, and the rate in Hz that it was stored at.

    Silence, and recordings so quiet that what lies above 4 kHz drowns in 16-bit rounding, count as
    narrowband.
    """
    if native_rate < NARROWBAND_RATE:
        return Bandwidth.NARROWBAND
    levels = _band_levels(samples)
    full = native_rate >= SAMPLE_RATE
    # Below the Nyquist frequency a resampler's filter has closed already.
    end = ABOVE_CLIFF_HZ[1] if full else 0.45 * native_rate
    above = _mean(levels, (ABOVE_CLIFF_HZ[0], end))
    slope = _mean(levels, SLOPE_START_HZ) - _mean(levels, SLOPE_END_HZ) if full else 0.0
    cliff = _mean(levels, BELOW_CLIFF_HZ) - above - max(slope, 0.0)
    wide = above > ROUNDING_DB + DITHER_DB and cliff < CLIFF_DB
    return Bandwidth.WIDEBAND if wide else Bandwidth.NARROWBAND


def _band_levels(samples: Floats) -> Floats:
    """Level of each band of 250 Hz while somebody speaks, [bands], in dB.

    That is the power per sample of white noise that would be as strong there.
    """
    padded = np.pad(samples, (0, max(0, FFT_SAMPLES - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::FFT_HOP_SAMPLES]
    frames = frames[:: -(-len(frames) // MOST_FRAMES)]
    window = np.hanning(FFT_SAMPLES).astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, axis=1)[:, :-1]) ** 2 / np.square(window).sum()
    bands = power.reshape(len(power), -1, BAND_BINS).mean(axis=2)
    total = bands[:, _slice(SPEECH_HZ)].mean(axis=1)
    active = total >= ACTIVE * np.sort(total)[-LOUDEST_FRAMES:].mean()
    levels = np.quantile(bands[active], QUANTILE, axis=0)
    return np.asarray(10.0 * np.log10(levels + 1e-16), np.float32)


def _mean(levels: Floats, limits_hz: tuple[float, float]) -> float:
    return float(levels[_slice(limits_hz)].mean())


def _slice(limits_hz: tuple[float, float]) -> slice:
    return slice(round(limits_hz[0] / BAND_HZ), round(limits_hz[1] / BAND_HZ))
