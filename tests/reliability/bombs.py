"""Small files that unpack to hours, or whose headers claim what no machine can hold."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tests.containers import (
    encode,
    encode_av,
    repeat_av,
    with_flac_length,
    with_flac_rate,
    with_id3,
    with_wav_rate,
)
from tests.containers import with_wav_size as with_size
from tests.mp4 import fragmented, with_chunks, with_edits, with_runs, with_samples

Outcome = Literal["stopped", "refused", "read"]

HOUR = 3600
LARGEST_BLOCK = 65_535
"""Samples of a FLAC frame."""


@dataclass(frozen=True, kw_only=True)
class Bomb:
    """A file and what must become of it."""

    ending: str
    make: Callable[[], bytes]
    outcome: Outcome
    """'stopped' at the allowed duration, 'refused' for what it is, or 'read'."""
    seconds: float = 0.0
    """Of one that is read."""


def flac_of_silence(seconds: float, rate: int = 8000) -> bytes:
    """FLAC of digital silence in the largest blocks that there are: two seconds a byte."""
    count = round(seconds * rate / LARGEST_BLOCK)
    block = LARGEST_BLOCK.to_bytes(2, "big")
    # Rate, channels - 1, bits - 1 and samples, in 20, 3, 5 and 36 bits.
    fields = rate << 44 | 15 << 36 | count * LARGEST_BLOCK
    info = block * 2 + bytes(6) + fields.to_bytes(8, "big") + bytes(16)
    frames = (_silent_flac_frame(number) for number in range(count))
    return b"".join([b"fLaC\x80\x00\x00\x22", info, *frames])


def _silent_flac_frame(number: int) -> bytes:
    """A constant of 0, its block's size in 16 bits, everything else as the stream says."""
    head = b"\xff\xf8\x70\x08" + _coded(number) + (LARGEST_BLOCK - 1).to_bytes(2, "big")
    frame = head + _checksum(head, 0x07, 8) + b"\0\0\0"
    return frame + _checksum(frame, 0x8005, 16)


def _coded(number: int) -> bytes:
    """As UTF-8 codes a letter of that number."""
    return chr(number).encode("utf-8", "surrogatepass")


def _checksum(data: bytes, polynomial: int, bits: int) -> bytes:
    value = 0
    for byte in data:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (bits - 1) else 0)
            value &= (1 << bits) - 1
    return value.to_bytes(bits // 8, "big")


def _noise(samples: int, channels: int = 1) -> np.ndarray:
    noise = 0.1 * np.random.default_rng(0).standard_normal((samples, channels))
    return noise[:, 0] if channels == 1 else noise


def _opus_hour() -> bytes:
    options = {"frame_duration": "60", "b": "6000"}
    return repeat_av(_noise(48_000), 48_000, HOUR, "ogg", "libopus", options)


def _aac_hour() -> bytes:
    return repeat_av(np.zeros(80_000), 8000, HOUR, "ipod", "aac", {"b": "8000"})


def _aac_stream(container: str) -> bytes:
    """An hour of it: of these, one may lie behind the other."""
    return encode_av(np.zeros(80_000), 8000, container, "aac") * (HOUR // 10)


def _tagged(times: int) -> bytes:
    return with_id3(b"", 2**16) * times + encode(_noise(16_000))


def _mp4(container: str = "mp4", codec: str = "aac") -> bytes:
    return encode_av(_noise(16_000), 16_000, container, codec)


def _channels(count: int, seconds: float, rate: int = 16_000) -> bytes:
    return encode(_noise(round(rate * seconds), count), rate, "WAV", "PCM_U8")


def _second(rate: int) -> bytes:
    return encode(_noise(rate), rate)


BOMBS: dict[str, Bomb] = {
    "an hour in 6 kB of FLAC": Bomb(
        ending=".flac", make=lambda: flac_of_silence(HOUR), outcome="stopped"
    ),
    "an hour of Opus in frames of 60 ms": Bomb(ending=".opus", make=_opus_hour, outcome="stopped"),
    "an hour of AAC at 8 kHz": Bomb(ending=".m4a", make=_aac_hour, outcome="stopped"),
    "an hour of AAC frames alone": Bomb(
        ending=".aac", make=lambda: _aac_stream("adts"), outcome="stopped"
    ),
    "an hour of AAC in MPEG-TS": Bomb(
        ending=".ts", make=lambda: _aac_stream("mpegts"), outcome="stopped"
    ),
    "an hour of AMR's frames of silence": Bomb(
        ending=".amr", make=lambda: b"#!AMR\n" + b"\x44\1\2\3\4\5" * (50 * HOUR), outcome="stopped"
    ),
    "a second behind 100 tags": Bomb(ending=".mp3", make=lambda: _tagged(100), outcome="refused"),
    "m4a whose table claims 50,000,000 samples": Bomb(
        ending=".m4a", make=lambda: with_samples(_mp4(), 50_000_000), outcome="refused"
    ),
    "QuickTime whose chunks have 2^31 - 1 samples": Bomb(
        ending=".mov",
        make=lambda: with_chunks(_mp4("mov", "pcm_s16le"), 2**31 - 1),
        outcome="refused",
    ),
    "m4a whose fragment claims 50,000,000 samples": Bomb(
        ending=".m4a",
        make=lambda: with_runs(fragmented(_noise(16_000), 16_000), 50_000_000),
        outcome="refused",
    ),
    "m4a whose fragment claims 9,000 samples 1,000 times": Bomb(
        ending=".m4a",
        make=lambda: with_runs(fragmented(_noise(16_000), 16_000), 9000, times=1000),
        outcome="refused",
    ),
    "m4a in 10,000 edits": Bomb(
        ending=".m4a", make=lambda: with_edits(_mp4(), 10_000), outcome="refused"
    ),
    "WAV of 8,000 s at 1 Hz": Bomb(
        ending=".wav",
        make=lambda: with_wav_rate(encode(_noise(8000), 8000, "WAV", "PCM_U8"), 1),
        outcome="refused",
    ),
    "FLAC that claims 2^36 - 1 samples": Bomb(
        ending=".flac",
        make=lambda: with_flac_length(encode(_noise(16_000), container="FLAC"), 2**36 - 1),
        outcome="read",
        seconds=1.0,
    ),
    "FLAC that claims 655,350 Hz": Bomb(
        ending=".flac",
        make=lambda: with_flac_rate(flac_of_silence(HOUR), 655_350),
        outcome="refused",
    ),
    "8 channels": Bomb(ending=".wav", make=lambda: _channels(8, 1.0), outcome="read", seconds=1.0),
    "1,024 channels": Bomb(
        ending=".wav", make=lambda: _channels(1024, 0.5), outcome="read", seconds=0.5
    ),
    "1,024 channels and a size of 4 GiB at 192 kHz": Bomb(
        ending=".wav",
        make=lambda: with_size(_channels(1024, 0.01, 192_000), 0xFFFF_FFFF),
        outcome="read",
        seconds=0.01,
    ),
    "1 Hz": Bomb(ending=".wav", make=lambda: with_wav_rate(_second(16_000), 1), outcome="refused"),
    "2 Hz": Bomb(ending=".wav", make=lambda: with_wav_rate(_second(16_000), 2), outcome="refused"),
    "16,001 Hz": Bomb(ending=".wav", make=lambda: _second(16_001), outcome="read", seconds=1.0),
    "44,101 Hz": Bomb(ending=".wav", make=lambda: _second(44_101), outcome="read", seconds=1.0),
    "655,350 Hz": Bomb(
        ending=".wav", make=lambda: with_wav_rate(_second(16_000), 655_350), outcome="refused"
    ),
}
