import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from tests.doubles import hears_every_sound, model_config
from turnout.audio.bandwidth import is_silent
from turnout.transcription import segments
from turnout.transcription.segments import AudioSegments


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=length).astype(np.float32)


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
def test_silence_takes_no_memory(
    monkeypatch: pytest.MonkeyPatch, unheard: str, speech: int
) -> None:
    if speech:
        monkeypatch.setattr(segments, "finder", hears_every_sound)
    blocks = Blocks(UNHEARD[unheard].astype(np.float32), 600, noise(speech))
    tracemalloc.start()
    try:
        audio = AudioSegments(blocks, model_config(window_seconds=30.0))  # type: ignore[arg-type]
        parts = list(audio)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert audio.duration_seconds == 1200 + speech / 16_000
    assert [part.end for part in parts] == [audio.duration_seconds] * (speech > 0)
    assert peak < 16_000_000
