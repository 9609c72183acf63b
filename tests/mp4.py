"""MP4 files whose tables claim more than there is."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.containers import encode_av

Floats = NDArray[np.floating[Any]]

TABLES = ("moov", "trak", "mdia", "minf", "stbl")
FOLDERS = {"stsz": TABLES, "stsc": TABLES, "stts": TABLES, "elst": (*TABLES[:2], "edts"),
           "trun": ("moof", "traf")}  # fmt: skip
EDIT = struct.pack(">IiI", 1000, 1024, 0x10000)


def with_box(data: bytes, kind: str, content: bytes, times: int = 1) -> bytes:
    """The file with another content in the first box of that kind, or with several of them; what
    lies before it stays where it was."""
    place = 0
    starts: list[int] = []
    for name in (*FOLDERS[kind], kind):
        place = data.index(name.encode(), place)
        starts.append(place - 4)
    start = starts.pop()
    end = start + _number(data, start)
    box = (struct.pack(">I", 8 + len(content)) + kind.encode() + content) * times
    changed = bytearray(data[:start] + box + data[end:])
    for folder in starts:
        size = _number(data, folder) + len(changed) - len(data)
        changed[folder : folder + 4] = struct.pack(">I", size)
    return bytes(changed)


def _number(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 4], "big")


def with_samples(data: bytes, count: int) -> bytes:
    """So many samples of a byte, in one chunk."""
    sized = with_box(data, "stsz", struct.pack(">3I", 0, 1, count))
    return with_chunks(sized, count)


def with_chunks(data: bytes, count: int) -> bytes:
    """So many samples in each chunk."""
    return with_box(data, "stsc", struct.pack(">5I", 0, 1, 1, count, 1))


def with_edits(data: bytes, count: int) -> bytes:
    """The recording over and over."""
    return with_box(data, "elst", struct.pack(">2I", 0, count) + EDIT * count)


def fragmented(samples: Floats, rate: int) -> bytes:
    """AAC, in fragments as for streaming."""
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    return encode_av(samples, rate, "mp4", "aac", options)


def with_runs(data: bytes, samples: int, times: int = 1) -> bytes:
    """So many samples in each of so many tables of the first fragment."""
    return with_box(data, "trun", struct.pack(">3I", 1, samples, 1000), times)
