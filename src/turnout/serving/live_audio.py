"""A live stream's bytes -> mono float32 samples at 16 kHz, frame by frame.

What a frame may hold is decided here: whole samples, few at a time, of the format that was named.
This file knows nothing of connections or speech.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import soxr
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE
from turnout.audio.telephone import TELEPHONE_RATE, g711_table
from turnout.errors import ConfigError
from turnout.serving.live_messages import TOO_LARGE, UNREADABLE, FormatName, StreamError

Floats = NDArray[np.float32]

RATES: dict[FormatName, tuple[int, ...]] = {
    "pcm16": (SAMPLE_RATE, 8_000, 24_000),
    "mulaw": (TELEPHONE_RATE,),
    "alaw": (TELEPHONE_RATE,),
}
"""Hz that each format is taken at; the first where none is named."""
FULL_SCALE = np.float32(32768.0)
MOST_FRAME_BYTES = 65_536
"""1.4 s at the highest rate: whoever waits longer has a recording, not a stream."""
HEADERS = (b"RIFF", b"OggS", b"fLaC", b"ID3", b"\x1aE\xdf\xa3")
"""What files begin with: WAV, Ogg, FLAC, MP3, WebM."""


@dataclass(frozen=True)
class SampleFormat:
    """How a stream's samples are written; raises ConfigError for a rate that is not taken."""

    name: FormatName = "pcm16"
    rate: int = SAMPLE_RATE
    """Hz."""

    def __post_init__(self) -> None:
        if self.rate not in RATES[self.name]:
            accepted = ", ".join(map(str, sorted(RATES[self.name])))
            raise ConfigError(
                f"rate is {self.rate}: {self.name} is taken at {accepted} Hz; resample it"
            )

    @classmethod
    def of(cls, name: FormatName, rate: int | None) -> "SampleFormat":
        """At this rate, or at the one that is usual for it."""
        return cls(name, RATES[name][0] if rate is None else rate)

    @property
    def sample_bytes(self) -> int:
        """Of one sample."""
        return 2 if self.name == "pcm16" else 1


class StreamReader:
    """Reads the frames of one stream, in order."""

    def __init__(self, form: SampleFormat) -> None:
        self._form = form
        self._resampler = (
            None
            if form.rate == SAMPLE_RATE
            else soxr.ResampleStream(form.rate, SAMPLE_RATE, 1, dtype="float32")
        )
        self._frames = 0
        self.samples = 0
        """Read so far, at the stream's own rate."""

    @property
    def seconds(self) -> float:
        """Of sound, so far."""
        return self.samples / self._form.rate

    def read(self, frame: bytes) -> Floats:
        """The samples that a frame adds, at 16 kHz: not always as many as it holds, since a
        resampler hears ahead. Raises StreamError."""
        self._check(frame)
        self._frames += 1
        self.samples += len(frame) // self._form.sample_bytes
        samples = samples_of(frame, self._form.name)
        return samples if self._resampler is None else self._resampler.resample_chunk(samples)

    def finish(self) -> Floats:
        """What the resampler still holds."""
        nothing = np.zeros(0, np.float32)
        if self._resampler is None or not self.samples:
            return nothing
        return self._resampler.resample_chunk(nothing, last=True)

    def _check(self, frame: bytes) -> None:
        if len(frame) > MOST_FRAME_BYTES:
            raise StreamError(
                f"a frame has {len(frame)} bytes: at most {MOST_FRAME_BYTES} are taken at once; "
                "send what was heard every 100 ms",
                TOO_LARGE,
            )
        if len(frame) % self._form.sample_bytes:
            raise StreamError(
                f"a frame has {len(frame)} bytes, which are no whole samples of {self._form.name}: "
                f"send a multiple of {self._form.sample_bytes}",
                UNREADABLE,
            )
        if not self._frames and frame.startswith(HEADERS):
            raise StreamError(
                f"the stream begins like a file, not like samples of {self._form.name}: leave the "
                "header out, or post the file to /v1/audio/transcriptions",
                UNREADABLE,
            )


def samples_of(frame: bytes, name: FormatName) -> Floats:
    """Samples in -1..1, at the rate at which they were written."""
    if name == "pcm16":
        return np.frombuffer(frame, "<i2").astype(np.float32) / FULL_SCALE
    return g711_values(name)[np.frombuffer(frame, np.uint8)]


@cache
def g711_values(name: Literal["mulaw", "alaw"]) -> Floats:
    """What each byte of G.711 stands for: a sign, and the place of a magnitude among all that its
    table has."""
    magnitudes = np.unique(g711_table(name)[32768:])
    codes = np.arange(256)
    # mu-law goes over the line with all bits inverted, A-law with every second one.
    bits = codes ^ (0xFF if name == "mulaw" else 0x55)
    negative = (bits & 0x80) != (0 if name == "mulaw" else 0x80)
    values = np.where(negative, -1, 1) * magnitudes[bits & 0x7F]
    return values.astype(np.float32) / FULL_SCALE
