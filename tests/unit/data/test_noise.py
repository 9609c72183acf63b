"""Noise, and sounds without words."""

import numpy as np
import pytest

from turnout.config import FeatureConfig
from turnout.data.noise import KINDS, draw_sound, noise_bank

LENGTH = 32_000


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("length", [400, 16_000, 96_000])
def test_a_sound_is_finite_within_full_scale_and_the_seed_s(length: int) -> None:
    for seed in range(40):
        sound = draw_sound(length, rng(seed))
        assert sound.shape == (length,) and sound.dtype == np.float32
        assert np.isfinite(sound).all() and np.abs(sound).max() <= 1.0
        np.testing.assert_array_equal(sound, draw_sound(length, rng(seed)))


def test_sounds_are_faint_and_loud() -> None:
    levels = [20 * np.log10(np.std(draw_sound(LENGTH, rng(seed))) + 1e-9) for seed in range(60)]
    assert min(levels) < -50 and max(levels) > -15


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_told_apart_by_where_their_power_lies(kind) -> None:
    peaks = []
    for seed in range(20):
        power = np.abs(np.fft.rfft(kind(LENGTH, rng(seed)))) ** 2
        strongest = np.sort(power)[::-1][:400].sum() / power.sum()
        peaks.append(strongest)
    # The mains and tones are lines in the spectrum; most bursts are broad.
    assert (np.median(peaks) < 0.9) == (kind.__name__ == "bursts")


@pytest.mark.parametrize("kind", ["kaldi", "whisper"])
def test_the_bank_is_white(kind: str) -> None:
    features = FeatureConfig(
        kind=kind,  # type: ignore[arg-type]
        normalization="whisper" if kind == "whisper" else "peak",
    )
    bank = noise_bank(features)
    np.testing.assert_allclose(bank.white.mean(axis=0), 1.0, rtol=1e-3)
    assert (np.diff(bank.band_hz) > 0).all()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        noise = bank.draw(500, bank.white_mean, rng)
        assert noise.shape == (500, 80) and np.isfinite(noise).all() and (noise >= 0).all()
        assert 0.2 < noise.mean() < 5.0
