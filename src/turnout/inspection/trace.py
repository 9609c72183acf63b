"""Windows of a recording through the encoder -> the expert of every frame, on one time line."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from turnout.decoding.backend import Backend
from turnout.guidance import Guidance
from turnout.inspection.record import HOP_SECONDS, Layout


@dataclass(frozen=True)
class Window:
    """A stretch of a recording as the model takes it."""

    start: float
    """Seconds from the recording's start."""
    log_mel: Float32[np.ndarray, "frames mels"]


@dataclass(frozen=True)
class Trace:
    """A whole recording."""

    log_mel: Float32[np.ndarray, "frames mels"]
    """Between windows, the least value there is."""
    expert_index: Int64[np.ndarray, "feed_forwards hidden"]
    """-1 between windows."""


def trace(backend: Backend, windows: Sequence[Window], guidance: Guidance) -> Trace:
    """Encode each window by itself and put the frames where they belong in time."""
    factor = backend.config.encoder.subsampling_factor
    mels = backend.config.features.num_mels
    starts = [round(window.start / HOP_SECONDS) for window in windows]
    ends = [first + len(window.log_mel) for first, window in zip(starts, windows, strict=True)]
    frames = max(ends, default=0)
    floor = min((float(window.log_mel.min(initial=0.0)) for window in windows), default=0.0)
    joined = np.full((frames, mels), floor, np.float32)
    rows = len(Layout.of(backend.config).feed_forwards)
    index = np.full((rows, -(-frames // factor)), -1, np.int64)
    for first, window in zip(starts, windows, strict=True):
        if len(window.log_mel) == 0:
            continue
        joined[first : first + len(window.log_mel)] = window.log_mel
        found = encode_alone(backend, window, guidance)
        place = index[:, round(first / factor) :][:, : found.shape[1]]
        place[:] = found[:, : place.shape[1]]
    return Trace(joined, index)


def encode_alone(
    backend: Backend, window: Window, guidance: Guidance
) -> Int64[np.ndarray, "feed_forwards hidden"]:
    """The experts of one window's frames, without any batch-mate."""
    mask = np.ones((1, len(window.log_mel)), np.bool_)
    encoded = backend.encode(window.log_mel[None], mask, [guidance])
    return encoded.expert_index[:, 0, encoded.frame_mask[0]]
