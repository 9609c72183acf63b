"""A recording through a transcriber, once for its words and once for the expert of every frame.

Reads `Encoded.expert_index`, so any backend will do.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from turnout.audio.features import FRAME_SECONDS
from turnout.config.transcription import TranscriptionOptions
from turnout.decoding.backend import Backend
from turnout.errors import TurnoutError
from turnout.guidance import Guidance, Task
from turnout.inspection.record import Layout, RoutingRecord
from turnout.text.transcript import Transcript
from turnout.transcription.segments import AudioSegment
from turnout.transcription.transcriber import Transcriber


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
    audio = transcriber.listen(source, options, bandwidth=str(transcript.bandwidth))
    guidance = Guidance(
        bandwidth=transcript.bandwidth,
        task=Task.TRANSCRIBE,
        language=transcript.language,
        target_language=transcript.language,
    )
    log_mel, expert_index = trace(transcriber.backend, audio, guidance)
    return RoutingRecord(
        name=source.name,
        log_mel=log_mel,
        expert_index=expert_index,
        guidance=guidance,
        transcript=transcript,
    )


def trace(
    backend: Backend, segments: Iterable[AudioSegment], guidance: Guidance
) -> tuple[Float32[np.ndarray, "frames mels"], Int64[np.ndarray, "feed_forwards hidden"]]:
    """Log-mel and experts of a whole recording: each segment is encoded by itself, and the frames
    of its sound are put where they belong in time.

    Between segments lie the least value there is, and experts -1.
    """
    factor = backend.config.encoder.subsampling_factor
    mels = backend.config.features.num_mels
    placed = [
        (round(segment.start / FRAME_SECONDS), segment.num_frames, segment.log_mel)
        for segment in segments
        if segment.log_mel is not None and segment.num_frames
    ]
    frames = max((first + count for first, count, _ in placed), default=0)
    floor = min((float(log_mel.min(initial=0.0)) for *_, log_mel in placed), default=0.0)
    joined = np.full((frames, mels), floor, np.float32)
    rows = len(Layout.of(backend.config).feed_forwards)
    index = np.full((rows, -(-frames // factor)), -1, np.int64)
    for first, count, log_mel in placed:
        joined[first : first + count] = log_mel[:count]
        # Each alone, at its own length: nothing but its own frames can have a say.
        encoded = backend.encode(log_mel[None], np.ones((1, len(log_mel)), np.bool_), [guidance])
        found = encoded.expert_index[:, 0, encoded.frame_mask[0]][:, : -(-count // factor)]
        # A segment may begin between two hidden frames: it is laid at the nearer, and cut to fit.
        place = index[:, round(first / factor) :][:, : found.shape[1]]
        place[:] = found[:, : place.shape[1]]
    return joined, index
