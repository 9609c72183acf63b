"""Events as `turnout serve` sends them, for the stand-in."""

from collections.abc import Sequence
from typing import Any

from tests.page.chromium import ROOT

CALL = ROOT / "examples" / "arabic-telephone-1.wav"
"""What is sent."""
Words = Sequence[tuple[str, float, float]]


def delta(number: int, words: Words, language: str, task: str = "transcribe") -> dict[str, Any]:
    """A transcript's segment, with its words' times."""
    text = " ".join(word for word, _, _ in words)
    entries = [{"word": w, "start": s, "end": e, "probability": 0.97} for w, s, e in words]
    segment = {
        "id": number, "start": words[0][1], "end": words[-1][2], "text": text, "words": entries,
        "avg_logprob": -0.1,
    }  # fmt: skip
    name = {"type": "transcript.text.delta", "delta": text, "task": task, "language": language}
    return {**name, "segment": segment}


def translated(number: int, text: str, times: tuple[float, float], language: str) -> dict[str, Any]:
    """A translation's segment beside a transcript's."""
    segment = {"id": number, "start": times[0], "end": times[1], "text": text, "words": []}
    return {
        "type": "translation.text.delta", "delta": text, "task": "translate", "language": language,
        "segment": segment,
    }  # fmt: skip


def done(language: str, duration: float, **more: Any) -> dict[str, Any]:
    """The last event of a transcript."""
    return {
        "type": "transcript.text.done", "text": "", "task": "transcribe", "language": language,
        "duration": duration, "bandwidth": "narrowband", "language_probability": 0.98, **more,
    }  # fmt: skip


ARABIC = [
    delta(0, [("نعم", 0.42, 0.8), ("موافق", 1.0, 1.5), ("إرسال", 1.7, 2.2)], "ar"),
    translated(0, "yes ok send", (0.2, 2.4), "en"),
    delta(1, [("أربعة", 2.9, 3.4), ("اثنان", 3.6, 4.2)], "ar"),
    translated(1, "four two", (2.7, 4.4), "en"),
    done("ar", 4.6, translation={"text": "", "language": "en"}),
]
ENGLISH = [
    delta(0, [("seven", 0.3, 0.7), ("two", 0.9, 1.2), ("nine", 1.4, 1.8)], "en"),
    done("en", 2.5),
]
