"""A transcript as it comes into being -> server-sent events, as OpenAI's client reads them.

`transcript.text.delta` for each segment, the deltas together the text, and one
`transcript.text.done` at the end. With task=both the translation's events are called
`translation.text...`, and come before that end.
"""

from typing import Any

from turnout.guidance import Task
from turnout.serving.answers import (
    TokenTexts,
    brief,
    dumped,
    logprobs,
    segment_entry,
    verbose,
)
from turnout.serving.errors import Refused
from turnout.serving.forms import Asked
from turnout.text.spacing import spaced
from turnout.text.transcript import Segment, Transcript

WAITING = b": waiting\n\n"
"""A comment: says that somebody is still at work."""
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MEDIA_TYPE = "text/event-stream"


def encoded(event: dict[str, Any]) -> bytes:
    """An event on the wire."""
    return f"data: {dumped(event)}\n\n".encode()


class Deltas:
    """Segments -> events that together are the texts."""

    def __init__(self, asked: Asked, token_texts: TokenTexts) -> None:
        self._asked = asked
        self._token_texts = token_texts
        self._languages: dict[Task, str | None] = {}
        """Of the texts that have begun."""

    def of(self, segment: Segment) -> dict[str, Any]:
        """The event for the next segment."""
        # The first one's language says how a text is joined: so does the transcript's.
        seam = " " if segment.task in self._languages and self._is_spaced(segment.task) else ""
        self._languages.setdefault(segment.task, segment.language)
        event: dict[str, Any] = {
            "type": f"{prefix(self._asked, segment.task)}.text.delta",
            "delta": seam + segment.text,
            "task": segment.task.value,
            "language": segment.language,
        }
        if self._asked.format == "verbose_json":
            event["segment"] = segment_entry(self._asked, segment)
        if self._asked.logprobs and prefix(self._asked, segment.task) == "transcript":
            event["logprobs"] = logprobs(segment, self._token_texts)
        return event

    def _is_spaced(self, task: Task) -> bool:
        return spaced(self._languages[task])


def prefix(asked: Asked, task: Task) -> str:
    """Of an event's type: standard clients join what is a transcript's."""
    second = asked.options.task == "both" and task is Task.TRANSLATE
    return "translation" if second else "transcript"


def ends(asked: Asked, transcript: Transcript, token_texts: TokenTexts) -> list[dict[str, Any]]:
    """The last events: of each text, the first one's at the end, which has all that an answer in
    one piece has."""
    whole = (
        verbose(asked, transcript)
        if asked.format == "verbose_json"
        else brief(asked, transcript, token_texts)
    )
    events = []
    if transcript.translation is not None:
        translation = transcript.translation
        events.append(
            {
                "type": "translation.text.done",
                "text": translation.text,
                "task": translation.task.value,
                "language": translation.language,
            }
        )
    known = {"task": transcript.task.value, "language": transcript.language}
    return [*events, {"type": "transcript.text.done", **known, **whole}]


def failed(refused: Refused) -> dict[str, Any]:
    """An error once the answer has begun: clients raise it."""
    return {"type": "error", "error": refused.to_json()}
