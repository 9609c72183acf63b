"""Speech as programs and recorders write it: other rates, sample formats, channels and lengths."""

from collections.abc import Callable

import numpy as np
import soxr
from numpy.typing import NDArray

from tests.containers import encode
from tests.reliability.examples import examples

Floats = NDArray[np.float32]

RATES = (8000, 11_025, 12_000, 16_000, 16_001, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200,
         96_000, 192_000)  # fmt: skip
SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
CHANNELS = (1, 2, 6)


def turned(speech: Floats) -> Floats:
    """The same with its second half of the other sign."""
    return np.where(np.arange(len(speech)) < len(speech) // 2, speech, -speech)


Layout = Callable[[Floats], Floats]
LAYOUTS: dict[str, tuple[Layout, int]] = {
    "right channel dead": (lambda speech: np.stack([speech, 0 * speech], axis=1), 0),
    "opposed channels": (lambda speech: np.stack([speech, -speech], axis=1), 0),
    "nearly opposed channels": (lambda speech: np.stack([speech, -0.8 * speech], axis=1), 0),
    "speech in one of six": (lambda speech: np.outer(speech, np.eye(6)[3]), 3),
    "opposed behind in phase": (lambda speech: np.stack([speech, turned(speech)], axis=1), 0),
}
"""Mono samples -> [samples, channels], and the channel that is the mono samples."""

PACKED = {
    ("adts", "aac"): 16_000, ("mpegts", "aac"): 48_000, ("mpegts", "mp2"): 16_000,
    ("flv", "aac"): 44_100, ("3gp", "aac"): 16_000, ("vob", "mp2"): 48_000,
    ("avi", "pcm_s16le"): 16_000,
}  # fmt: skip
"""What phones and broadcasts write: container and codec, and a rate that they take."""


def resampled(samples: Floats, rate: int) -> Floats:
    """Samples at 16 kHz -> at another rate, within full scale."""
    if rate == 16_000:
        return samples
    return np.clip(soxr.resample(samples, 16_000, rate), -1, 1)


def in_form(samples: Floats, rate: int, subtype: str, channels: int = 1) -> bytes:
    """Samples at 16 kHz -> a WAV file of that rate and format, the same in every channel."""
    mono = resampled(samples, rate)
    return encode(np.repeat(mono[:, None], channels, axis=1), rate, "WAV", subtype)


def of_length(length: int, rate: int) -> Floats:
    """So many samples of speech at that rate, beginning where it is loudest."""
    once = np.concatenate([example.samples for example in examples()])
    needed = min(len(once), -(-length * 16_000 // rate) + 1)
    loudest = int(np.abs(once).argmax())
    speech = resampled(np.roll(once, -loudest)[:needed], rate)
    return np.resize(speech, length)
