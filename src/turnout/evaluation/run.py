"""Clips through a transcriber, in batches -> outcomes, and the report over them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import soundfile

from turnout.audio.features import SAMPLE_RATE
from turnout.data.clips import Clip, ClipReader
from turnout.evaluation.references import Wanted
from turnout.evaluation.report import Outcome
from turnout.guidance import Task
from turnout.text.transcript import Transcript


def wave_bytes(samples: np.ndarray, rate: int = SAMPLE_RATE) -> bytes:
    """A WAV in memory, samples as they are."""
    out = BytesIO()
    soundfile.write(out, samples, rate, format="WAV", subtype="FLOAT")
    return out.getvalue()
