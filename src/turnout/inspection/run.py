"""A recording through a transcriber, once for its words and once for its routing."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from turnout.config.transcription import TranscriptionOptions
from turnout.errors import TurnoutError
from turnout.guidance import Guidance, Task
from turnout.inspection.record import RoutingRecord
from turnout.inspection.trace import Window, trace
from turnout.text.transcript import Transcript
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
    segments = transcriber.listen(source, options, bandwidth=str(transcript.bandwidth))
    windows = [
        Window(segment.start, segment.log_mel)
        for segment in segments
        if segment.log_mel is not None
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
