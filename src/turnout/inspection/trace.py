"""Recordings through a transcriber, with the expert that every frame took on its way to the text.

Reads what `Decoded` tells, so any backend will do; what a backend does not tell stays unknown.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from turnout.audio.waveform import Source
from turnout.config.transcription import TranscriptionOptions
from turnout.decoding.backend import TellsRouting
from turnout.decoding.requests import Decoded, Hypothesis, Utterance
from turnout.decoding.wishes import options_for_model
from turnout.errors import TurnoutError, one_line
from turnout.guidance import Task
from turnout.inspection.labels import Span, letters_of, silent_frames
from turnout.inspection.parts import Part, Way, record_of
from turnout.inspection.record import RoutingRecord
from turnout.progress import Heard as Progress
from turnout.text.transcript import Transcript
from turnout.transcription.recordings import OpenRecording, OpenRecordings, Taken
from turnout.transcription.transcriber import Transcriber


@dataclass(frozen=True)
class Heard:
    """A recording to be inspected."""

    name: str
    source: Source
    speaker: str | None = None
    language: str | None = None
    """That is spoken, where somebody knows it. The model is not told, but its choices count so."""


def inspect_files(
    transcriber: Transcriber,
    sources: Sequence[Path],
    options: TranscriptionOptions,
    told: Progress = lambda _: None,
) -> Iterator[RoutingRecord | TurnoutError]:
    """The routing of each recording, in order, or why it could not be taken."""
    heard = (Heard(one_line(path.name), path) for path in sources)
    return inspect_heard(transcriber, heard, options, told)


def inspect_heard(
    transcriber: Transcriber,
    heard: Iterable[Heard],
    options: TranscriptionOptions,
    told: Progress = lambda _: None,
) -> Iterator[RoutingRecord | TurnoutError]:
    """The routing of each recording, in order, or why it could not be taken. Each is read and
    encoded once, and none is asked for before there is room for it; `told` hears, batch by batch,
    how many seconds of a recording are through.

    The task is to transcribe where the model can, with word times, whatever `options` say. Raises
    GuidanceError and UsageError for options that no recording could be served with.
    """
    return _records(transcriber, heard, way_of(transcriber, options), told)


def way_of(transcriber: Transcriber, options: TranscriptionOptions) -> Way:
    """What is asked of the model; raises GuidanceError and UsageError."""
    config = transcriber.backend.config
    task = "transcribe" if Task.TRANSCRIBE in config.tasks else "translate"
    asked = options_for_model(replace(options, task=task, word_timestamps=True), config)
    tokens_told = isinstance(transcriber.backend, TellsRouting)
    return Way(asked, config, transcriber.tokenizer.decode, tokens_told)


def _records(
    transcriber: Transcriber, heard: Iterable[Heard], way: Way, told: Progress
) -> Iterator[RoutingRecord | TurnoutError]:
    parts: dict[OpenRecording, dict[float, Part | None]] = defaultdict(dict)
    opened: deque[Heard] = deque()

    def sources() -> Iterator[Source]:
        for one in heard:
            opened.append(replace(one, source=b""))  # what is read need not be held twice
            yield one.source

    recordings = OpenRecordings(sources(), way.asked, way.config)
    with closing(recordings):
        while (batch := recordings.take()) or recordings.waiting:
            answers = transcriber.decode([telling(taken) for taken in batch]) if batch else []
            for taken, answer in zip(batch, answers, strict=True):
                # What is decoded anew in two begins where its first half does, and is no text then.
                parts[taken.recording][taken.segment.start] = part_of(taken, answer, way)
            recordings.give(batch, answers)
            if batch:
                told(batch[-1].segment.end)
            for recording, result in zip(
                tuple(recordings.waiting), recordings.finished(), strict=False
            ):
                one, found = opened.popleft(), parts.pop(recording, {})
                if isinstance(result, Transcript):
                    in_time = [part for _, part in sorted(found.items()) if part]
                    record = record_of(one.name, result, in_time, way)
                    spoken = one.language or record.guidance.language
                    known = replace(record.guidance, language=spoken)
                    yield replace(record, speaker=one.speaker, guidance=known)
                else:
                    yield result


def telling(taken: Taken) -> Utterance:
    """The utterance, asked to tell of the decoder's routers too."""
    utterance = taken.utterance
    return replace(utterance, options=replace(utterance.options, decoder_routing=True))


def part_of(taken: Taken, answer: Decoded, way: Way) -> Part | None:
    """The part that a segment's answer tells of, if any."""
    index = answer.expert_index
    if index is None:
        return None
    start, log_mel = taken.segment.start, taken.utterance.log_mel[: taken.utterance.frames]
    part = Part(
        start,
        log_mel.astype(np.float16),  # it is only looked at, and an hour of it is large
        index,
        answer.router_probabilities,
        silent_frames(log_mel, way.factor, index.shape[1]),
        language=answer.language,
    )
    written = [one for one in answer.hypotheses if one.task is way.asked.tasks[0]]
    return with_text(part, written[0], way) if written else part


def with_text(part: Part, hypothesis: Hypothesis, way: Way) -> Part:
    """The part with the letters and tokens of its text."""
    letters = letters_of(hypothesis, way.decode_text, way.frame_seconds)
    tokens = []
    if hypothesis.router_probabilities is not None:
        tokens = tokens_of(hypothesis, part, way)
    return replace(
        part,
        letters=moved(letters, part.start),
        tokens=moved(tokens, part.start),
        token_probabilities=hypothesis.router_probabilities,
    )


def tokens_of(hypothesis: Hypothesis, part: Part, way: Way) -> list[Span]:
    """Each token with its time: where nothing tells, all share the segment's evenly."""
    count, hidden = len(hypothesis.tokens), part.expert_index.shape[1]
    frames = hypothesis.token_frames
    if frames is None:
        edges = np.arange(count + 1) * hidden // max(count, 1)
        frames = np.stack((edges[:-1], edges[1:] - 1))
    return [
        Span(way.decode_text([token]), first * way.frame_seconds, (last + 1) * way.frame_seconds)
        for token, first, last in zip(hypothesis.tokens, *frames.tolist(), strict=True)
    ]


def moved(spans: Iterable[Span], seconds: float) -> tuple[Span, ...]:
    """The spans, later."""
    return tuple(Span(one.text, one.start + seconds, one.end + seconds) for one in spans)
