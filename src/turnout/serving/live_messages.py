"""What is said over a live stream's WebSocket, beside the sound: JSON, one object a message.

The client's are checked key by key; the server's are made here. This file knows nothing of sockets,
and times are seconds of the whole stream.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from turnout.config import TranscriptionOptions
from turnout.config.plain import from_plain
from turnout.config.transcription import TaskName
from turnout.errors import ConfigError, one_line, shown
from turnout.guidance import Task
from turnout.text.transcript import Transcript, Word

FormatName = Literal["pcm16", "mulaw", "alaw"]

MOST_CHARACTERS = 16_384
"""Of a message: a prompt of a few thousand words has less."""
MOST_BEAMS = 16
"""Of a stream's choosing: the model decodes for others, too."""
SHORTEST_SILENCE_MS, LONGEST_SILENCE_MS = 200, 2000
MILLISECONDS = 3
"""Digits of a second that are told."""
DIGITS = 4
"""Of a probability."""

ENDED = 1000
UNEXPECTED = 1003
UNREADABLE = 1007
REFUSED = 1008
TOO_LARGE = 1009
FAILED = 1011
STOPPING = 1012
BUSY = 1013
REASONS: dict[int, tuple[str, str]] = {
    UNEXPECTED: ("invalid_request_error", "unexpected_message"),
    UNREADABLE: ("invalid_request_error", "unreadable_message"),
    REFUSED: ("invalid_request_error", "refused"),
    TOO_LARGE: ("invalid_request_error", "message_too_large"),
    FAILED: ("server_error", "failed"),
    STOPPING: ("server_error", "server_stopping"),
    BUSY: ("rate_limit_error", "server_busy"),
}
"""Codes with which a WebSocket is closed (RFC 6455 and its registry) -> type and code of the error
that is told before it, as OpenAI's API has them."""


class StreamError(Exception):
    """One stream cannot go on, and is closed with `closing`; the message is one line."""

    def __init__(self, message: str, closing: int, code: str | None = None) -> None:
        super().__init__(one_line(message))
        self.closing = closing
        self.code = code
        """In place of the one that `REASONS` has."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A stream's first message; raises ConfigError for what is not taken."""

    type: Literal["start"]
    key: str | None = None
    """Where the server has keys; it travels here since browsers can send no header with it."""
    model: str | None = None
    format: FormatName = "pcm16"
    """'pcm16' is signed, little endian and mono; 'mulaw' and 'alaw' are G.711."""
    rate: int | None = None
    """Hz; by default 16 kHz, and 8 kHz for G.711, which has no other."""
    task: TaskName = "transcribe"
    language: str | None = "auto"
    to_language: str | None = None
    bandwidth: Literal["auto", "narrowband", "wideband"] = "auto"
    domain: str | None = None
    prompt: str | None = None
    beam_size: int = 1
    words: bool = True
    """Give the transcript's words times."""
    partials: bool = True
    """Tell what is understood while somebody speaks."""
    silence_ms: int = 500
    """Of silence end a turn."""

    def __post_init__(self) -> None:
        if not 1 <= self.beam_size <= MOST_BEAMS:
            raise ConfigError(f"beam_size is {self.beam_size}: it must be 1 to {MOST_BEAMS}")
        if not SHORTEST_SILENCE_MS <= self.silence_ms <= LONGEST_SILENCE_MS:
            raise ConfigError(
                f"silence_ms is {self.silence_ms}: it must be {SHORTEST_SILENCE_MS} to "
                f"{LONGEST_SILENCE_MS}"
            )

        if self.to_language is not None and self.task == "transcribe":
            raise ConfigError(
                "to_language is of a translation, and the task is transcribe: give the task "
                "translate or both, or leave it out"
            )

    @property
    def options(self) -> TranscriptionOptions:
        """Of every turn; raises ConfigError."""
        return TranscriptionOptions(
            task=self.task,
            language=self.language,
            target_language=self.to_language,
            bandwidth=self.bandwidth,
            domain=self.domain,
            initial_prompt=self.prompt,
            beam_size=self.beam_size,
            word_timestamps=self.words,
        )


def read_start(text: str) -> Start:
    """The first message; raises StreamError for what is none."""
    plain = read_object(text)
    if plain.get("type") != "start":
        raise StreamError(
            f"the first message has the type {shown(plain.get('type'))}: it must be "
            '{"type": "start"}, with what is wanted of the stream',
            UNEXPECTED,
        )
    try:
        return from_plain(Start, plain)
    except ConfigError as error:
        raise StreamError(str(error), REFUSED) from error


def check_end(text: str) -> None:
    """Raise StreamError unless this message says that the stream ends."""
    plain = read_object(text)
    if plain.get("type") != "end":
        raise StreamError(
            f"a message has the type {shown(plain.get('type'))}: behind the first one, only sound "
            'in binary messages and {"type": "end"} are taken',
            UNEXPECTED,
        )
    if len(plain) > 1:
        raise StreamError('{"type": "end"} takes no other keys: leave them out', REFUSED)


def read_object(text: str) -> dict[str, Any]:
    """The JSON object of a message; raises StreamError."""
    if len(text) > MOST_CHARACTERS:
        raise StreamError(
            f"a message has {len(text)} characters: at most {MOST_CHARACTERS} are taken", TOO_LARGE
        )
    try:
        plain = json.loads(text)
        text.encode()
        # JSON's escapes can spell half a letter, which nothing behind this could write again.
        json.dumps(plain, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise StreamError(
            "a text message is no JSON: an object such as {'type': 'end'}, in double quotes, is "
            "needed; sound goes into binary messages",
            UNREADABLE,
        ) from error
    if not isinstance(plain, dict):
        raise StreamError(f"a message is {shown(plain)}: an object is needed", UNREADABLE)
    return plain


def written(event: dict[str, Any]) -> str:
    """An event as it is sent."""
    return json.dumps(event, ensure_ascii=False, allow_nan=False)


def error_event(error: StreamError) -> dict[str, Any]:
    """The last event but one of a stream that failed."""
    kind, code = REASONS[error.closing]
    inner = {"message": str(error), "type": kind, "param": None, "code": error.code or code}
    return {"type": "error", "error": inner}


def closed_event(closing: int, reason: str) -> dict[str, Any]:
    """The last event of every stream."""
    return {"type": "closed", "code": closing, "reason": reason}


def final_event(turn: int, begin: float, end: float, transcript: Transcript) -> dict[str, Any]:
    """The text of a turn from its transcript, whose times count from the turn's beginning."""
    both = transcript.translation
    words = (word for segment in transcript.segments for word in segment.words)
    return {
        "type": "final",
        "turn": turn,
        "start": seconds(begin),
        "end": seconds(end),
        "task": str(transcript.task),
        "text": transcript.text,
        "language": transcript.language,
        "language_probability": share(transcript.language_probability),
        "bandwidth": str(transcript.bandwidth),
        "words": [word_entry(word, begin) for word in words],
        "translation": both and {"text": both.text, "language": both.language},
    }


def word_entry(word: Word, begin: float) -> dict[str, Any]:
    """A word of a turn that begins at this second."""
    return {
        "word": word.word,
        "start": seconds(begin + word.start),
        "end": seconds(begin + word.end),
        "probability": share(word.probability),
    }


def seconds(value: float) -> float:
    """As it is told."""
    return round(value, MILLISECONDS)


def share(value: float | None) -> float | None:
    """A probability, as it is told."""
    return None if value is None else round(value, DIGITS)


def warnings_of(turn: int, transcript: Transcript) -> list[dict[str, Any]]:
    """An event for each thing that a listener should know of a turn."""
    return [
        {"type": "warning", "turn": turn, "message": one_line(message)}
        for message in transcript.warnings
    ]


def partial_task(task: TaskName) -> Task:
    """What is told while somebody speaks: the translation only where nothing else is wanted."""
    return Task.TRANSLATE if task == "translate" else Task.TRANSCRIBE
