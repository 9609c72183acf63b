"""Sounds without a word in them, as waveforms at 16 kHz: a model that never met them takes clicks,
beeps and the mains for speech."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE

Floats = NDArray[np.float32]
Wave = NDArray[np.float64]

LOUDNESS_DBFS = (-65.0, -3.0)
LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0
HISS_DB = (-70.0, -15.0)
"""Of the noise beneath a sound, below it."""
HUSHED = 0.3
"""Share of sounds with no noise beneath."""
LONGEST_BURST = round(0.06 * SAMPLE_RATE)
"""Samples."""


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
