"""The telephone channel: what speech goes through between a handset and an 8 kHz recording.

Makes narrowband training data from wideband. Everything random comes from the generator that the
caller seeds.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import soxr
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE

Floats = NDArray[np.float32]
Codec = Literal["mulaw", "alaw"]

TELEPHONE_RATE = 8_000
LOWEST_HZ = 300.0
HIGHEST_HZ = 3400.0
FILTER_TAPS = 161
"""20 ms at 8 kHz: the edges at 300 and 3400 Hz are about 150 Hz wide."""


@dataclass(frozen=True, kw_only=True)
class TelephoneChannel:
    """One channel: 8 kHz, and what else is on the line."""

    codec: Codec | None = "mulaw"
    """ITU-T G.711: 'mulaw' (North America, Japan), 'alaw' (elsewhere), None keeps 16-bit values."""
    bandpass: bool = True
    """Whether frequencies outside 300 to 3400 Hz are filtered out."""
    noise_snr_db: float | None = None
    """White noise on the line, so many decibels below the speech; None is a silent line."""

    def apply(self, samples: Floats, rng: np.random.Generator) -> Floats:
        """The same number of samples at 16 kHz, after the channel."""
        return back_at_16khz(self.at_8khz(samples, rng), len(samples))

    def at_8khz(self, samples: Floats, rng: np.random.Generator) -> Floats:
        """Samples at 16 kHz -> what the far end hears, at 8 kHz."""
        line = soxr.resample(samples, SAMPLE_RATE, TELEPHONE_RATE).astype(np.float32, copy=False)
        if self.bandpass and len(line):
            line = np.convolve(line, bandpass_filter())[FILTER_TAPS // 2 :][: len(line)]
        if self.noise_snr_db is not None:
            line = add_noise(line, self.noise_snr_db, rng)
        steps = np.clip(np.rint(line * 32768.0), -32768, 32767).astype(np.int32)
        if self.codec is not None:
            steps = g711_table(self.codec)[steps + 32768]
        return steps.astype(np.float32) / np.float32(32768.0)


def random_channel(rng: np.random.Generator) -> TelephoneChannel:
    """A channel as training draws it: any codec or none, mostly filtered, half of them noisy."""
    codecs: tuple[Codec | None, ...] = ("mulaw", "alaw", None)
    return TelephoneChannel(
        codec=codecs[rng.choice(3, p=(0.4, 0.4, 0.2))],
        bandpass=bool(rng.random() < 0.6),
        noise_snr_db=float(rng.uniform(15.0, 40.0)) if rng.random() < 0.5 else None,
    )


def back_at_16khz(line: Floats, length: int) -> Floats:
    """Samples at 8 kHz -> so many at 16 kHz."""
    back = soxr.resample(line, TELEPHONE_RATE, SAMPLE_RATE).astype(np.float32, copy=False)
    return np.pad(back, (0, max(0, length - len(back))))[:length]


def add_noise(samples: Floats, snr_db: float, rng: np.random.Generator) -> Floats:
    """White noise added, its power `snr_db` below the samples' mean power."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    noise = rng.standard_normal(len(samples), np.float32)
    noise *= np.float32(np.sqrt(power * 10.0 ** (-snr_db / 10.0)))
    return samples + noise


@lru_cache(maxsize=1)
def bandpass_filter() -> Floats:
    """Linear-phase FIR for 300 to 3400 Hz at 8 kHz, a sinc under a Hamming window."""
    time = np.arange(FILTER_TAPS) - FILTER_TAPS // 2
    low, high = 2 * LOWEST_HZ / TELEPHONE_RATE, 2 * HIGHEST_HZ / TELEPHONE_RATE
    taps = high * np.sinc(high * time) - low * np.sinc(low * time)
    return (taps * np.hamming(FILTER_TAPS)).astype(np.float32)


@lru_cache(maxsize=2)
def g711_table(codec: Codec) -> NDArray[np.int32]:
    """What each 16-bit value, -32768 first, becomes by coding and decoding (ITU-T G.711)."""
    values = np.arange(-32768, 32768, dtype=np.int32)
    if codec == "mulaw":
        decoded = _mulaw(np.abs(values))
    else:  # 13 bits; negative values count from -1, as A-law has no zero
        decoded = _alaw(np.where(values < 0, -values - 1, values) >> 3)
    table = np.where(values < 0, -decoded, decoded)
    table.setflags(write=False)
    return table


def _mulaw(magnitude: NDArray[np.int32]) -> NDArray[np.int32]:
    """Eight segments of 16 steps over 14 bits, biased by 33 (132 on the 16-bit scale)."""
    biased = np.minimum(magnitude >> 2, 8158) + 33
    segment = np.floor(np.log2(biased)).astype(np.int32) - 5
    step = 2 << segment
    middle = (biased // step) * step + step // 2
    return (middle - 33) << 2


def _alaw(magnitude: NDArray[np.int32]) -> NDArray[np.int32]:
    """Seven segments of 16 steps over 13 bits, the lowest twice as long."""
    segment = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 4, 1)
    step = 1 << segment
    return ((magnitude // step) * step + step // 2) << 3
