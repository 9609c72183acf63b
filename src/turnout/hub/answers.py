"""What a hub answers instead of a file, in one line each."""

from typing import Any

from turnout.errors import FetchError
from turnout.hub.sources import Source

TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
LONGEST_WAIT = 60.0
"""Seconds that a hub may ask to be left alone; beyond it, its user is told."""


class TransientError(Exception):
    """What may go better the next time, after at least `wait` seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def check_status(source: Source, endpoint: str, answer: Any) -> None:
    """Raise FetchError, or TransientError, where an answer (httpx's) is not what was asked for."""
    status: int = answer.status_code
    if status < 400:
        return
    if status in TRANSIENT or status >= 500:
        raise TransientError(f"{endpoint} answers {status}", asked_wait(answer.headers))
    code, words = (answer.headers.get(f"x-error-{kind}", "") for kind in ("code", "message"))
    repository = source.repository
    if code == "GatedRepo":
        line = (
            f"{repository} is given to those who accept its licence: do that at "
            f"{endpoint}/{repository}, and set HF_TOKEN to a token of yours"
        )
    elif "credentials" in words.lower():
        line = f"{endpoint} does not know the token in HF_TOKEN, or of 'hf auth login': set another"
    elif code == "RevisionNotFound":
        line = f"{repository} has no revision '{source.revision}': look at {endpoint}/{repository}"
    elif status in (401, 403, 404):
        line = (
            f"{repository} is not on {endpoint}, or not for you (it answers {status}): look for "
            "its name there; what is private needs a token in HF_TOKEN"
        )
    else:
        line = f"{repository}: {endpoint} answers {status}: is HF_ENDPOINT right?"
    raise FetchError(line)


def asked_wait(headers: Any) -> float:
    """Seconds to wait that an answer asks for; 0 where it names none."""
    value = headers.get("retry-after", "").strip()
    return float(value) if value.isascii() and value.isdigit() and len(value) < 9 else 0.0


def given_up(source: Source, trouble: TransientError) -> FetchError:
    """The end of patience."""
    late = f"; it asks to wait {trouble.wait:g} s" if trouble.wait > LONGEST_WAIT else ""
    return FetchError(
        f"{source.name} cannot be fetched: {trouble}{late}: try again later (what came is kept), "
        f"or {elsewhere(source)}"
    )


def elsewhere(source: Source) -> str:
    """What to do where the hub cannot be reached."""
    return (
        f"run 'turnout convert {source.name} -o FOLDER' where it can be reached, and give the "
        "folder instead of the name"
    )
