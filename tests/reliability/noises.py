"""Sounds without a word in them."""

from collections.abc import Callable
from random import Random

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Make = Callable[[int, int, Random], Floats]
"""Samples wanted, their rate, and what is drawn from; loudness is `at_level`'s."""

LEVELS_DBFS = (-60.0, -6.0)


def zero(length: int, rate: int, random: Random) -> Floats:
    """Digital silence."""
    return np.zeros(length)


def offset(length: int, rate: int, random: Random) -> Floats:
    """A constant, as some recorders add it."""
    return np.full(length, random.choice((-1, 1)) * 10 ** random.uniform(-4, 0))


def white(length: int, rate: int, random: Random) -> Floats:
    """As loud in every band of 1 Hz."""
    return _coloured(length, random, 0.0)


def pink(length: int, rate: int, random: Random) -> Floats:
    """As loud in every octave."""
    return _coloured(length, random, 0.5)


def brown(length: int, rate: int, random: Random) -> Floats:
    """Falls by 6 dB an octave, as distant traffic does."""
    return _coloured(length, random, 1.0)


def hum(length: int, rate: int, random: Random) -> Floats:
    """The mains, with up to 20 harmonics that fall off."""
    time, mains = np.arange(length) / rate, random.choice((50, 60))
    total = np.zeros(length)
    for harmonic in range(1, random.randint(2, 20)):
        strength, phase = random.uniform(0.2, 1) / harmonic, random.uniform(0, 2 * np.pi)
        total += strength * np.sin(2 * np.pi * mains * harmonic * time + phase)
    return total


def clicks(length: int, rate: int, random: Random) -> Floats:
    """One to 20 a second: single samples, or bursts of up to 10 ms that die away."""
    total = np.zeros(length)
    burst = np.exp(-np.arange(round(0.01 * rate)) / random.uniform(1, 0.002 * rate))
    for _ in range(1 + round(length / rate * random.uniform(1, 20))):
        start = random.randrange(length)
        signs = _generator(random).choice((-1.0, 1.0), len(burst))
        total[start : start + len(burst)] += (burst * signs)[: length - start]
    return total


def tone(length: int, rate: int, random: Random) -> Floats:
    """One to three sines; one in three clips glides."""
    time = np.arange(length) / rate
    glide = random.uniform(-0.5, 0.5) if random.random() < 1 / 3 else 0.0
    total = np.zeros(length)
    for _ in range(random.randint(1, 3)):
        hertz = 100 * (0.4 * rate / 100) ** random.random()
        path = time * (1 + 0.5 * glide * time / max(time[-1], 1 / rate))
        total += np.sin(2 * np.pi * hertz * path)
    return total


SILENCES: dict[str, Make] = {"zero": zero, "offset": offset}
SOUNDS: dict[str, Make] = {
    "white": white,
    "pink": pink,
    "brown": brown,
    "hum": hum,
    "clicks": clicks,
    "tone": tone,
}


def at_level(samples: Floats, dbfs: float) -> Floats:
    """As loud as that on average, within full scale."""
    power = np.sqrt(np.mean(np.square(samples)))
    return np.clip(samples * 10 ** (dbfs / 20) / max(power, 1e-12), -1, 1)


def _coloured(length: int, random: Random, slope: float) -> Floats:
    """Gaussian noise whose amplitude falls with frequency to the power of -slope."""
    spectrum = np.fft.rfft(_generator(random).standard_normal(length))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** slope
    spectrum[0] = 0 if slope else spectrum[0]
    return np.fft.irfft(spectrum, length)


def _generator(random: Random) -> np.random.Generator:
    return np.random.default_rng(random.getrandbits(64))
