"""The first step: a recording -> segments with features, in bounded memory, its bandwidth measured
once.

Cut at the quietest point of the second half of each window, so that words stay whole. Where the
cuts fall does not depend on the blocks in which the samples come. Knows no backend and no request;
reads as the segments are asked for.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from turnout.audio.bandwidth import FFT_HOP_SAMPLES, STEP, BandwidthMeter
from turnout.audio.features import HOP_SAMPLES, SAMPLE_RATE, model_features, num_frames
from turnout.audio.waveform import Recording
from turnout.config import ModelConfig
from turnout.errors import Cancelled
from turnout.guidance import Bandwidth

Floats = NDArray[np.float32]
IsCancelled = Callable[[], bool]

SMOOTHING_FRAMES = 20
"""Quiet means quiet for 0.2 s: a pause between words, not the closure inside a stop consonant."""


@dataclass(frozen=True)
class AudioSegment:
    """A part of a recording that the model takes at once; times in seconds."""

    start: float
    end: float
    log_mel: Floats | None
    """[frames, mels]; None where there is nothing to hear."""
    num_frames: int
    """Frames of sound: fewer than there are where the features are padded to the window."""


class AudioSegments:
    """The segments of a recording that is being read; iterate once."""

    def __init__(
        self,
        recording: Recording,
        config: ModelConfig,
        bandwidth: Bandwidth | None = None,
        is_cancelled: IsCancelled | None = None,
    ) -> None:
        self.recording = recording
        self._is_cancelled = is_cancelled
        self._config = config
        self._bandwidth = bandwidth
        self.duration_seconds = 0.0
        """What was read so far."""

    @property
    def bandwidth(self) -> Bandwidth:
        """Stated or measured; known from the first segment on."""
        assert self._bandwidth is not None, "nothing was read yet"
        return self._bandwidth

    def __iter__(self) -> Iterator[AudioSegment]:
        """Raises AudioError where the recording cannot be taken, perhaps only at its end, and
        Cancelled."""
        parts = self._parts()
        held = list(self._measured(parts)) if self._bandwidth is None else []
        position = 0
        # Samples are dropped as they are handed out: hours must not gather in memory.
        for samples in chain(drained(held), parts):
            start = position / SAMPLE_RATE
            position += len(samples)
            self.duration_seconds = position / SAMPLE_RATE
            silent = is_silent(samples)
            features = None if silent else model_features(samples, self._config)
            frames = num_frames(len(samples), self._config.features)
            yield AudioSegment(start, self.duration_seconds, features, frames)

    def _parts(self) -> Iterator[Floats]:
        """The samples, cut to the model's window. Whether to go on is asked here, since silence,
        of which nothing is decoded, may last for hours."""
        window = round(self._config.window_seconds * SAMPLE_RATE)
        for samples in cut(self.recording.blocks(), window):
            if self._is_cancelled is not None and self._is_cancelled():
                raise Cancelled("transcription was cancelled")
            yield samples

    def _measured(self, parts: Iterator[Floats]) -> Iterator[Floats]:
        """The first parts, until there is sound enough to measure the bandwidth on."""
        meter = BandwidthMeter(self.recording.native_rate)
        for samples in parts:
            meter.add(samples)
            if is_silent(samples):
                # A copy of the one value: a view would keep the whole buffer, for hours of silence.
                yield np.broadcast_to(samples[:1].copy(), samples.shape)
            else:
                yield samples
            if meter.enough:
                break
        self._bandwidth = meter.bandwidth

    def close(self) -> None:
        """Stop reading."""
        self.recording.close()


def drained(items: list[Floats]) -> Iterator[Floats]:
    """The items from the first to the last, forgotten as they go."""
    items.reverse()
    while items:
        yield items.pop()


def cut(blocks: Iterable[Floats], window: int) -> Iterator[Floats]:
    """Parts of at most `window` samples that together are the stream."""
    buffer = np.zeros(0, dtype=np.float32)
    for block in blocks:
        buffer = np.concatenate((buffer, block))
        while len(buffer) > window:
            point = quietest_point(buffer[:window])
            yield buffer[:point]
            buffer = buffer[point:]
    if len(buffer):
        yield buffer


def quietest_point(samples: Floats) -> int:
    """The quietest point in the second half, the last one where several are."""
    first = len(samples) // 2
    frames = (len(samples) - first) // HOP_SAMPLES
    if frames <= SMOOTHING_FRAMES:
        return len(samples)
    power = np.square(samples[first : first + frames * HOP_SAMPLES].astype(np.float64))
    total = np.concatenate(([0.0], np.cumsum(power.reshape(frames, HOP_SAMPLES).sum(axis=1))))
    smooth = total[SMOOTHING_FRAMES:] - total[:-SMOOTHING_FRAMES]
    # Differences of a running sum are exact to about 1e-12 of it: equal ones must count as equal.
    tied = np.flatnonzero(smooth <= smooth.min() + 1e-9 * total[-1])
    return first + (int(tied[-1]) + SMOOTHING_FRAMES // 2) * HOP_SAMPLES


def is_silent(samples: Floats) -> bool:
    """Whether there is nothing to hear: digital silence, an offset, or one that drifts slowly.

    What is sound here is sound in a frame of the bandwidth's measurement, too, since any hop of it
    lies in one: otherwise hours would be held until there is enough of it.
    """
    if not len(samples):
        return True
    starts = np.arange(0, len(samples), FFT_HOP_SAMPLES // 2)
    highs, lows = (extreme.reduceat(samples, starts) for extreme in (np.maximum, np.minimum))
    highs, lows = np.append(highs, highs[-1]), np.append(lows, lows[-1])
    peaks = np.maximum(highs[1:], highs[:-1]) - np.minimum(lows[1:], lows[:-1])
    return float(peaks.max()) <= STEP
