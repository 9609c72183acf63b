"""What a request is told when it cannot be served: OpenAI's errors, of one line each.

Bad input is always a 4xx; what the server lacks (room, time to stop, a model that loads) a 503.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from starlette.responses import Response

from turnout.audio.waveform import RAISE_IT
from turnout.errors import (
    AudioError,
    AudioTooLong,
    Busy,
    Cancelled,
    EngineError,
    FetchError,
    MissingExtra,
    ModelFolderError,
    ModelUnavailable,
    Stopping,
    StorageError,
    TookTooLong,
    UnknownModel,
    UsageError,
    one_line,
)

MISTAKE = "the server made a mistake; its log says which"
NO_MODEL = "this model cannot be loaded now; the server's log says why"
NO_ROOM = "the server has no room for this request now: try again later"
INVALID = "invalid_request_error"
SERVER = "server_error"
NOT_AGAIN = {"x-should-retry": "false"}
"""OpenAI's clients send again what has failed with a 5xx, an hour's recording as well."""
CHANNEL = re.compile(r", or choose channel \d+$")
RETRY_SECONDS = 5
"""After which a client is told to come again, where nobody knows better."""


class Gone(Exception):
    """The client has left: nobody reads an answer."""

    status = 499
    """As other servers write it into their logs."""


class Refused(Exception):
    """A request gets this status, and a message of one line."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = one_line(message)
        self.code = code
        self.param = param
        """The field that is wrong."""
        self.headers = dict(headers or {})

    def to_json(self) -> dict[str, object]:
        """OpenAI's error."""
        kind = "rate_limit_error" if self.status == 429 else INVALID
        return {
            "message": self.message,
            "type": SERVER if self.status >= 500 else kind,
            "param": self.param,
            "code": self.code,
        }

    def response(self) -> Response:
        """The answer."""
        content = json.dumps({"error": self.to_json()})
        return Response(content, self.status, self.headers, "application/json")


@dataclass(frozen=True)
class Rule:
    """What is made of errors of a kind."""

    status: int
    code: str | None = None
    param: str | None = None
    message: str | Callable[[Any], str] | None = None
    """In place of the error's own, which may name folders of the server, or what only its operator
    can do; or what is made of the error."""
    may_try_again: bool = True
    """Of a 429 or 503: whether the same request may be taken later."""


def too_long(error: AudioTooLong) -> str:
    """In words of those who cannot allow more."""
    return str(error).removesuffix(RAISE_IT) + ", or send it in parts"


def without_choice(error: AudioError) -> str:
    """In words of those who send a form, which has no field for a channel."""
    return CHANNEL.sub("", str(error))


def not_installed(error: MissingExtra) -> str:
    """In words of those who cannot install it."""
    return (
        f"{error.what} needs what this server lacks: send WAV, FLAC, Ogg, Opus or MP3, or do "
        "without"
    )


NOT_LOADED = Rule(503, "model_unavailable", message=NO_MODEL, may_try_again=False)
RULES: Mapping[type[Exception], Rule] = {
    UnknownModel: Rule(404, "model_not_found", "model"),
    Busy: Rule(429, "server_busy"),
    Stopping: Rule(503, "server_stopping"),
    TookTooLong: Rule(503, "took_too_long", may_try_again=False),
    EngineError: Rule(500, "engine_error"),
    AudioTooLong: Rule(413, "audio_too_long", "file", too_long),
    AudioError: Rule(400, "invalid_audio", "file", without_choice),
    MissingExtra: Rule(415, "unsupported_format", "file", not_installed),
    UsageError: Rule(400),
    ModelUnavailable: NOT_LOADED,
    ModelFolderError: NOT_LOADED,
    FetchError: NOT_LOADED,
    StorageError: Rule(503, "no_room", message=NO_ROOM),
    OSError: Rule(503, "no_room", message=NO_ROOM),
    MemoryError: Rule(503, "no_room", message=NO_ROOM),
    Cancelled: Rule(503, "ended"),
}
"""The first that fits, from an error's own class upwards; any other is our mistake."""


def refusal_of(error: Exception) -> Refused:
    """What the client of a request that failed is told."""
    if isinstance(error, Refused):
        return error
    rule = next((RULES[kind] for kind in type(error).__mro__ if kind in RULES), None)
    if rule is None:
        return Refused(500, MISTAKE, code="internal_error")
    headers = {}
    if not rule.may_try_again:
        headers = NOT_AGAIN
    elif rule.status in (429, 503):
        headers = retry(getattr(error, "retry_after", RETRY_SECONDS))
    message = rule.message(error) if callable(rule.message) else rule.message
    return Refused(
        rule.status,
        message or str(error),
        code=rule.code,
        param=rule.param,
        headers=headers,
    )


def retry(seconds: float) -> dict[str, str]:
    """When to come again; a whole number, and never at once."""
    return {"Retry-After": str(max(1, ceil(seconds)))}
