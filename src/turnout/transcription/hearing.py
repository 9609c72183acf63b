"""The first step: a recording -> stretches with features, its bandwidth measured once.

Knows no backend and no request; reads as the stretches are asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from turnout.audio.bandwidth import measure_bandwidth
from turnout.audio.features import SAMPLE_RATE, log_mel
from turnout.audio.waveform import Recording
from turnout.config import ModelConfig
from turnout.guidance import Bandwidth
from turnout.transcription.segments import cut, is_silent

Floats = NDArray[np.float32]

MEASURED_SECONDS = 120.0
"""Of sound, from the beginning on: the bandwidth is measured on it."""


@dataclass(frozen=True)
class Stretch:
    """A part of a recording that the model takes at once; times in seconds."""

    start: float
    end: float
    log_mel: Floats | None
    """[frames, mels]; None where there is nothing to hear."""


class Hearing:
    """A recording that is being listened to; iterate once."""

    def __init__(
        self, recording: Recording, config: ModelConfig, bandwidth: Bandwidth | None = None
    ) -> None:
        self.recording = recording
        self._config = config
        self._bandwidth = bandwidth
        self.duration_seconds = 0.0
        """What was heard so far."""

    @property
    def bandwidth(self) -> Bandwidth:
        """Said or measured; known from the first stretch on."""
        assert self._bandwidth is not None, "nothing was heard yet"
        return self._bandwidth

    def __iter__(self) -> Iterator[Stretch]:
        """Raises AudioError where the recording cannot be taken, perhaps only at its end."""
        window = round(self._config.window_seconds * SAMPLE_RATE)
        stretches = cut(self.recording.blocks(), window)
        held = list(self._measured(stretches)) if self._bandwidth is None else []
        position = 0
        # Stretches are dropped as they are handed out: hours must not gather in memory.
        for samples in chain(drained(held), stretches):
            start = position / SAMPLE_RATE
            position += len(samples)
            self.duration_seconds = position / SAMPLE_RATE
            silent = is_silent(samples)
            features = None if silent else log_mel(samples, self._config.features)
            yield Stretch(start, self.duration_seconds, features)

    def _measured(self, stretches: Iterator[Floats]) -> Iterator[Floats]:
        """The first stretches, until there is sound enough to measure the bandwidth on."""
        heard: list[Floats] = []
        for samples in stretches:
            if is_silent(samples):
                yield np.broadcast_to(samples[:1], samples.shape)  # hours of it take no memory
                continue
            yield samples
            heard.append(samples)
            if sum(map(len, heard)) >= MEASURED_SECONDS * SAMPLE_RATE:
                break
        samples = np.concatenate(heard) if heard else np.zeros(1, dtype=np.float32)
        self._bandwidth = measure_bandwidth(samples, self.recording.native_rate)

    def close(self) -> None:
        """Stop listening."""
        self.recording.close()


def drained(items: list[Floats]) -> Iterator[Floats]:
    """The items from the first to the last, forgotten as they go."""
    items.reverse()
    while items:
        yield items.pop()
