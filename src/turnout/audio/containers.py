"""What containers claim, looked at before a decoder believes it.

FFmpeg makes an index of as many samples as an MP4 file's tables say, and a table says any number in
a few bytes: ten kilobytes would take gigabytes. No sample takes less than a byte, so that a file
cannot hold more samples than it has bytes. A WAV file whose writer could not go back to say how
long it became says 0, and libsndfile would believe that it is empty.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

MOST_DEPTH = 10
"""As FFmpeg."""
MOST_BOXES = 2**18
"""Four hours in fragments of half a second have fewer."""
MEDIA = b"mdat"
ENTRY_BYTES = {b"stts": 8, b"stsc": 12, b"stco": 4, b"co64": 8}
TRUN_OFFSETS, TRUN_FIELDS = (0x001, 0x004), (0x100, 0x200, 0x400, 0x800)
TABLES = (*ENTRY_BYTES, b"stsz", b"stz2", b"trun", b"elst")

Box = tuple[bytes, int, int]
"""Kind, and where its content begins and ends."""

UNKNOWN = b"\xff" * 4
"""The size that libsndfile takes to mean: to the end of the file."""
MOST_CHUNKS = 1000
"""Lest a file of empty chunks be walked for ever."""


class AbsurdError(Exception):
    """Why the tables cannot be true."""


@dataclass
class Claims:
    """What the tables seen so far claim."""

    samples: int = 0
    """Of all tracks and fragments."""
    durations: int = 0
    """Samples that have one, likewise."""
    edits: int = 0
    """Parts of a track to be played one after the other; each may have all samples in it."""
    chunks: int = 0
    """Of this track."""
    runs: list[tuple[int, int]] = field(default_factory=list)
    """Of this track: a chunk's number, and how many samples it and those behind it have."""

    def check(self, size: int) -> None:
        """Raise AbsurdError where a file of that size cannot hold so much."""
        # The first edit may be a pause; the second has what is left of the track.
        refuse_more(max(self.samples * max(1, self.edits - 1), self.durations), size)

    def end_track(self, size: int) -> None:
        """The same of this track's chunks, once for each track: it takes time."""
        refuse_more(self._in_chunks(), size)
        self.chunks, self.runs = 0, []

    def _in_chunks(self) -> int:
        if not self.runs:
            return 0
        firsts = [first for first, _ in self.runs]
        if firsts != sorted(firsts):  # FFmpeg puts them in order in its own way
            return self.chunks * max(count for _, count in self.runs)
        ends = [*firsts[1:], self.chunks + 1]
        pairs = zip(self.runs, ends, strict=True)
        return sum(max(end - first, 0) * count for (first, count), end in pairs)


def refuse_more(samples: int, size: int) -> None:
    """Raise AbsurdError where a file of that size has fewer bytes than samples."""
    if samples > size:
        raise AbsurdError(f"its tables claim {samples:,} samples in {size:,} bytes")


def absurdity(file: BinaryIO) -> str | None:
    """Why FFmpeg should not open this MP4 file, or None; the file is rewound."""
    size = file.seek(0, 2)
    claims = Claims()
    try:
        for number, (kind, start, end) in enumerate(_boxes(file, 0, size, MOST_DEPTH)):
            if number >= MOST_BOXES:
                raise AbsurdError(f"it has more than {MOST_BOXES:,} boxes")
            if kind == b"cmov":
                raise AbsurdError("its tables are compressed")
            if kind == b"trak":
                claims.end_track(size)
            if kind in TABLES:
                _add(kind, _content(file, start, end), claims)
                claims.check(size)
        claims.end_track(size)
    except AbsurdError as absurd:
        return str(absurd)
    finally:
        file.seek(0)
    return None


def _content(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _boxes(file: BinaryIO, start: int, end: int, depth: int) -> Iterator[Box]:
    """Boxes from here to there and those inside them: whichever may hold others is taken to."""
    while end - start >= 8:
        head = _content(file, start, min(end, start + 16))
        # A size of 1 stands in 64 bits behind the kind; one of 0 means to the end of the file.
        size, kind, begin = int.from_bytes(head[:4], "big"), head[4:8], start + 8
        if size == 1 and len(head) == 16:
            size, begin = int.from_bytes(head[8:], "big"), start + 16
        after = min(end, start + size) if size else end
        if after < begin:
            return
        yield kind, begin, after
        if depth and kind != MEDIA and kind not in TABLES:
            yield from _boxes(file, _inside(file, kind, begin, after), after, depth - 1)
        start = after


def _inside(file: BinaryIO, kind: bytes, start: int, end: int) -> int:
    """Where the boxes inside a box begin."""
    if kind == b"meta":
        found = _content(file, start, end).find(b"hdlr")
        return start + found - 4 if found >= 4 else start
    if kind == b"stsd":
        content = _content(file, start, end)
        if any(table in content for table in TABLES):
            raise AbsurdError("it has tables inside the description of its samples")
    return start


def _add(kind: bytes, content: bytes, claims: Claims) -> None:
    """Add what one table claims; AbsurdError where it is longer than its box."""
    if len(content) < 8:
        return
    if kind in ENTRY_BYTES:
        count = _count(content, 4, 8, 8 * ENTRY_BYTES[kind])
        table = np.frombuffer(content, ">u4", count * ENTRY_BYTES[kind] // 4, 8)
        if kind == b"stts":
            claims.durations += int(table[::2].sum(dtype=np.uint64))
        elif kind == b"stsc":
            claims.runs = [*zip(table[::3].tolist(), table[1::3].tolist(), strict=True)]
        else:
            claims.chunks = count
    elif kind == b"elst":
        claims.edits = max(claims.edits, _count(content, 4, 8, 96))
    elif kind == b"trun":
        flags = int.from_bytes(content[1:4], "big")
        start = 8 + 4 * sum(bool(flags & option) for option in TRUN_OFFSETS)
        claims.samples += _count(content, 4, start, 32 * sum(bool(flags & f) for f in TRUN_FIELDS))
    else:
        bits = 32 if kind == b"stsz" else content[7]
        constant = kind == b"stsz" and any(content[4:8])
        claims.samples += _count(content, 8, 12, 0 if constant else bits)


def _count(content: bytes, place: int, start: int, bits: int) -> int:
    """The number of entries that stands there, of so many bits each from there on."""
    count = int.from_bytes(content[place : place + 4], "big")
    if start + count * bits // 8 > len(content):
        raise AbsurdError(f"a table of {count:,} entries is longer than its box")
    return count


def place_of_unknown_size(file: BinaryIO) -> int | None:
    """Where a WAV file says that it has no data, although there are some; the file is rewound."""
    end = file.seek(0, 2)
    head = _content(file, 0, 12)
    try:
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        for start, kind, size in _chunks(file, 12, end):
            if kind == b"data":
                # A finished recording without samples may have chunks, of its title say, behind.
                known = size > 0 or _chunks_until(file, start + 8, end)
                return None if known else start + 4
        return None
    finally:
        file.seek(0)


def reading_unknown_size(file: BinaryIO, place: int) -> Callable[[int], bytes]:
    """`file.read`, which reads an unknown size there."""

    def read(count: int) -> bytes:
        start = file.tell()
        data = file.read(count)
        first = place - start
        if -4 < first < len(data):
            inside = slice(max(first, 0), min(first + 4, len(data)))
            data = (
                data[: inside.start] + UNKNOWN[: inside.stop - inside.start] + data[inside.stop :]
            )
        return data

    return read


def _chunks_until(file: BinaryIO, start: int, end: int) -> bool:
    """Whether from here on there are only whole chunks, or nothing."""
    for begin, kind, size in _chunks(file, start, end):
        start = begin + 8 + size
        if start > end or not (kind.isascii() and kind.decode().isprintable()):
            return False
    return start + start % 2 >= end


def _chunks(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, bytes, int]]:
    """Where each chunk begins, its kind, and the size of its content."""
    for _ in range(MOST_CHUNKS):
        if start + 8 > end:
            return
        head = _content(file, start, start + 8)
        size = int.from_bytes(head[4:], "little")
        yield start, head[:4], size
        start += 8 + size + size % 2  # chunks begin at even places
