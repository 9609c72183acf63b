import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.doubles import model_config
from turnout.audio.features import HOP_SAMPLES as FRAME
from turnout.transcription.segments import AudioSegments, cut, is_silent, quietest_point

WINDOW = 16_000


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=length).astype(np.float32)


@given(st.lists(st.integers(0, 12_000), max_size=12), st.integers(1_000, 20_000))
@settings(deadline=None, max_examples=60)
def test_segments_are_the_stream_whatever_its_blocks(lengths: list[int], window: int) -> None:
    samples = noise(sum(lengths))
    blocks = np.split(samples, np.cumsum(lengths)[:-1])
    parts = list(cut(blocks, window))
    assert all(0 < len(part) <= window for part in parts)
    assert np.array_equal(np.concatenate([np.zeros(0), *parts]), samples)
    whole = list(cut([samples], window))
    assert [len(part) for part in whole] == [len(part) for part in parts]


def test_what_fits_is_not_cut() -> None:
    assert [len(part) for part in cut([noise(WINDOW)], WINDOW)] == [WINDOW]


def test_a_pause_is_where_the_cut_falls() -> None:
    samples = noise(2 * WINDOW)
    samples[11_000:15_000] *= 0.01
    (first, *_) = cut([samples], WINDOW)
    assert 11_000 + 1_600 <= len(first) <= 15_000 - 1_600


def test_a_pause_in_the_first_half_is_too_early() -> None:
    samples = noise(2 * WINDOW)
    samples[2_000:6_000] = 0
    (first, *_) = cut([samples], WINDOW)
    assert len(first) >= WINDOW // 2


def test_a_closure_shorter_than_a_pause_does_not_win() -> None:
    samples = noise(WINDOW)
    samples[9_000 : 9_000 + 4 * FRAME] = 0
    samples[11_000:15_000] *= 0.1
    assert 11_000 <= quietest_point(samples) <= 15_000


def test_the_last_of_equally_quiet_points_is_taken() -> None:
    samples = noise(WINDOW)
    samples[9_000:13_000] = 0
    assert 13_000 - 12 * FRAME <= quietest_point(samples) <= 13_000 - 9 * FRAME


def test_memory_is_bounded_by_the_window() -> None:
    longest = 0

    def blocks() -> Iterator[np.ndarray]:
        for _ in range(300):
            yield np.ones(4_000, np.float32)

    for part in cut(blocks(), WINDOW):
        base = part if part.base is None else part.base
        longest = max(longest, base.nbytes // 4)
    assert longest <= WINDOW + 4_000


@pytest.mark.parametrize(
    ("samples", "silent"),
    [
        (np.zeros(0), True),
        (np.zeros(500), True),
        (np.full(500, -0.3), True),
        (np.full(500, 0.3) + 1e-5 * np.sin(np.arange(500)), True),
        (1e-4 * np.sin(np.arange(500)), False),
        (np.full(500, 0.3) + 1e-3 * np.sin(np.arange(500)), False),
        (1e-7 * np.arange(16_000), True),
        (np.repeat([0.0, 0.3], 512), False),
        (np.pad(np.full(1, 0.3), (999, 0)), False),
        (np.full(300, 0.3), True),
    ],
)
def test_silence_is_a_constant_or_drifts_slowly(samples: np.ndarray, silent: bool) -> None:
    assert is_silent(samples.astype(np.float32)) is silent


class Blocks:
    """A recording that is made as it is read: nothing of it lies anywhere."""

    native_rate = 16_000
    warnings = ()

    def __init__(self, silence: np.ndarray, times: int, speech: np.ndarray) -> None:
        self._made = (silence, times, speech)

    def blocks(self) -> Iterator[np.ndarray]:
        silence, times, speech = self._made
        for _ in range(times):
            yield silence.copy()
        yield speech


SECONDS = np.arange(32_000, dtype=np.float32) / 16_000
UNHEARD = {
    "silence": 0 * SECONDS,
    "an offset": 0 * SECONDS + 0.25,
    "a drift": 0.0002 * np.sin(np.pi * SECONDS),
    "half steps": np.repeat(np.resize([0, 1, 2, 1], 125), 256) / 32768,
}


@pytest.mark.parametrize("unheard", UNHEARD)
@pytest.mark.parametrize("speech", [0, 48_000])
def test_an_hour_of_silence_takes_no_memory(unheard: str, speech: int) -> None:
    blocks = Blocks(UNHEARD[unheard].astype(np.float32), 1800, noise(speech))
    tracemalloc.start()
    try:
        parts = list(AudioSegments(blocks, model_config(window_seconds=30.0)))  # type: ignore[arg-type]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert parts[-1].end == 3600 + speech / 16_000
    assert sum(part.log_mel is not None for part in parts) == (speech > 0)
    assert peak < 16_000_000
