"""Samples -> where somebody speaks.

Silero's probabilities with hysteresis: speech begins where they reach a threshold, ends where they
fall below a lower one, and counts once it has lasted. Streaming, in bounded memory, and the same
whatever the blocks in which the samples come.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout.audio.silero import BATCH, CHUNK_SAMPLES, SpeechProbabilities

Floats = NDArray[np.float32]
Stretch = tuple[int, int]
"""First sample of speech, and the first behind it."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """When to speak of speech."""

    begins: float
    """Probability from which it begins."""
    ends: float
    """Probability below which it ends."""
    least_chunks: int
    """Of 32 ms, from which it counts."""


STRICT = Thresholds(begins=0.4, ends=0.15, least_chunks=8)
"""For a decoder that would invent words where there are none."""
LENIENT = Thresholds(begins=0.1, ends=0.05, least_chunks=1)
"""For a model that knows silence by itself: no word may be lost, however short or spoilt. Both were
chosen on dev (benchmarks/voice_activity.py)."""


class SpeechFinder:
    """Hears one recording in blocks, mono at 16 kHz, and tells of speech as soon as it is known.

    What it finds are stretches in order, which never overlap; those that touch belong together.
    """

    def __init__(self, thresholds: Thresholds, batch: int = BATCH) -> None:
        """`batch` is how many chunks are waited for before anything is known of them."""
        self._thresholds = thresholds
        self._heard = SpeechProbabilities(batch)
        self._samples = 0
        self._chunks = 0
        self._run = 0
        """Chunks of the speech that goes on, or may have begun."""

    @property
    def known(self) -> int:
        """Samples that are decided: no speech that is found from now on begins before."""
        pending = self._run if self._run < self._thresholds.least_chunks else 0
        return (self._chunks - pending) * CHUNK_SAMPLES

    def add(self, samples: Floats) -> Iterator[Stretch]:
        """The stretches of speech that are known when these samples were heard as well."""
        self._samples += len(samples)
        for probability in self._heard.add(samples).tolist():
            yield from self.decide(probability)

    def finish(self) -> Iterator[Stretch]:
        """The stretches that end with the recording."""
        for probability in self._heard.finish().tolist():
            for begin, end in self.decide(probability):
                yield begin, min(end, self._samples)

    def decide(self, probability: float) -> Iterator[Stretch]:
        """The stretch that the next chunk makes known, if any."""
        self._chunks += 1
        least = self._thresholds.least_chunks
        threshold = self._thresholds.ends if self._run else self._thresholds.begins
        self._run = self._run + 1 if probability >= threshold else 0
        if self._run >= least:
            new = least if self._run == least else 1
            yield (self._chunks - new) * CHUNK_SAMPLES, self._chunks * CHUNK_SAMPLES
