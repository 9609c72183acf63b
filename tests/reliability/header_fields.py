"""Where the fields of a container's headers stand: places, widths and byte orders.

Whatever cannot be walked any more ends the walk: damaged files have fields, too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal

from tests.ogg import pages

MOST_FIELDS = 4000


@dataclass(frozen=True)
class Field:
    """A number in a header."""

    place: int
    width: int
    order: Literal["little", "big"] = "big"

    def read(self, data: bytes) -> int:
        """Its value."""
        return int.from_bytes(data[self.place : self.place + self.width], self.order)

    def write(self, data: bytes, value: int) -> bytes:
        """The file with another value, as far as it fits."""
        field = (value % 2 ** (8 * self.width)).to_bytes(self.width, self.order)
        return data[: self.place] + field + data[self.place + self.width :]


Fields = Iterator[Field]


def fields_of(data: bytes) -> list[Field]:
    """Fields of the headers that are known to this place; none for what is no container."""
    walk = next((walk for place, magic, walk in WALKS if data[place:].startswith(magic)), None)
    if walk is None:
        return []
    found = islice(walk(data), MOST_FIELDS)
    return [field for field in found if field.place + field.width <= len(data)]


def _row(place: int, widths: str, order: Literal["little", "big"] = "big") -> Fields:
    """Fields side by side; each digit is a width."""
    for width in map(int, widths):
        yield Field(place, width, order)
        place += width


RIFF_CHUNKS = {b"fmt ": "2244222224", b"fact": "8888", b"ds64": "8888", b"avih": "4" * 14,
               b"strh": "4422" + "4" * 10, b"strf": "2244222", b"idx1": "4444"}  # fmt: skip


def _riff(data: bytes) -> Fields:
    place = 12
    yield Field(4, 4, "little")
    while place + 8 <= len(data):
        kind, size = data[place : place + 4], Field(place + 4, 4, "little")
        yield size
        if kind == b"LIST" and data[8:12] == b"AVI ":  # chunks lie inside
            place += 12
            continue
        yield from _row(place + 8, RIFF_CHUNKS.get(kind, ""), "little")
        place += 8 + size.read(data) + size.read(data) % 2


def _aiff(data: bytes) -> Fields:
    place = 12
    yield Field(4, 4)
    while place + 8 <= len(data):
        kind, size = data[place : place + 4], Field(place + 4, 4)
        yield size
        # Channels, frames, bits, and the rate's exponent and mantissa; offset and block size.
        yield from _row(place + 8, {b"COMM": "242284", b"SSND": "44"}.get(kind, ""))
        place += 8 + size.read(data) + size.read(data) % 2


def _wave64(data: bytes) -> Fields:
    place = 40
    yield Field(16, 8, "little")
    while place + 24 <= len(data):
        size = Field(place + 16, 8, "little")
        yield size
        if data.startswith(b"fmt ", place):
            yield from _row(place + 24, "224422", "little")
        place += max(24, size.read(data) + -size.read(data) % 8)


def _caf(data: bytes) -> Fields:
    place = 8
    yield from _row(4, "22")
    while place + 12 <= len(data):
        kind, size = data[place : place + 4], Field(place + 4, 8)
        yield size
        yield from _row(place + 12, {b"desc": "8444444", b"pakt": "8844"}.get(kind, ""))
        place += 12 + size.read(data)


def _flac(data: bytes) -> Fields:
    place, last = 4, False
    while not last and place + 4 <= len(data):
        last = data[place] >= 0x80
        yield from _row(place, "13")
        if data[place] & 0x7F == 0:
            # Sizes of blocks and frames; rate, channels, bits and samples, which share bytes.
            yield from _row(place + 4, "223321112114")
        place += 4 + int.from_bytes(data[place + 1 : place + 4], "big")
    yield from _row(place, "1111112")


def _ogg(data: bytes) -> Fields:
    for page in pages(data):
        yield from _row(page.start + 4, "118444", "little")
        yield from _row(page.start + 26, "1" * min(8, 1 + data[page.start + 26]))
        body = page.start + 27 + data[page.start + 26]
        if data.startswith(b"OpusHead", body):
            yield from _row(body + 8, "112421", "little")
        if data.startswith(b"\1vorbis", body):
            yield from _row(body + 7, "4144441", "little")


def _mp3(data: bytes) -> Fields:
    start = data.find(b"\xff")
    yield from _row(6, "1111")
    yield from _row(start, "1111")
    for mark in (b"Xing", b"Info", b"VBRI"):
        if (place := data.find(mark, 0, 4096)) >= 0:
            yield from _row(place + 4, "44411111111")


FOLDERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"edts")


def _mp4(data: bytes, start: int = 0, end: int | None = None) -> Fields:
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = Field(start, 4), data[start + 4 : start + 8]
        yield size
        after = start + max(8, size.read(data))
        if kind in (
            b"moov",
            b"trak",
            b"mdia",
            b"minf",
            b"stbl",
            b"moof",
            b"traf",
            b"mvex",
            b"edts",
        ):
            yield from _mp4(data, start + 8, min(after, end))
        elif kind != b"mdat":
            yield from _row(start + 8, "4" * min(16, (after - start - 8) // 4))
        start = after


def _ebml(data: bytes, start: int = 0, end: int | None = None) -> Fields:
    end = len(data) if end is None else end
    while start + 2 <= end and data[start]:
        width = 9 - data[start].bit_length()
        head = start + width
        if head >= end or not data[head]:
            return
        digits = 9 - data[head].bit_length()
        yield Field(head, digits)
        size = int.from_bytes(data[head : head + digits], "big") & (1 << 7 * digits) - 1
        content, after = head + digits, min(end, head + digits + size)
        if data[start:head].hex() in MASTERS:
            yield from _ebml(data, content, after)
        elif size <= 8:
            yield from _row(content, str(size) if size else "")
        start = after


MASTERS = {"1a45dfa3", "18538067", "1549a966", "1654ae6b", "ae", "e1", "1f43b675", "1c53bb6b",
           "114d9b74", "4dbb", "bb", "b7", "a0"}  # fmt: skip
"""Elements with elements inside: header, segment, information, tracks, audio, clusters, cues."""


def _sphere(data: bytes) -> Fields:
    for place in range(0, min(1024, len(data))):
        if data[place : place + 1].isdigit():
            yield Field(place, 1)


def _adts(data: bytes) -> Fields:
    place = 0
    while place + 7 <= len(data):
        yield from _row(place, "1111111")
        place += max(7, int.from_bytes(data[place + 3 : place + 6], "big") >> 5 & 0x1FFF)


def _amr(data: bytes) -> Fields:
    return chain.from_iterable(_row(place, "1") for place in range(5, len(data), 32))


def _flash(data: bytes) -> Fields:
    yield from _row(4, "14")
    place = 13
    while place + 11 <= len(data):
        yield from _row(place, "1331311")  # kind, size, time, stream, and how the sound is coded
        place += 15 + int.from_bytes(data[place + 1 : place + 4], "big")


def _program(data: bytes) -> Fields:
    place = data.find(b"\0\0\1")
    while place >= 0:
        yield from _row(place + 3, "1211111111")
        place = data.find(b"\0\0\1", place + 3)


def _asf(data: bytes) -> Fields:
    place = 0
    while place + 24 <= len(data):
        size = Field(place + 16, 8, "little")
        yield size
        header = place == 0  # objects lie inside
        yield from _row(place + 24, "411" if header else "4" * 24, "little")
        place += 30 if header else max(24, size.read(data))


def _transport(data: bytes) -> Fields:
    # The packet's head, and of the first ones the tables.
    for place in range(0, len(data), 188):
        yield from _row(place, "11111111" if place > 1000 else "1" * 48)


WALKS: list[tuple[int, bytes, Callable[[bytes], Fields]]] = [
    (0, b"RIFF", _riff), (0, b"RF64", _riff), (0, b"FORM", _aiff), (0, b"riff", _wave64),
    (0, b"caff", _caf), (0, b"fLaC", _flac), (0, b"OggS", _ogg), (0, b"NIST_1A", _sphere),
    (0, b".snd", lambda _: _row(4, "44444")), (4, b"ftyp", _mp4), (0, b"\x1a\x45\xdf\xa3", _ebml),
    (0, b"#!AMR", _amr), (0, b"G", _transport), (0, b"\xff\xf1", _adts), (0, b"\xff", _mp3),
    (0, b"ID3", _mp3), (0, b"FLV", _flash), (0, b"\0\0\1\xba", _program),
    (0, bytes.fromhex("3026b275"), _asf),
]  # fmt: skip
