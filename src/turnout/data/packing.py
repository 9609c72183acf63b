"""Whole utterances one after the other, until the model's window is full: an encoder that always
hears its whole window, as Whisper's does, would else hear mostly silence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout.corpora.clips import Clip


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
    return clip.language, clip.bandwidth, tuple(sorted(clip.translations))


def packed(order: Iterable[int], clips: Sequence[Clip], room: Room) -> list[tuple[int, ...]]:
    """The clips of each window, in this order; a clip larger than the room has one of its own.

    The window of each path stays open until the next clip of that path does not fit into it.
    """
    windows: list[list[int]] = []
    open_windows: dict[tuple[object, ...], tuple[list[int], float, float]] = {}
    for clip in order:
        path = path_of(clips[clip])
        window, frames, tokens = open_windows.get(path, ([], 0.0, 0.0))
        frames += float(room.frames_of[clip])
        tokens += float(room.tokens_of[clip])
        if not window or frames > room.frames or tokens > room.tokens:
            window = []
            frames, tokens = float(room.frames_of[clip]), float(room.tokens_of[clip])
            windows.append(window)
        window.append(clip)
        open_windows[path] = window, frames, tokens
    return [tuple(window) for window in windows]
