"""Whole utterances one after the other, until the model's window is full: an encoder that always
hears its whole window, as Whisper's does, would else hear mostly silence.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from turnout.corpora.clips import Clip

MOST_OPEN = 16
"""Windows of a path that are still looked into: of many thousand, no more is gained."""


@dataclass
class Window:
    """One that is being filled."""

    clips: list[int] = field(default_factory=list)
    frames: float = 0.0
    tokens: float = 0.0


@dataclass(frozen=True)
class Room:
    """What one window holds, and what each clip takes of it, the gap behind it included."""

    frames: float
    tokens: float
    frames_of: NDArray[np.float64]
    """[clips]"""
    tokens_of: NDArray[np.float64]
    """[clips]"""


def path_of(clip: Clip) -> tuple[object, ...]:
    """What clips of one window have in common: all that guides to an expert, and what there is to
    be written of them."""
    return clip.language, clip.bandwidth, clip.domain, tuple(sorted(clip.translations))


def packed(order: Iterable[int], clips: Sequence[Clip], room: Room) -> list[tuple[int, ...]]:
    """The clips of each window, in this order; a clip larger than the room has one of its own.

    Each goes into the first window of its path that has room for it, of the last MOST_OPEN.
    """
    windows: list[Window] = []
    open_windows: dict[tuple[object, ...], deque[Window]] = {}
    for clip in order:
        candidates = open_windows.setdefault(path_of(clips[clip]), deque(maxlen=MOST_OPEN))
        frames, tokens = float(room.frames_of[clip]), float(room.tokens_of[clip])
        for window in candidates:
            if window.frames + frames <= room.frames and window.tokens + tokens <= room.tokens:
                break
        else:
            window = Window()
            windows.append(window)
            candidates.append(window)
        window.clips.append(clip)
        window.frames += frames
        window.tokens += tokens
    return [tuple(window.clips) for window in windows]
