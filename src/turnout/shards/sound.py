"""Samples -> bytes of FLAC or Opus, and a member's bytes -> samples again.

FLAC holds whole numbers: 16 bits where the samples are such, else 24. Samples beyond full scale are
halved until they fit, which changes no bit of a float. This file knows nothing of clips.
"""

import zlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE
from turnout.audio.waveform import open_recording

Floats = NDArray[np.float32]
BITS_16, BITS_24 = 2**15, 2**23
OPUS_LEVEL = 0.896
"""libsndfile's measure: from 256 kb/s at 0 to 6 at 1; 32 kb/s."""
OGG_MARK = b"OggS"
OGG_SERIAL, OGG_SUM, OGG_SEGMENTS = slice(14, 18), slice(22, 26), 26
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Coded:
    """A file's bytes of samples that were divided by `scale`."""

    data: bytes
    ending: str
    scale: float = 1.0
    exact: bool = False
    """Whether decoding gives the very samples."""


def flac(samples: Floats) -> Coded:
    """As FLAC: exact where 24 bits hold the samples, and else rounded to these."""
    scale = _scale(samples, BITS_24)
    scaled = samples.astype(np.float64) / scale
    whole = scaled * BITS_16
    narrow = bool(np.array_equal(whole, np.rint(whole))) and float(np.max(whole)) < BITS_16
    bits, subtype = (BITS_16, "PCM_16") if narrow else (BITS_24, "PCM_24")
    numbers = np.rint(scaled * bits)
    file = BytesIO()
    # libsndfile takes the upper 24 of 32 bits.
    coded = numbers.astype(np.int16) if narrow else numbers.astype(np.int32) << 8
    soundfile.write(file, coded, SAMPLE_RATE, subtype, format="FLAC")
    return Coded(file.getvalue(), "flac", scale, bool(np.array_equal(numbers, scaled * bits)))


def opus(samples: Floats) -> Coded:
    """As Opus in Ogg, at about 32 kb/s; the same samples give the same bytes."""
    scale = _scale(samples, BITS_16)
    file = BytesIO()
    soundfile.write(
        file, samples / np.float32(scale), SAMPLE_RATE, "OPUS", format="OGG",
        compression_level=OPUS_LEVEL,
    )  # fmt: skip
    return Coded(_settled(file.getvalue()), "opus", scale)


def decoded(data: bytes, name: str, scale: float, longest: float) -> Floats:
    """The samples of what `flac` or `opus` made; raises AudioError, beyond `longest` seconds too:
    what a header says of its length is not believed."""
    recording = open_recording(data, name=name, max_duration=longest)
    # A constant at the beginning was the recording's, where it was heard; here it is the utterance.
    samples = np.concatenate(list(recording.blocks(settled=False)))
    return samples if scale == 1.0 else samples * np.float32(scale)


def _scale(samples: Floats, steps: int) -> float:
    """The least power of two by which the samples are to be divided so that they are in range,
    after they were rounded."""
    highest, lowest = float(np.max(samples)), float(np.min(samples))
    scale = 1.0
    # One more step below zero than above it, as in all such files.
    while round(highest / scale * steps) > steps - 1 or round(lowest / scale * steps) < -steps:
        scale *= 2.0
    return scale


def _settled(ogg: bytes) -> bytes:
    """An Ogg file with 0 for its serial number, which libsndfile draws by the clock."""
    data = bytearray(ogg)
    at = 0
    while data[at : at + 4] == OGG_MARK:
        segments = data[at + OGG_SEGMENTS]
        body = at + OGG_SEGMENTS + 1 + segments
        end = body + sum(data[at + OGG_SEGMENTS + 1 : body])
        page = data[at:end]
        page[OGG_SERIAL] = page[OGG_SUM] = bytes(4)
        page[OGG_SUM] = _ogg_sum(page)
        data[at:end] = page
        at = end
    return bytes(data)


def _ogg_sum(page: bytearray) -> bytes:
    """Ogg's CRC: zlib's, its bits the other way round, and begun with nothing."""
    found = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return found.to_bytes(4, "little").translate(REVERSED)[::-1]
