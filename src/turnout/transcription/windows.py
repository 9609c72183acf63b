"""Samples as they are read -> windows for the model, cut at pauses; what is no speech is left out.

A window is one stretch of the recording, so that one offset gives its times. Regions of speech are
joined into a window as far as they fit, unless a long pause lies between them. What does not fit is
cut at the quietest point of the second half of the window, so that words stay whole and windows are
filled. Windows come in order, never overlap, cover all speech, and do not depend on the blocks in
which the samples come; memory is bounded by the window.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import HOP_SAMPLES, SAMPLE_RATE
from turnout.audio.voice import SpeechFinder

Floats = NDArray[np.float32]

PADDING = round(0.6 * SAMPLE_RATE)
"""Heard before and behind speech: the finder comes late at soft beginnings, and leaves early. With
0.4 s, the shipped model took six words more of 4,746 for others (dev), with 0.6 s two."""
LONGEST_PAUSE = 2 * SAMPLE_RATE
"""Inside a window; more than twice the padding, lest windows meet in it."""
SMOOTHING_FRAMES = 20
"""Quiet means quiet for 0.2 s: a pause between words, not the closure inside a stop consonant."""


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of a recording."""

    begin: int
    """Its first sample, from the recording's beginning."""
    samples: Floats
    spoken: int | None = None
    """How many of them there are up to the end of its last speech, where it was cut because it was
    full; None where a pause or the recording ended it."""


class WindowCutter:
    """Hears one recording in blocks, mono at 16 kHz; gives windows of at most `most` samples, with
    pauses of at most `pause` samples in them."""

    def __init__(self, most: int, finder: SpeechFinder, pause: int = LONGEST_PAUSE) -> None:
        self._most = most
        self._finder = finder
        self._pause = pause
        self._behind = min(PADDING, pause)
        """Heard behind speech: no more than was there when the pause was known."""
        self._held = np.zeros(0, np.float32)
        self._first = 0
        """Position of the first sample that is held."""
        self._begin: int | None = None
        """Of the window in the making; None between two."""
        self._end = 0
        """Of the last speech."""
        self._runs: list[list[int]] = []
        """First sample of each run of speech in the window in the making, and the one behind it."""
        self._done = 0
        """Where the last window ended."""

    @property
    def unfinished(self) -> Window | None:
        """The window in the making, up to the last sample that was heard."""
        if self._begin is None:
            return None
        end = min(self._begin + self._most, self._first + len(self._held))
        return Window(self._begin, self._samples(self._begin, end).copy())

    @property
    def silence(self) -> int:
        """Samples behind the last speech that are known to be none."""
        return self._finder.known - self._end

    def add(self, samples: Floats) -> Iterator[Window]:
        """The windows that are known when these samples were heard as well."""
        self._held = np.concatenate((self._held, samples))
        for begin, end in self._finder.add(samples):
            yield from self._speech(begin, end)
        if self._begin is not None and self.silence > self._pause:
            yield self._closed()
        keep = self._before(self._finder.known) if self._begin is None else self._begin
        # A copy: a view would keep what was before it in memory.
        self._held = self._held[keep - self._first :].copy()
        self._first = keep

    def finish(self) -> Iterator[Window]:
        """The windows that end with the recording."""
        for begin, end in self._finder.finish():
            yield from self._speech(begin, end)
        if self._begin is not None:
            yield self._closed()

    def _speech(self, begin: int, end: int) -> Iterator[Window]:
        """The windows that more speech makes known."""
        if self._begin is not None and begin - self._end > self._pause:
            yield self._closed()
        if self._begin is None:
            self._begin = self._before(begin)
        if self._runs and begin <= self._runs[-1][1]:
            self._runs[-1][1] = end
        else:
            self._runs.append([begin, end])
        self._end = end
        while end - self._begin > self._most:
            window = self._samples(self._begin, self._begin + self._most)
            point = self._begin + quietest_point(window)
            yield self._taken(self._begin, point, self._spoken_until(point))
            self._begin = point
            self._runs = [run for run in self._runs if run[1] > point]

    def _closed(self) -> Window:
        """The window in the making, up to a little behind its last speech."""
        assert self._begin is not None
        there = self._first + len(self._held)
        end = min(self._end + self._behind, self._begin + self._most, there)
        window = self._taken(self._begin, end)
        self._begin = None
        self._runs.clear()
        return window

    def _before(self, speech: int) -> int:
        """Where a window begins whose speech begins here, on the grid of the features, lest the
        same sound give other frames."""
        return max(self._done, (speech - PADDING) // HOP_SAMPLES * HOP_SAMPLES)

    def _spoken_until(self, point: int) -> int:
        """Where speech ends that begins before this point of the window, which may go on there."""
        ends = [end for begin, end in self._runs if begin < point]
        return min(ends[-1], point) if ends else point

    def _taken(self, begin: int, end: int, spoken: int | None = None) -> Window:
        self._done = end
        samples = self._samples(begin, end).copy()
        return Window(begin, samples, None if spoken is None else spoken - begin)

    def _samples(self, begin: int, end: int) -> Floats:
        return self._held[begin - self._first : end - self._first]


def quietest_point(samples: Floats, first: int | None = None) -> int:
    """The quietest point from sample `first` on (by default in the second half), the last one where
    several are."""
    first = len(samples) // 2 if first is None else first
    frames = (len(samples) - first) // HOP_SAMPLES
    if frames <= SMOOTHING_FRAMES:
        return len(samples)
    power = np.square(samples[first : first + frames * HOP_SAMPLES].astype(np.float64))
    total = np.concatenate(([0.0], np.cumsum(power.reshape(frames, HOP_SAMPLES).sum(axis=1))))
    smooth = total[SMOOTHING_FRAMES:] - total[:-SMOOTHING_FRAMES]
    # Differences of a running sum are exact to about 1e-12 of it: equal ones must count as equal.
    tied = np.flatnonzero(smooth <= smooth.min() + 1e-9 * total[-1])
    return first + (int(tied[-1]) + SMOOTHING_FRAMES // 2) * HOP_SAMPLES
