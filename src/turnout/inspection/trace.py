"""Recordings through a transcriber, with the expert that every frame took on its way to the text.

Reads `Decoded.expert_index`, so any backend will do.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from turnout.audio.features import FRAME_SECONDS
from turnout.config import ModelConfig
from turnout.config.transcription import TranscriptionOptions
from turnout.decoding.requests import Decoded
from turnout.decoding.wishes import options_for_model
from turnout.errors import TurnoutError, one_line
from turnout.guidance import Guidance, Task, Window
from turnout.inspection.record import Layout, RoutingRecord
from turnout.text.transcript import Transcript
from turnout.transcription.recordings import OpenRecording, OpenRecordings, Taken
from turnout.transcription.transcriber import Transcriber


@dataclass(frozen=True)
class Part:
    """What a segment did inside the encoder."""

    start: float
    """In seconds."""
    log_mel: Float32[np.ndarray, "frames mels"]
    """Of its sound alone."""
    expert_index: Int64[np.ndarray, "feed_forwards hidden"]


def inspect_files(
    transcriber: Transcriber, sources: Sequence[Path], options: TranscriptionOptions
) -> Iterator[RoutingRecord | TurnoutError]:
    """The routing of each recording, in order, or why it could not be taken. Each is read and
    encoded once.

    The task is to transcribe where the model can, with word times, whatever `options` say. Raises
    GuidanceError and UsageError for options that no recording could be served with.
    """
    config = transcriber.backend.config
    task = "transcribe" if Task.TRANSCRIBE in config.tasks else "translate"
    asked = options_for_model(replace(options, task=task, word_timestamps=True), config)
    return _records(transcriber, sources, OpenRecordings(sources, asked, config), asked)


def _records(
    transcriber: Transcriber,
    sources: Sequence[Path],
    recordings: OpenRecordings,
    asked: TranscriptionOptions,
) -> Iterator[RoutingRecord | TurnoutError]:
    parts: dict[OpenRecording, list[Part]] = defaultdict(list)
    names = iter(sources)
    with closing(recordings):
        while (batch := recordings.take()) or recordings.waiting:
            answers = transcriber.decode([taken.utterance for taken in batch]) if batch else []
            for taken, answer in zip(batch, answers, strict=True):
                parts[taken.recording] += part_of(taken, answer)
            recordings.give(batch, answers)
            for recording, result in zip(
                tuple(recordings.waiting), recordings.finished(), strict=False
            ):
                name, found = one_line(next(names).name), parts.pop(recording, [])
                if isinstance(result, Transcript):
                    yield record_of(name, result, found, asked, transcriber.backend.config)
                else:
                    yield result


def part_of(taken: Taken, answer: Decoded) -> list[Part]:
    """The part that a segment's answer tells of, if any."""
    if answer.expert_index is None:
        return []
    log_mel = taken.utterance.log_mel[: taken.utterance.frames]
    return [Part(taken.segment.start, log_mel, answer.expert_index)]


def record_of(
    name: str,
    transcript: Transcript,
    parts: Sequence[Part],
    asked: TranscriptionOptions,
    config: ModelConfig,
) -> RoutingRecord:
    """What became of a recording, with its parts laid out."""
    log_mel, expert_index = laid_out(parts, config)
    guidance = Guidance(
        bandwidth=transcript.bandwidth,
        task=transcript.task,
        language=transcript.language,
        target_language=transcript.language,
        domain=asked.domain or config.domains[0],
        window=Window(asked.window),
    )
    return RoutingRecord(
        name=name,
        log_mel=log_mel,
        expert_index=expert_index,
        guidance=guidance,
        transcript=transcript,
        decoder_index=written(transcript, guidance, expert_index.shape[1], config),
    )


def written(
    transcript: Transcript, guidance: Guidance, hidden: int, config: ModelConfig
) -> Int64[np.ndarray, "feed_forwards hidden"]:
    """The decoder's expert, which guidance chose, in the frames of each word, or of each segment
    whose words have no times; -1 between them."""
    layout = Layout.of(config, "decoder")
    index = np.full((len(layout.feed_forwards), hidden), -1, np.int64)
    if not layout.feed_forwards or not transcript.segments:
        return index
    expert = config.expert_map(config.decoder.routing).index(guidance)
    for segment in transcript.segments:
        for span in segment.words or (segment,):
            first, last = (round(time / layout.frame_seconds) for time in (span.start, span.end))
            index[:, first : max(last, first + 1)] = expert
    return index


def laid_out(
    parts: Sequence[Part], config: ModelConfig
) -> tuple[Float32[np.ndarray, "frames mels"], Int64[np.ndarray, "feed_forwards hidden"]]:
    """Log-mel and experts of a whole recording, each part where it belongs in time.

    Between them lie the least value there is, and experts -1.
    """
    factor, mels = config.encoder.subsampling_factor, config.features.num_mels
    placed = [(round(part.start / FRAME_SECONDS), part) for part in parts]
    frames = max((first + len(part.log_mel) for first, part in placed), default=0)
    floor = min((float(part.log_mel.min(initial=0.0)) for part in parts), default=0.0)
    joined = np.full((frames, mels), floor, np.float32)
    rows = len(Layout.of(config).feed_forwards)
    index = np.full((rows, -(-frames // factor)), -1, np.int64)
    for first, part in placed:
        joined[first : first + len(part.log_mel)] = part.log_mel
        # A segment may begin between two hidden frames: it is laid at the nearer, and cut to fit.
        place = index[:, round(first / factor) :][:, : part.expert_index.shape[1]]
        place[:] = part.expert_index[:, : place.shape[1]]
    return joined, index
