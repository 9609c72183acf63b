"""Noise as mel power: a stretch of white noise computed once, given other spectra and envelopes.

Real frames of noise have the fluctuations and the overlap that frames drawn independently lack, and
a stretch of the bank costs less than drawing them.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import HOP_SAMPLES, SAMPLE_RATE, filterbank, mel_power
from turnout.config import FeatureConfig

Floats = NDArray[np.float32]
BANK_FRAMES = 6000
TELEPHONE_HZ = 4000.0
MAINS_HZ = (50.0, 60.0)


@dataclass(frozen=True, eq=False)
class NoiseBank:
    """White noise and the spectra that it is coloured with, for one kind of features."""

    white: Floats
    """[BANK_FRAMES, mels]: each band's mean is 1."""
    white_mean: Floats
    """[mels]: what the means were, at a mean of 1 over bands."""
    hum: Floats
    """[mains frequencies, mels], each with a mean of 1."""
    band_hz: Floats
    """[mels]: the centre of each band."""

    def stretch(self, frames: int, rng: np.random.Generator) -> Floats:
        """`frames` frames of the bank from a random place, [frames, mels]; around its end."""
        first = int(rng.integers(len(self.white)))
        if first + frames <= len(self.white):
            return self.white[first : first + frames]
        return self.white[np.arange(first, first + frames) % len(self.white)]

    def draw(self, frames: int, babble: Floats, rng: np.random.Generator) -> Floats:
        """Noise of a random kind, [frames, mels], its mean over frames and bands about 1.

        `babble` [mels] is the spectrum of somebody's speech.
        """
        kind = int(rng.integers(5))
        if kind == 4:
            noise = self.stretch(frames, rng) * envelope(frames, 12, 8.0, rng)[:, None]
            noise *= babble / np.float32(max(babble.mean(), 1e-20))
            return noise
        if kind == 3:
            hiss = self.stretch(frames, rng) * (self.white_mean * np.float32(0.05))
            return hiss + self.hum[int(rng.integers(len(self.hum)))]
        slope = float(rng.uniform(kind - 0.5, kind + 0.5))
        shape = self.white_mean * (np.maximum(self.band_hz, 50.0) / 1000.0) ** -slope
        noise = self.stretch(frames, rng) * (shape / shape.mean()).astype(np.float32)
        if rng.random() < 0.5:
            noise = noise * envelope(frames, 60, 5.0, rng)[:, None]
        return noise


@lru_cache(maxsize=2)
def noise_bank(config: FeatureConfig) -> NoiseBank:
    """The bank of one kind of features, always the same."""
    rng = np.random.default_rng(20250810)
    samples = rng.standard_normal(BANK_FRAMES * HOP_SAMPLES).astype(np.float32) * np.float32(0.05)
    white = mel_power(samples, config)[:BANK_FRAMES]
    mean = white.mean(axis=0)
    weights = filterbank(config.kind, config.num_mels).weights
    hz = np.linspace(0.0, SAMPLE_RATE / 2, len(weights))
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    hum = [mel_power(_harmonics(mains, time), config).mean(axis=0) for mains in MAINS_HZ]
    return NoiseBank(
        white=white / np.maximum(mean, 1e-20),
        white_mean=mean / mean.mean(),
        hum=np.stack([spectrum / spectrum.mean() for spectrum in hum]),
        band_hz=((hz @ weights) / np.maximum(weights.sum(axis=0), 1e-20)).astype(np.float32),
    )


def envelope(frames: int, step: int, range_db: float, rng: np.random.Generator) -> Floats:
    """A smooth random gain (of power), [frames], a control point about every `step` frames."""
    count = max(frames // step, 1) + 1
    decibels = rng.uniform(-range_db, range_db, count)
    smooth = np.interp(np.linspace(0, count - 1, frames), np.arange(count), decibels)
    return (10.0 ** (smooth / 10.0)).astype(np.float32)


def _harmonics(mains_hz: float, time: NDArray[np.float64]) -> Floats:
    """Mains hum: harmonics that fall by 12 dB an octave."""
    orders = np.arange(1, 61)
    waves = np.sin(2 * np.pi * mains_hz * orders[:, None] * time) / orders[:, None] ** 2
    return (0.05 * waves.sum(axis=0)).astype(np.float32)
