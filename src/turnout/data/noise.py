"""What is heard that is no speech: noise as mel power, and sounds without a word as waveforms.

A stretch of white noise is computed once and given other spectra and envelopes: real frames of
noise have the fluctuations and the overlap that frames drawn independently lack, and a stretch of
the bank costs less than drawing them. Sounds are for utterances without words: a model that never
met clicks, beeps and the mains takes them for speech.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import HOP_SAMPLES, SAMPLE_RATE, filterbank, mel_power
from turnout.config import FeatureConfig
from turnout.data.channel import Sound, read_sound

Floats = NDArray[np.float32]
Wave = NDArray[np.float64]

BANK_FRAMES = 6000
TELEPHONE_HZ = 4000.0
MAINS_HZ = (50.0, 60.0)
LOUDNESS_DBFS = (-65.0, -3.0)
LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0
HISS_DB = (-70.0, -15.0)
"""Of the noise beneath a sound, below it."""
HUSHED = 0.3
"""Share of sounds with no noise beneath."""
LONGEST_BURST = round(0.06 * SAMPLE_RATE)
"""Samples."""


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
        # 0 to 2: white, pink, brown; 3: hiss and the mains' hum; 4: babble.
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
    # A seed of its own: the bank is part of what a run depends on, and the same in every run.
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


@lru_cache(maxsize=32)
def recorded_power(sound: Sound, config: FeatureConfig) -> Floats:
    """Mel power of a recorded noise, [frames, mels], its mean over both 1."""
    power = mel_power(read_sound(sound), config)  # kept as power alone
    return power / np.float32(max(float(power.mean()), 1e-20))


def recorded(
    noises: Sequence[Sound], frames: int, config: FeatureConfig, rng: np.random.Generator
) -> Floats:
    """One of the noises from a random place on, again from its beginning where it ends: [frames,
    mels]."""
    power = recorded_power(noises[int(rng.integers(len(noises)))], config)
    first = int(rng.integers(len(power)))
    return power[np.arange(first, first + frames) % len(power)]


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


def draw_sound(length: int, rng: np.random.Generator) -> Floats:
    """[length] samples of a random sound, within -1..1."""
    wave = KINDS[int(rng.integers(len(KINDS)))](length, rng)
    wave /= max(float(np.sqrt(np.mean(np.square(wave)))), 1e-9)
    if rng.random() >= HUSHED:
        wave += rng.standard_normal(length) * 10.0 ** (rng.uniform(*HISS_DB) / 20.0)
    wave *= 10.0 ** (rng.uniform(*LOUDNESS_DBFS) / 20.0)
    return np.clip(wave, -1.0, 1.0).astype(np.float32)


def mains(length: int, rng: np.random.Generator) -> Wave:
    """Hum or buzz: harmonics of 50 or 60 Hz that fall by 0 to 18 dB an octave."""
    hertz = float(rng.choice((50.0, 60.0))) * rng.uniform(0.99, 1.01)
    orders = np.arange(1, int(rng.integers(2, 60)))
    gains = rng.uniform(0.1, 1.0, len(orders)) / orders ** rng.uniform(0.0, 3.0)
    phases = rng.uniform(0.0, 2 * np.pi, len(orders))
    cycles = 2 * np.pi * hertz / SAMPLE_RATE * np.arange(length)
    wave = np.zeros(length)
    for order, gain, phase in zip(orders.tolist(), gains.tolist(), phases.tolist(), strict=True):
        wave += gain * np.sin(order * cycles + phase)
    return wave


def tones(length: int, rng: np.random.Generator) -> Wave:
    """One to four tones, steady or gliding, held or beeping."""
    seconds = np.arange(length) / SAMPLE_RATE
    wave = np.zeros(length)
    for _ in range(int(rng.integers(1, 5))):
        hertz = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** rng.random()
        glide = rng.uniform(-0.3, 0.3) * (rng.random() < 0.4)
        turns = hertz * (seconds + 0.5 * glide * seconds**2 / max(length / SAMPLE_RATE, 1e-3))
        wave += rng.uniform(0.2, 1.0) * np.sin(2 * np.pi * turns + rng.uniform(0, 2 * np.pi))
    return wave * _beeps(length, rng) if rng.random() < 0.4 else wave


def bursts(length: int, rng: np.random.Generator) -> Wave:
    """Clicks, ticks and knocks: up to 25 a second, each dying away within milliseconds."""
    burst = _burst(rng)
    count = 1 + round(length / SAMPLE_RATE * 25.0 ** rng.random())
    if rng.random() < 0.3:  # a clock
        places = np.linspace(0, length - 1, count).astype(int)
    else:
        places = rng.integers(0, length, count)
    alike = rng.random() < 0.5
    wave = np.zeros(length + LONGEST_BURST)
    for place in places.tolist():
        one = burst if alike else _burst(rng)
        wave[place : place + len(one)] += rng.uniform(0.2, 1.0) * rng.choice((-1.0, 1.0)) * one
    return wave[:length]


def _burst(rng: np.random.Generator) -> Wave:
    """One sample, a crackle, or the ring of something struck."""
    time = np.arange(LONGEST_BURST) / SAMPLE_RATE
    decay = np.exp(-time / 10.0 ** rng.uniform(-4.5, -1.8))
    kind = rng.random()
    if kind < 0.2:
        return np.array([1.0])
    if kind < 0.6:
        return decay * rng.choice((-1.0, 1.0), len(time))
    hertz = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** rng.random()
    return decay * np.sin(2 * np.pi * hertz * time)


def _beeps(length: int, rng: np.random.Generator) -> Wave:
    """A gate that is on and off in turn, 50 to 800 ms each."""
    on, off = rng.uniform(0.05, 0.8, 2) * SAMPLE_RATE
    return ((np.arange(length) + rng.uniform(0, on + off)) % (on + off) < on).astype(np.float64)


KINDS: tuple[Callable[[int, np.random.Generator], Wave], ...] = (mains, tones, bursts)
