"""The repository's recordings with what is said in them, the shipped model, and the rate of its
errors."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import turnout
from turnout.audio.waveform import Source, read_audio
from turnout.evaluation.metrics import score
from turnout.text.transcript import Transcript
from turnout.transcription.transcriber import Transcriber

Floats = NDArray[np.float32]
ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples"


@dataclass(frozen=True, eq=False)
class Example:
    """A recording and its reference."""

    path: Path
    text: str
    samples: Floats
    """Mono, at 16 kHz."""


@cache
def examples() -> tuple[Example, ...]:
    """All of them."""
    references = json.loads((FOLDER / "references.json").read_text("utf-8"))
    return tuple(
        Example(FOLDER / name, reference["text"], read_audio(FOLDER / name).samples)
        for name, reference in sorted(references.items())
    )


def speech(number: int = 0, seconds: float = 1.5) -> tuple[Floats, int]:
    """The middle of an example, and its rate: enough to be a recording."""
    samples = examples()[number % len(examples())].samples
    length = round(seconds * 16_000)
    start = max(0, (len(samples) - length) // 2)
    return samples[start : start + length], 16_000


@cache
def commands() -> Transcriber:
    """The shipped model."""
    return turnout.load("commands", threads=1)


def heard(source: Source, transcriber: Transcriber | None = None, **options: Any) -> Transcript:
    """What the shipped model, or another, makes of a recording; any error is a failed assertion."""
    try:
        return (transcriber or commands()).transcribe(source, **options)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error


def error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Word errors per reference word."""
    return score("wer", references, hypotheses, resamples=0).value / 100
