"""Samples -> files of every container that is read, as bytes; and headers that lie."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

CONTAINERS = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAV", "ULAW"),
    ("WAV", "ALAW"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("AIFF", "PCM_16"),
    ("NIST", "PCM_16"),
    ("NIST", "ULAW"),
]
"""What libsndfile writes and reads: format and subtype."""

AV_CONTAINERS = [("mp4", "aac"), ("webm", "libopus"), ("matroska", "aac")]
"""What only PyAV reads: format and codec."""
REPEATABLE = {"fflags": "bitexact"}
"""Matroska's muxer otherwise draws an identifier for each file."""


def encode(
    samples: Floats, rate: int = 16_000, container: str = "WAV", subtype: str = "PCM_16"
) -> bytes:
    """Samples [samples] or [samples, channels] by libsndfile."""
    file = BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def encode_av(
    samples: Floats,
    rate: int,
    container: str,
    codec: str,
    options: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """Mono samples by PyAV; the test is skipped where that is not installed."""
    file = BytesIO()
    with _av().open(file, "w", format=container, options={**REPEATABLE, **options}) as output:
        stream = _stream(output, codec, rate, {})
        for packet in _packets(stream, samples, rate):
            output.mux(packet)
        output.mux(stream.encode(None))
    return file.getvalue()


@dataclass(frozen=True, kw_only=True)
class Track:
    """Mono samples of one of several audio tracks, and what the file says of them."""

    samples: Floats
    default: bool = False
    language: str | None = None
    title: str | None = None


def encode_tracks(tracks: Sequence[Track], rate: int, container: str, codec: str) -> bytes:
    """A file of several audio tracks, by PyAV."""
    file = BytesIO()
    with _av().open(file, "w", format=container, options=REPEATABLE) as output:
        streams = [_stream(output, codec, rate, {}) for _ in tracks]
        for stream, track in zip(streams, tracks, strict=True):
            stream.disposition = int(track.default)
            said = {"language": track.language, "title": track.title}
            stream.metadata.update({key: value for key, value in said.items() if value})
        for stream, track in zip(streams, tracks, strict=True):
            for packet in [*_packets(stream, track.samples, rate), *stream.encode(None)]:
                output.mux(packet)
    return file.getvalue()


def with_id3(data: bytes, size: int, *, footer: bool = False) -> bytes:
    """The file behind an ID3v2 tag with so many bytes of padding in it."""
    sized = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    head = bytes([4, 0, 0x10 * footer]) + sized
    return b"ID3" + head + bytes(size) + (b"3DI" + head if footer else b"") + data


def repeat_av(
    samples: Floats,
    rate: int,
    seconds: float,
    container: str,
    codec: str,
    options: Mapping[str, str],
) -> bytes:
    """The packets of mono samples over and over until there are so many seconds, by PyAV: long
    recordings without the time to encode them."""
    with _av().open(BytesIO(), "w", format=container, options=REPEATABLE) as output:
        stream = _stream(output, codec, rate, options)
        size = stream.codec_context.frame_size
        packets = [bytes(packet) for packet in _packets(stream, samples, rate)]
    file = BytesIO()
    with _av().open(file, "w", format=container, options=REPEATABLE) as output:
        stream = _stream(output, codec, rate, options)
        for number in range(round(seconds * rate / size)):
            packet = _av().Packet(packets[number % len(packets)])
            packet.stream, packet.time_base = stream, Fraction(1, rate)
            packet.pts = packet.dts = number * size
            packet.duration = size
            output.mux(packet)
    return file.getvalue()


def encode_sphere(samples: Floats, rate: int) -> bytes:
    """NIST SPHERE as corpora have it: 1,024 bytes of header in text, then 16-bit samples."""
    fields = [
        "NIST_1A",
        "   1024",
        "database_id -s5 calls",
        "channel_count -i 1",
        f"sample_count -i {len(samples)}",
        f"sample_rate -i {rate}",
        "sample_n_bytes -i 2",
        "sample_byte_format -s2 01",
        "sample_sig_bits -i 16",
        "sample_coding -s3 pcm",
        "end_head",
    ]
    head = "\n".join([*fields, ""]).encode().ljust(1024)
    return head + np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def with_wav_rate(data: bytes, rate: int) -> bytes:
    """The WAV file with another rate in its header."""
    return data[:24] + struct.pack("<I", rate) + data[28:]


def with_wav_size(data: bytes, size: int) -> bytes:
    """The WAV file with another size of its data in its header."""
    place = data.index(b"data") + 4
    return data[:place] + struct.pack("<I", size) + data[place + 4 :]


def with_flac_length(data: bytes, claimed: int) -> bytes:
    """The FLAC file with another number of samples in its header."""
    fields = int.from_bytes(data[18:26], "big") >> 36 << 36 | claimed
    return data[:18] + fields.to_bytes(8, "big") + data[26:]


def with_flac_rate(data: bytes, rate: int) -> bytes:
    """The FLAC file with another rate in its header."""
    fields = int.from_bytes(data[18:26], "big") & ((1 << 44) - 1) | rate << 44
    return data[:18] + fields.to_bytes(8, "big") + data[26:]


def _av() -> Any:
    return pytest.importorskip("av")


def _stream(output: Any, codec: str, rate: int, options: Mapping[str, str]) -> Any:
    stream = output.add_stream(codec, rate=rate, options=dict(options))
    stream.layout = "mono"
    stream.codec_context.open(strict=False)
    return stream


def _packets(stream: Any, samples: Floats, rate: int) -> list[Any]:
    """What the encoder gives before it is told that this is all."""
    mono = np.asarray(samples, np.float32)[None]
    frame = _av().AudioFrame.from_ndarray(mono, format="fltp", layout="mono")
    frame.rate = rate
    fitted = _av().AudioResampler(
        format=stream.format.name,
        layout="mono",
        rate=rate,
        frame_size=stream.codec_context.frame_size or 960,
    )
    pieces = [*fitted.resample(frame), *fitted.resample(None)]
    return [packet for piece in pieces for packet in stream.encode(piece)]
