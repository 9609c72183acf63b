"""The tables of MP4 files: those of real recordings pass, and absurd ones are named."""

import struct
from io import BytesIO
from random import Random

import numpy as np
import pytest

from tests.containers import encode_av
from tests.mp4 import fragmented, with_box, with_chunks, with_edits, with_runs, with_samples
from turnout.audio.containers import absurdity
from turnout.audio.waveform import read_audio

NOISE = 0.1 * np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
CODECS = [("mp4", "aac"), ("ipod", "alac"), ("mov", "pcm_s16le"), ("mov", "pcm_u8"),
          ("mov", "pcm_alaw"), ("mov", "adpcm_ima_qt")]  # fmt: skip


def claimed(data: bytes) -> str | None:
    file = BytesIO(data)
    reason = absurdity(file)
    assert file.tell() == 0
    return reason


@pytest.mark.parametrize(("container", "codec"), CODECS)
def test_real_recordings_pass(container: str, codec: str) -> None:
    data = encode_av(NOISE, 16_000, container, codec)
    assert claimed(data) is None
    assert read_audio(data).duration == pytest.approx(3.0, abs=0.1)


def test_recordings_in_fragments_pass() -> None:
    data = fragmented(NOISE, 16_000)
    assert claimed(data) is None
    assert read_audio(data).duration == pytest.approx(3.0, abs=0.1)


def test_tables_that_claim_more_than_there_are_bytes_are_named() -> None:
    whole, fragments = encode_av(NOISE, 16_000, "mp4", "aac"), fragmented(NOISE, 16_000)
    durations = struct.pack(">4I", 0, 1, 10**9, 1)
    for data in (
        with_samples(whole, 10**6),
        with_chunks(whole, 10**6),
        with_box(whole, "stts", durations),
        with_edits(whole, 10_000),
        with_runs(fragments, 10**6),
        with_runs(fragments, 9000, times=100),
    ):
        assert "samples in" in str(claimed(data))


def test_a_table_longer_than_its_box_is_named() -> None:
    data = with_box(encode_av(NOISE, 16_000, "mp4", "aac"), "stsz", struct.pack(">3I", 0, 0, 48))
    assert claimed(data) == "a table of 48 entries is longer than its box"


def test_tables_hidden_in_odd_places_are_found() -> None:
    table = struct.pack(">5I", 20, int.from_bytes(b"stsz"), 0, 1, 10**9)
    for place in (b"free", b"udta", b"strange!"[:4]):
        assert "1,000,000,000 samples" in str(claimed(struct.pack(">I", 28) + place + table))
    assert "inside the description" in str(claimed(struct.pack(">I", 28) + b"stsd" + table))
    assert "compressed" in str(claimed(struct.pack(">I", 8) + b"cmov"))
    meta = struct.pack(">I", 40) + b"meta" + bytes(4) + struct.pack(">I", 8) + b"hdlr" + table
    assert "1,000,000,000 samples" in str(claimed(meta))


@pytest.mark.parametrize(
    "box",
    [
        struct.pack(">I", 8) + b"free",
        struct.pack(">I4sQ", 1, b"free", 16),
        struct.pack(">I4sQ", 1, b"free", 2**63),
        struct.pack(">I4s", 0, b"stsd"),
        struct.pack(">I4s", 0, b"moov"),
        bytes(8),
        b"\xff" * 8,
        b"\0\0\0\x07free",
    ],
)
def test_garbage_comes_to_an_end(box: bytes) -> None:
    claimed(b"\0\0\0\x10ftypM4A " + bytes(4) + box * 20_000)


def test_noise_is_no_table() -> None:
    for seed in range(200):
        assert claimed(Random(seed).randbytes(2000)) is None
