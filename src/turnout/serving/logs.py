"""What the server writes down: one line of JSON for each request and each thing that went wrong.

Never a key, a text, a prompt, a file's name or sound: a line holds what its caller names.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from turnout.errors import TurnoutError

LOGGER = logging.getLogger("turnout.serving")
LONGEST = 300
"""Characters of a value."""
QUIET = ("uvicorn", "uvicorn.error", "python_multipart", "websockets")
"""Libraries that would have a line for each bad request: these have theirs already."""


def set_up() -> None:
    """Send all lines to stderr, as JSON, those of libraries as well."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    LOGGER.setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def log(event: str, **fields: Any) -> None:
    """A line with this event and these fields, of plain JSON values; long ones are cut."""
    LOGGER.info(line_of("info", event, fields))


def log_error(event: str, error: BaseException, **fields: Any) -> None:
    """A line about an error that is ours, with where it came from. Only turnout's own messages are
    written: another's may hold what a client sent."""
    known = {"error": type(error).__name__, "at": place_of(error)}
    if isinstance(error, TurnoutError):
        known["message"] = str(error)
    LOGGER.error(line_of("error", event, {**fields, **known}))


def line_of(level: str, event: str, fields: dict[str, Any]) -> str:
    """The line; what is not ASCII is escaped, control and direction marks with it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    entries = {name: cut(value) for name, value in fields.items() if value is not None}
    return json.dumps({"time": now, "level": level, "event": event, **entries}, default=str)


def cut(value: Any) -> Any:
    """The value, no longer than a line should hold."""
    return value[:LONGEST] if isinstance(value, str) else value


def place_of(error: BaseException) -> str:
    """The files and lines that an error came through, the last ones first."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(reversed(places[-6:]))


class JsonLines(logging.Formatter):
    """The server's lines as they are, those of libraries wrapped."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        if record.name == LOGGER.name:
            return record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        fields = {"logger": record.name, "message": record.getMessage()}
        if error is not None:
            fields |= {"error": type(error).__name__, "at": place_of(error)}
        return line_of(record.levelname.lower(), "library", fields)
