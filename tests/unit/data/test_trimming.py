import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.data.trimming import quietest, word_span

RATE = 16_000


def burst(noise: float, first: float = 0.4, last: float = 0.8) -> np.ndarray:
    rng = np.random.default_rng(3)
    time = np.arange(RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 300 * time) * ((time >= first) & (time < last))
    return (tone + noise * rng.standard_normal(RATE)).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 1e-5, 1e-3, 1e-2, 3e-2])
def test_a_word_is_found_whatever_the_noise_floor(noise: float) -> None:
    first, last = word_span(burst(noise))
    assert first / RATE == pytest.approx(0.35, abs=0.03)
    assert last / RATE == pytest.approx(0.85, abs=0.03)


def test_a_click_far_from_the_word_does_not_hold_the_clip_open() -> None:
    samples = burst(1e-4)
    samples[800] = 0.05
    assert word_span(samples)[0] / RATE > 0.3


def test_without_a_word_the_clip_is_kept_whole() -> None:
    rng = np.random.default_rng(0)
    for samples in (np.zeros(8000), np.full(8000, 0.2), 0.1 * rng.standard_normal(8000)):
        assert word_span(samples.astype(np.float32)) == (0, 8000)


def test_a_gentle_swell_is_no_word() -> None:
    noise = np.random.default_rng(0).standard_normal(16_000) * 0.01
    swell = 1.0 + 0.5 * np.sin(np.linspace(0, np.pi, 16_000)) ** 4
    assert word_span((noise * swell).astype(np.float32)) == (0, 16_000)


@settings(deadline=None)
@given(st.integers(0, 4000), st.integers(0, 2**32 - 1), st.booleans())
def test_the_span_lies_inside_the_clip_and_is_never_empty(
    count: int, seed: int, sparse: bool
) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal(count).astype(np.float32)
    samples[rng.random(count) < 0.9 * sparse] = 0.0
    first, last = word_span(samples)
    assert 0 <= first <= last <= count
    assert last > first or count == 0


def test_the_quietest_frames_are_the_background() -> None:
    power = np.full((40, 3), 100.0, np.float32)
    power[:8] = [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(quietest(power), [1.0, 2.0, 3.0])
