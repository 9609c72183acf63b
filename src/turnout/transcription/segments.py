"""The first step: a recording -> segments with features, in bounded memory, its bandwidth measured
once.

Segments hold speech, and are cut at pauses: `windows.py` says where. Where the cuts fall does not
depend on the blocks in which the samples come. Knows no backend and no request; reads as the
segments are asked for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from turnout.audio.bandwidth import BandwidthMeter, is_silent
from turnout.audio.features import SAMPLE_RATE, model_features, num_frames
from turnout.audio.voice import LENIENT, STRICT, SpeechFinder
from turnout.audio.waveform import Recording
from turnout.config import ModelConfig
from turnout.errors import Cancelled
from turnout.guidance import Bandwidth, Window
from turnout.transcription.windows import Window as Cut
from turnout.transcription.windows import WindowCutter, quietest_point

PARTING = round(1.2 * SAMPLE_RATE)
"""Behind the last word that was written: its end, and the pause at which its text stopped; before
the first, likewise, its beginning and a pause."""

Floats = NDArray[np.float32]
IsCancelled = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class AudioSegment:
    """A part of a recording that the model takes at once; times in seconds."""

    start: float
    end: float
    samples: Floats | None
    """Mono at 16 kHz; None once they were decoded."""
    log_mel: Floats | None
    """[frames, mels]; None once they were handed to the decoder."""
    num_frames: int
    """Frames of sound: fewer than there are where the features are padded to the window."""
    spoken: float | None = None
    """From its start until its last speech ends, in seconds, where it was cut because the window
    was full; None where it ends otherwise, or nothing is known of that."""

    @classmethod
    def of(
        cls, begin: int, samples: Floats, config: ModelConfig, window: Window = Window.PADDED
    ) -> "AudioSegment":
        """Samples that begin at this one of the recording, as the model takes them."""
        end = begin + len(samples)
        frames = num_frames(len(samples), config.features)
        features = model_features(samples, config, window)
        return cls(begin / SAMPLE_RATE, end / SAMPLE_RATE, samples, features, frames)

    def halves(
        self, config: ModelConfig, window: Window = Window.PADDED
    ) -> "tuple[AudioSegment, AudioSegment]":
        """The same sound in two, cut at the quietest point of its middle half."""
        assert self.samples is not None, "it was decoded already"
        length = len(self.samples)
        point = quietest_point(self.samples[: 3 * length // 4], length // 4)
        return self._cut(point, config, window)

    def parted(
        self, heard: float, config: ModelConfig, window: Window = Window.PADDED
    ) -> "tuple[AudioSegment, AudioSegment]":
        """The same sound in two, cut at the quietest point of the second or so behind what was
        `heard` of it, in seconds."""
        assert self.samples is not None, "it was decoded already"
        first = round(heard * SAMPLE_RATE)
        return self._cut(quietest_point(self.samples[: first + PARTING], first), config, window)

    def parted_before(
        self, heard: float, config: ModelConfig, window: Window = Window.PADDED
    ) -> "tuple[AudioSegment, AudioSegment]":
        """The same, cut in the second or so before what was `heard`, which is later than that."""
        return self.parted(heard - PARTING / SAMPLE_RATE, config, window)

    def _cut(
        self, point: int, config: ModelConfig, window: Window
    ) -> "tuple[AudioSegment, AudioSegment]":
        assert self.samples is not None
        begin = round(self.start * SAMPLE_RATE)
        first, second = np.split(self.samples, [point])
        behind = AudioSegment.of(begin + point, second, config, window)
        spoken = None if self.spoken is None else max(self.spoken - point / SAMPLE_RATE, 0.0)
        return AudioSegment.of(begin, first, config, window), replace(behind, spoken=spoken)


class AudioSegments:
    """The segments of a recording that is being read; iterate once."""

    def __init__(
        self,
        recording: Recording,
        config: ModelConfig,
        bandwidth: Bandwidth | None = None,
        is_cancelled: IsCancelled | None = None,
        *,
        window: Window = Window.PADDED,
    ) -> None:
        self.recording = recording
        self._window = window
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
        """Those with speech; raises AudioError where the recording cannot be taken, perhaps only at
        its end, and Cancelled."""
        blocks = self._blocks()
        held = list(self._measured(blocks)) if self._bandwidth is None else []
        cutter = WindowCutter(
            round(self._config.window_seconds * SAMPLE_RATE), finder(self._config)
        )
        length = 0
        # Samples are dropped as they are handed out: hours must not gather in memory.
        for samples in chain(drained(held), blocks):
            length += len(samples)
            self.duration_seconds = length / SAMPLE_RATE
            for window in cutter.add(samples):
                yield self._segment(window)
        for window in cutter.finish():
            yield self._segment(window)

    def _segment(self, found: Cut) -> AudioSegment:
        segment = AudioSegment.of(found.begin, found.samples, self._config, self._window)
        spoken = None if found.spoken is None else found.spoken / SAMPLE_RATE
        return replace(segment, spoken=spoken)

    def _blocks(self) -> Iterator[Floats]:
        """The samples. Whether to go on is asked here, since silence, of which nothing is decoded,
        may last for hours."""
        for samples in self.recording.blocks():
            if self._is_cancelled is not None and self._is_cancelled():
                raise Cancelled("transcription was cancelled")
            yield samples

    def _measured(self, blocks: Iterator[Floats]) -> Iterator[Floats]:
        """The first blocks, until there is sound enough to measure the bandwidth on."""
        meter = BandwidthMeter(self.recording.native_rate)
        for samples in blocks:
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


def finder(config: ModelConfig) -> SpeechFinder:
    """In doubt it hears, where CTC knows silence by itself; a decoder alone would invent words."""
    return SpeechFinder(LENIENT if config.ctc else STRICT)


def drained(items: list[Floats]) -> Iterator[Floats]:
    """The items from the first to the last, forgotten as they go."""
    items.reverse()
    while items:
        yield items.pop()
