"""A recording through a transcriber, once for its words and once for the expert of every frame.

Reads `Encoded.expert_index`, so any backend will do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from turnout.config.transcription import TranscriptionOptions
from turnout.decoding.backend import Backend
from turnout.errors import TurnoutError
from turnout.guidance import Guidance, Task
from turnout.inspection.record import HOP_SECONDS, Layout, RoutingRecord
from turnout.text.transcript import Transcript
from turnout.transcription.transcriber import Transcriber


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


def inspect_files(
    transcriber: Transcriber, sources: Sequence[Path], options: TranscriptionOptions
) -> Iterator[RoutingRecord | TurnoutError]:
    """The routing of each recording, in order, or why it could not be taken.

    The task is to transcribe, with word times, whatever `options` say. Raises GuidanceError and
    UsageError for options that no recording could be served with.
    """
    asked = replace(options, task="transcribe", word_timestamps=True)
    for source, result in zip(sources, transcriber.transcribe_files(sources, asked), strict=True):
        if isinstance(result, TurnoutError):
            yield result
            continue
        try:
            yield _record(transcriber, source, result, asked)
        except TurnoutError as error:
            yield error


def _record(
    transcriber: Transcriber, source: Path, transcript: Transcript, options: TranscriptionOptions
) -> RoutingRecord:
    """Raises AudioError, GuidanceError."""
    heard = transcriber.listen(source, options, bandwidth=str(transcript.bandwidth))
    windows = [
        Window(stretch.start, stretch.log_mel) for stretch in heard if stretch.log_mel is not None
    ]
    guidance = Guidance(
        bandwidth=transcript.bandwidth,
        task=Task.TRANSCRIBE,
        language=transcript.language,
        target_language=transcript.language,
    )
    found = trace(transcriber.backend, windows, guidance)
    return RoutingRecord(
        name=source.name,
        log_mel=found.log_mel,
        expert_index=found.expert_index,
        guidance=guidance,
        transcript=transcript,
    )


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
        # A window may begin between two hidden frames: it is laid at the nearer, and cut to fit.
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
