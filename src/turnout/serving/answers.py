"""A transcript -> the body of an answer: json, text, srt, verbose_json, vtt as OpenAI has them.

What OpenAI has not is beside what it has: bandwidth, warnings, a second text. Numbers that a model
does not give stand as 0, since typed clients want numbers: only Whisper's have `no_speech_prob`.
"""

import json
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

from starlette.responses import Response

from turnout.decoding.requests import compression_ratio
from turnout.guidance import Task
from turnout.serving.forms import Asked
from turnout.text.transcript import Segment, Transcript
from turnout.text.writers import render, row

SEEKS_PER_SECOND = 100
"""Whisper counts in frames."""
MEDIA_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt"}
NO_WORDS = "words have times in transcripts alone: a translation's have none"
TokenTexts = Callable[[Segment], Sequence[bytes]]


def answer(asked: Asked, transcript: Transcript, token_texts: TokenTexts) -> Response:
    """The whole answer; `token_texts` says what each token of a segment spells."""
    if asked.format == "json":
        return as_json(brief(asked, transcript, token_texts))
    if asked.format == "verbose_json":
        return as_json(verbose(asked, transcript))
    if asked.format == "text":
        return Response(f"{row(transcript.text)}\n", media_type="text/plain")
    content = render(transcript, asked.format)
    return Response(
        content, headers={"Content-Type": f"{MEDIA_TYPES[asked.format]}; charset=utf-8"}
    )


def as_json(content: dict[str, Any]) -> Response:
    """JSON as clients read it."""
    return Response(dumped(content), media_type="application/json")


def dumped(content: dict[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def brief(asked: Asked, transcript: Transcript, token_texts: TokenTexts) -> dict[str, Any]:
    """OpenAI's `Transcription`."""
    content: dict[str, Any] = {"text": transcript.text}
    if asked.logprobs:
        found = transcript.segments
        content["logprobs"] = [one for s in found for one in logprobs(s, token_texts)]
    if transcript.translation is not None:
        translation = transcript.translation
        content["translation"] = {"text": translation.text, "language": translation.language}
    return {**content, **remarks(asked, transcript), "usage": usage(transcript)}


def verbose(asked: Asked, transcript: Transcript) -> dict[str, Any]:
    """OpenAI's `TranscriptionVerbose`, or `TranslationVerbose`."""
    content: dict[str, Any] = {
        "task": transcript.task.value,
        "language": transcript.language or "unknown",
        "duration": transcript.duration_seconds,
        "text": transcript.text,
    }
    if asked.segments:
        content["segments"] = [segment_entry(asked, one) for one in transcript.segments]
    if asked.words:
        content["words"] = [word for one in transcript.segments for word in words(one)]
    content["bandwidth"] = transcript.bandwidth.value
    if transcript.language_probability is not None:
        content["language_probability"] = transcript.language_probability
    if transcript.translation is not None:
        translated = verbose(asked, transcript.translation)
        wanted = ("task", "language", "text", "segments")
        content["translation"] = {name: translated[name] for name in wanted if name in translated}
    return {**content, **remarks(asked, transcript), "usage": usage(transcript)}


def segment_entry(asked: Asked, segment: Segment) -> dict[str, Any]:
    """OpenAI's `TranscriptionSegment`."""
    ratio = segment.compression_ratio
    entry: dict[str, Any] = {
        "id": segment.id,
        "seek": round(segment.start * SEEKS_PER_SECOND),
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": segment.temperature or 0.0,
        "avg_logprob": finite(segment.avg_logprob),
        "compression_ratio": compression_ratio(segment.text) if ratio is None else finite(ratio),
        "no_speech_prob": finite(segment.no_speech_prob),
    }
    if asked.words:
        entry["words"] = words(segment)
    return entry


def words(segment: Segment) -> list[dict[str, Any]]:
    """OpenAI's `TranscriptionWord`s, with how sure the model is."""
    return [
        {"word": word.word, "start": word.start, "end": word.end}
        | ({} if word.probability is None else {"probability": word.probability})
        for word in segment.words
    ]


def logprobs(segment: Segment, token_texts: TokenTexts) -> list[dict[str, Any]]:
    """OpenAI's `Logprob` of each token of a segment."""
    spelled = token_texts(segment)
    return [
        {"token": text.decode("utf-8", "replace"), "bytes": list(text), "logprob": finite(value)}
        for text, value in zip(spelled, segment.token_logprobs, strict=True)
    ]


def remarks(asked: Asked, transcript: Transcript) -> dict[str, Any]:
    """What a listener should know, where there is something."""
    warnings = list(transcript.warnings)
    if asked.words and transcript.task is Task.TRANSLATE:
        warnings.append(NO_WORDS)
    return {"warnings": warnings} if warnings else {}


def usage(transcript: Transcript) -> dict[str, Any]:
    """What was heard, in seconds."""
    return {"type": "duration", "seconds": round(transcript.duration_seconds, 3)}


def finite(value: float | None) -> float:
    """A number that JSON can carry."""
    return value if value is not None and isfinite(value) else 0.0
