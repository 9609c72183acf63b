"""Telephone codecs: speech at 8 kHz as it is after coding and decoding.

G.711 is a table (`telephone.g711_table`) and GSM libsndfile's; the others are PyAV's, which is
imported where one of them is asked for. This file knows nothing of channels or training.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import import_module
from io import BytesIO
from typing import Any, cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from turnout.audio.packets import PACKET_SAMPLES
from turnout.audio.telephone import TELEPHONE_RATE, g711_table
from turnout.errors import ConfigError, MissingExtra

Floats = NDArray[np.float32]
FULL_SCALE = np.float32(32768.0)
SPARE_PACKETS = 8
"""Of silence behind the speech, so that what a codec delays still comes out."""


@dataclass(frozen=True, kw_only=True)
class Codec:
    """How a codec is asked for, and what it does besides."""

    bit_rates: tuple[int, ...]
    """Those of its standard, in bits a second; of Opus, a few of those it can have."""
    delay_samples: int = 0
    """By which it comes later at 8 kHz (measured); taken away again."""
    encoder: str | None = None
    """FFmpeg's name of it; None where this needs no PyAV."""
    decoder: str | None = None
    """The same, where it is another."""
    bits_of_rate: int = 0
    """Bit rate for each bit of a code, where the decoder must be told their number."""


CODECS: dict[str, Codec] = {
    "mulaw": Codec(bit_rates=(64_000,)),
    "alaw": Codec(bit_rates=(64_000,)),
    "gsm": Codec(bit_rates=(13_000,)),
    "g726": Codec(bit_rates=(16_000, 24_000, 32_000, 40_000), encoder="g726", bits_of_rate=8_000),
    "g723_1": Codec(bit_rates=(6_300,), delay_samples=60, encoder="g723_1"),
    "amr_nb": Codec(
        bit_rates=(4_750, 5_150, 5_900, 6_700, 7_400, 7_950, 10_200, 12_200),
        delay_samples=40,
        encoder="libopencore_amrnb",
        decoder="amrnb",
    ),
    "opus": Codec(bit_rates=(6_000, 8_000, 12_000, 16_000, 24_000), encoder="libopus"),
}


def recode(
    samples: Floats, codec: str, bit_rate: int | None = None, *, rate: int = TELEPHONE_RATE
) -> Floats:
    """As many samples at 8 kHz, in -1..1, after coding and decoding, in step with those given.

    `bit_rate` is in bits a second, by default the codec's highest. `rate` is another sampling rate
    for Opus alone (16 kHz: wideband). Raises ConfigError for what the codec cannot have,
    MissingExtra where PyAV is not installed.
    """
    kind = check_codec(codec)
    bit_rate = max(kind.bit_rates) if bit_rate is None else bit_rate
    if codec != "opus" and (bit_rate not in kind.bit_rates or rate != TELEPHONE_RATE):
        rates = ", ".join(map(str, kind.bit_rates))
        raise ConfigError(
            f"{codec} at {bit_rate} bit/s and {rate} Hz: it has {rates} bit/s, at 8000 Hz"
        )
    ints = np.clip(np.rint(samples * FULL_SCALE), -32768, 32767).astype(np.int16)
    if codec in ("mulaw", "alaw"):
        return g711_table(codec)[ints.astype(np.int32) + 32768].astype(np.float32) / FULL_SCALE
    spare = SPARE_PACKETS * PACKET_SAMPLES * rate // TELEPHONE_RATE
    padded = np.concatenate([ints, np.zeros(spare, np.int16)])
    decoded = _gsm(padded) if codec == "gsm" else _through_av(padded, kind, bit_rate, rate)
    late = kind.delay_samples
    return np.pad(decoded[late:], (0, spare))[: len(samples)]


@cache
def check_codec(name: str) -> Codec:
    """The codec of this name; ConfigError or MissingExtra where it cannot be encoded here."""
    if name not in CODECS:
        raise ConfigError(f"the codec '{name}' is unknown: choose one of {', '.join(CODECS)}")
    kind = CODECS[name]
    if kind.encoder is not None:
        av = _av(name)
        try:
            av.CodecContext.create(kind.encoder, "w")
        except ValueError as error:  # PyAV's UnknownCodecError is one
            raise ConfigError(
                f"this PyAV cannot encode {name} ({kind.encoder}): install the one of the extra "
                "'av' (pip install --force-reinstall 'turnout[av]'), or leave the codec out"
            ) from error
    return kind


def _av(name: str) -> Any:
    try:
        return import_module("av")
    except ImportError as error:
        raise MissingExtra(f"the codec {name}", "av") from error


def _gsm(ints: NDArray[np.int16]) -> Floats:
    """GSM 06.10, full rate."""
    file = BytesIO()
    soundfile.write(file, ints, TELEPHONE_RATE, format="WAV", subtype="GSM610")
    file.seek(0)
    return cast(Floats, soundfile.read(file, dtype="float32")[0])


def _through_av(ints: NDArray[np.int16], kind: Codec, bit_rate: int, rate: int) -> Floats:
    """Packets of an encoder, frames of its decoder; Opus gives 48 kHz, brought back to `rate`."""
    encoder, decoder = _contexts(kind, bit_rate, rate)
    size = encoder.frame_size or PACKET_SAMPLES  # for a codec without frames of its own
    # Some encoders end with a frame that they fill, some refuse a short one.
    ints = np.pad(ints, (0, -len(ints) % size))
    av = _av(str(kind.encoder))
    packets: list[Any] = []
    for first in range(0, len(ints), size):
        frame = av.AudioFrame.from_ndarray(ints[None, first : first + size], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    # Each codec has one kind of samples, and the resampler makes them ours.
    same = av.AudioResampler(format="flt", layout="mono", rate=rate)
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    pieces = [piece for frame in [*frames, None] for piece in same.resample(frame)]
    return np.concatenate([piece.to_ndarray().reshape(-1) for piece in pieces])


def _contexts(kind: Codec, bit_rate: int, rate: int) -> tuple[Any, Any]:
    """An open encoder and the decoder of what it writes."""
    av = _av(str(kind.encoder))
    encoder = av.CodecContext.create(kind.encoder, "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate, "mono", "s16"
    encoder.bit_rate, encoder.time_base = bit_rate, Fraction(1, rate)
    if kind.encoder == "libopus":
        encoder.options = {"application": "voip"}
    encoder.open()
    decoder = av.CodecContext.create(kind.decoder or kind.encoder, "r")
    decoder.sample_rate, decoder.layout = rate, "mono"
    if kind.bits_of_rate:
        decoder.options = {"bits_per_coded_sample": str(bit_rate // kind.bits_of_rate)}
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    return encoder, decoder
