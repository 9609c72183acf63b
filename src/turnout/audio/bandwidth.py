"""Narrowband or wideband, by the signal: telephone speech stored at 48 kHz stays narrowband.

This is the one rule, for corpora as for what is transcribed. Speech that went through an 8 kHz
channel has nothing above 4 kHz but the rounding of its samples, or what a lossy codec left there.
Opus leaves most: at 12 kbit/s its noise lies some 30 dB below the speech, rises and falls with it,
and never comes near it. Any other speech has frames, of consonants and of pauses with a room's or
microphone's noise, whose power above 4 kHz comes close to that below or passes it, and no cliff at
4 kHz in its mean. Two statistics say how far that is so, and a line through them decides. Where a
poor resampler left the mirror image of the telephone's band above 4 kHz, its fine structure tells.
"""

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE
from turnout.guidance import Bandwidth

Floats = NDArray[np.float32]

NARROWBAND_RATE = 11_000
"""Hz; a rate below it holds no more than a telephone's band and the slopes of filters."""
SURE_SECONDS = 1.0
"""Of clips at least so long, whatever their codec, fewer than 1 in 50 are misjudged
(benchmarks/bandwidth.py); of shorter ones more."""

FFT_SAMPLES = 512
FFT_HOP_SAMPLES = 256
OVERLAP_SAMPLES = FFT_SAMPLES - FFT_HOP_SAMPLES
BLOCK_SAMPLES = 2048 * FFT_HOP_SAMPLES
"""Half a minute, counted from the recording's beginning."""
MOST_BLOCKS = 4
"""Two minutes in which there is any sound: the cost of hours is that of minutes, and a recording is
judged before the rest of it is read."""
BAND_BINS = 8
BANDS = FFT_SAMPLES // 2 // BAND_BINS
BAND_HZ = SAMPLE_RATE / 2 / BANDS

SPEECH_HZ = (500.0, 7500.0)
LOW_HZ = (500.0, 3250.0)
HIGH_HZ = (4500.0, 7250.0)
"""From where resampling filters have closed."""
BELOW_CLIFF_HZ = (2750.0, 3500.0)
ABOVE_CLIFF_HZ = (4250.0, 5500.0)

STEP = 1.0 / 32768
"""Of 16-bit samples."""
AUDIBLE = 10.0**0.8 * STEP**2 / 12.0
"""Power per sample: 8 dB above that of the rounding to 16 bits, which dither raises by 5 dB."""
TINY = 1e-16
NOTHING_DB = -60.0
"""Stands for the ratio of a band in which nothing is heard."""
MIRROR_BINS = 96
"""On each side of 4 kHz: 3 kHz."""
MIRRORED = 0.5
"""Correlation of the two sides' fine structure: at most 0.15 in wideband speech, whatever its
codec, and from 0.65 on where a resampler repeats or interpolates (train and dev speakers)."""
ACTIVE = 10.0**-3.5
"""Somebody speaks in a frame if its power is at most so much (35 dB) below the loudest frames'."""
LOUDEST_FRAMES = 10
BRIGHT = 0.9
"""Quantile over all frames that are heard: consonants and pauses are few."""
LOUD = 0.75
"""Quantile of a band's power over the frames in which somebody speaks."""

BRIGHT_WEIGHT = 0.144
CLIFF_WEIGHT = 0.104
BIAS = 7.0
"""By logistic regression on real recordings of train and dev speakers with noise, rooms, levels and
codecs varied, all conditions and both bandwidths alike: `benchmarks/bandwidth.py --fit --utterances
30 --prompts PROMPTS`. Its bias, 7.267, was lowered on such speakers until the first wideband was
lost by it: telephone speech through Opus at 12 kbit/s lies next to the line."""


def bandwidth_by_rate(native_rate: float) -> Bandwidth | None:
    """What a file's rate in Hz tells by itself, whatever else is said of it; None: nothing."""
    return Bandwidth.NARROWBAND if native_rate < NARROWBAND_RATE else None


def measure_bandwidth(samples: Floats, native_rate: float) -> Bandwidth:
    """The bandwidth of a recording: samples at 16 kHz, and the rate in Hz that it was stored at.

    Silence, and recordings so quiet that what lies above 4 kHz drowns in 16-bit rounding, count as
    narrowband.
    """
    meter = BandwidthMeter(native_rate)
    meter.add(samples)
    return meter.bandwidth


def is_silent(samples: Floats) -> bool:
    """Whether there is nothing to hear: digital silence, an offset, or one that drifts slowly.

    What is sound here is sound in a frame of the bandwidth's measurement, too, since any hop of it
    lies in one: otherwise hours would be held until there is enough of it.
    """
    if not len(samples):
        return True
    if np.ptp(samples[:FFT_HOP_SAMPLES]) > STEP:  # the first frame below: it is seldom more
        return False
    starts = np.arange(0, len(samples), FFT_HOP_SAMPLES // 2)
    highs, lows = (extreme.reduceat(samples, starts) for extreme in (np.maximum, np.minimum))
    highs, lows = np.append(highs, highs[-1]), np.append(lows, lows[-1])
    peaks = np.maximum(highs[1:], highs[:-1]) - np.minimum(lows[1:], lows[:-1])
    return float(peaks.max()) <= STEP


class BandwidthMeter:
    """Hears a recording in blocks; the verdict does not depend on where they are cut."""

    def __init__(self, native_rate: float) -> None:
        self._native_rate = native_rate
        self._known = bandwidth_by_rate(native_rate)
        self._powers: list[Floats] = []
        """Of each block in which there is any sound."""
        self._rest = np.zeros(0, np.float32)
        """The samples of a block that is not complete yet."""

    @property
    def enough(self) -> bool:
        """Whether nothing that follows can change the verdict."""
        return self._known is not None or len(self._powers) >= MOST_BLOCKS

    def add(self, samples: Floats) -> None:
        """Hear what follows, mono at 16 kHz."""
        for start in range(0, len(samples), BLOCK_SAMPLES):
            part = samples[start : start + BLOCK_SAMPLES]
            self._rest = np.concatenate((self._rest, part))
            while not self.enough and len(self._rest) >= BLOCK_SAMPLES + OVERLAP_SAMPLES:
                powers = band_powers(self._rest[: BLOCK_SAMPLES + OVERLAP_SAMPLES])
                # A copy: a view would keep what was before it in memory.
                self._rest = self._rest[BLOCK_SAMPLES:].copy()
                self._powers += [powers] if len(powers) else []
            if self.enough:
                return

    @property
    def bandwidth(self) -> Bandwidth:
        """The verdict on what was heard so far."""
        if self._known is not None:
            return self._known
        heard = self._heard()
        bright, cliff = statistics(heard, self._native_rate)
        wide = BRIGHT_WEIGHT * bright + CLIFF_WEIGHT * cliff + BIAS > 0.0
        wide = wide and mirroring(heard) < MIRRORED
        return Bandwidth.WIDEBAND if wide else Bandwidth.NARROWBAND

    def statistics(self) -> tuple[float, float]:
        """Those that decide, of what was heard so far (see `statistics`)."""
        return statistics(self._heard(), self._native_rate)

    def _heard(self) -> Floats:
        """The frames so far."""
        powers = self._powers
        if not self.enough:
            missing = max(0, FFT_SAMPLES - len(self._rest))
            powers = [*powers, band_powers(np.pad(self._rest, (0, missing)))]
        return np.concatenate(powers)


def band_powers(samples: Floats) -> Floats:
    """Power in each band of 250 Hz of each frame that is no digital silence, [frames, bands + 1].

    That is the power per sample of white noise that would be as strong there. In the last column,
    how far the fine structure above 4 kHz mirrors that below: a correlation.
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, FFT_SAMPLES)[::FFT_HOP_SAMPLES]
    frames = frames[np.ptp(frames, axis=1) > STEP]
    window = np.hanning(FFT_SAMPLES).astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, axis=1)[:, :-1]) ** 2 / np.square(window).sum()
    bands = power.reshape(len(power), BANDS, BAND_BINS).mean(axis=2)
    return np.concatenate((bands, _mirroring(power)[:, None]), axis=1)


def _mirroring(power: Floats) -> Floats:
    """The correlation, over the bins, of what changes from one to the next, [frames]."""
    centre = FFT_SAMPLES // 4
    levels = np.log(power[:, centre - MIRROR_BINS : centre + MIRROR_BINS + 1] + TINY)
    above = np.diff(levels[:, MIRROR_BINS + 1 :], axis=1)
    below = np.diff(levels[:, MIRROR_BINS - 1 :: -1], axis=1)
    size = np.sqrt(np.square(above).sum(axis=1) * np.square(below).sum(axis=1))
    return (above * below).sum(axis=1) / np.maximum(size, TINY)


def mirroring(powers: Floats) -> float:
    """The median correlation of the two sides of 4 kHz while somebody speaks; 0 in silence."""
    return float(np.median(_active(powers)[:, -1])) if len(powers) else 0.0


def _active(powers: Floats) -> Floats:
    """The frames in which somebody speaks."""
    total = _mean(powers, SPEECH_HZ)
    return powers[total >= ACTIVE * np.sort(total)[-LOUDEST_FRAMES:].mean()]


def statistics(powers: Floats, native_rate: float) -> tuple[float, float]:
    """Two ratios of the power above 4 kHz to that below, in dB: in the frames where it is highest,
    those of consonants and pauses; and at 4 kHz, while somebody speaks."""
    if not len(powers):
        return NOTHING_DB, NOTHING_DB
    # Below the Nyquist frequency a resampler's filter has closed already.
    end = HIGH_HZ[1] if native_rate >= SAMPLE_RATE else 0.45 * native_rate
    low, high = _mean(powers, LOW_HZ), _mean(powers, (HIGH_HZ[0], end))
    heard = np.maximum(low, high) > AUDIBLE
    bright = np.quantile(_ratio(high, low)[heard], BRIGHT) if heard.any() else NOTHING_DB
    active = _active(powers)
    edges = ((ABOVE_CLIFF_HZ[0], min(end, ABOVE_CLIFF_HZ[1])), BELOW_CLIFF_HZ)
    above, below = (np.quantile(_mean(active, edge), LOUD, keepdims=True) for edge in edges)
    return float(bright), float(_ratio(above, below)[0])


def _ratio(above: Floats, below: Floats) -> Floats:
    """In dB; nothing where nothing is heard above."""
    ratio = 10.0 * np.log10((above + TINY) / (below + TINY))
    return np.where(above > AUDIBLE, np.maximum(ratio, NOTHING_DB), NOTHING_DB)


def _mean(powers: Floats, limits_hz: tuple[float, float]) -> Floats:
    """Of the bands between the limits, [frames]."""
    first, last = (round(limit / BAND_HZ) for limit in limits_hz)
    return powers[:, first:last].mean(axis=1)
