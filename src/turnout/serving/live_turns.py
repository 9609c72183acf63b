"""Live samples -> turns: somebody speaks, then is silent. And of the texts of a turn that goes on,
the part that stays.

A turn is what a recording's window is (`transcription/windows.py`), only that a shorter pause ends
it and that less is waited for before speech is known; what tells speech is the same. This file
knows nothing of sockets or models.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE
from turnout.audio.silero import CHUNK_SAMPLES
from turnout.audio.voice import STRICT, SpeechFinder
from turnout.text.spacing import spaced
from turnout.transcription.windows import Window, WindowCutter

Floats = NDArray[np.float32]

CHUNKS_AT_ONCE = 2
"""64 ms, by which speech is known later than it could be, and so is its end."""
STEP_SAMPLES = CHUNKS_AT_ONCE * CHUNK_SAMPLES
LONGEST_TURN_SECONDS = 20.0
"""Who speaks on is cut at a pause, as a recording is: below the windows of all models that we know,
and no more than somebody wants to wait for a text that stays."""


@dataclass(frozen=True, eq=False)
class TurnBegan:
    """Somebody speaks."""

    number: int
    begin: int
    """The turn's first sample, from the stream's beginning."""

    @property
    def start_seconds(self) -> float:
        """From the stream's beginning."""
        return self.begin / SAMPLE_RATE


@dataclass(frozen=True, eq=False)
class Turn:
    """What somebody said, or has said so far."""

    number: int
    begin: int
    samples: Floats
    """Mono at 16 kHz, with a little of what was before and behind it."""

    @property
    def start_seconds(self) -> float:
        """From the stream's beginning."""
        return self.begin / SAMPLE_RATE

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / SAMPLE_RATE

    @property
    def end_seconds(self) -> float:
        """From the stream's beginning."""
        return self.start_seconds + self.seconds


class TurnFinder:
    """Hears one stream in blocks; what it finds does not depend on where they are cut, and memory
    is bounded by the longest turn."""

    def __init__(self, silence_seconds: float, finder: SpeechFinder | None = None) -> None:
        self._cutter = WindowCutter(
            round(LONGEST_TURN_SECONDS * SAMPLE_RATE),
            finder or SpeechFinder(STRICT, CHUNKS_AT_ONCE),
            round(silence_seconds * SAMPLE_RATE),
        )
        self._number = -1
        self._told: int | None = None
        """Where the turn began that was told of and has not ended."""
        self.heard = 0
        """Samples so far."""

    @property
    def spoken(self) -> int:
        """Samples of the turn that goes on, so far."""
        return 0 if self._told is None else self.heard - self._told

    @property
    def silence(self) -> int:
        """Samples behind the last speech, as far as is known."""
        return self._cutter.silence

    @property
    def unfinished(self) -> Turn | None:
        """The turn that goes on, if one does."""
        window = self._cutter.unfinished
        if self._told is None or window is None:
            return None
        return Turn(self._number, window.begin, window.samples)

    def hear(self, samples: Floats) -> list[TurnBegan | Turn]:
        """What is known when these were heard as well; a Turn that is told has ended."""
        self.heard += len(samples)
        found = list(self._ended(self._cutter.add(samples)))
        if self._told is None and (window := self._cutter.unfinished) is not None:
            found.append(self._began(window.begin))
        return found

    def finish(self) -> list[TurnBegan | Turn]:
        """What ends with the stream."""
        return list(self._ended(self._cutter.finish()))

    def _ended(self, windows: Iterator[Window]) -> Iterator[TurnBegan | Turn]:
        for window in windows:
            if self._told is None:
                yield self._began(window.begin)
            self._told = None
            yield Turn(self._number, window.begin, window.samples)

    def _began(self, begin: int) -> TurnBegan:
        self._number += 1
        self._told = begin
        return TurnBegan(self._number, begin)


class StableText:
    """The texts of one turn as it goes on: what two in a row agree on, from the beginning, stays.

    LocalAgreement with n = 2: Liu et al. 2020 (arXiv 2005.11185), as Machacek et al. 2023 (arXiv
    2307.14743) use it with Whisper; here in words, or letters where a language has no spaces.
    """

    def __init__(self) -> None:
        self._stable: list[str] = []
        self._before: list[str] = []

    def add(self, text: str, language: str | None) -> tuple[str, str]:
        """What is shown of this text, and the part of it, from its beginning, that stays."""
        pieces = re.findall(r"\s*\S+", text) if spaced(language) else list(text)
        # What stays has been read by somebody: a text that takes it back counts from there on.
        shown = self._stable + pieces[len(self._stable) :]
        pairs = zip(shown, self._before, strict=False)
        agreed = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        self._stable, self._before = shown[: max(agreed, len(self._stable))], shown
        return "".join(shown), "".join(self._stable)
