"""WAV files whose writer could not go back to say how long they became, and said 0."""

from collections.abc import Callable
from typing import BinaryIO

UNKNOWN = b"\xff" * 4
"""The size that libsndfile takes to mean: to the end of the file."""
MOST_CHUNKS = 1000


def place_of_unknown_size(file: BinaryIO) -> int | None:
    """Where a WAV file says that it has no data, although there are some; the file is rewound."""
    end = file.seek(0, 2)
    try:
        place = _data_of_no_size(file, end)
        # A finished recording without samples may have chunks, of its title say, behind them.
        return None if place is None or _chunks_until(file, place + 4, end) else place
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


def _data_of_no_size(file: BinaryIO, end: int) -> int | None:
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    start = 12
    for _ in range(MOST_CHUNKS):
        kind, size = _chunk(file, start)
        if kind == b"data":
            return start + 4 if size == 0 else None
        start += 8 + size + size % 2
        if start + 8 > end:
            break
    return None


def _chunks_until(file: BinaryIO, start: int, end: int) -> bool:
    """Whether from here on there are only whole chunks, or nothing."""
    for _ in range(MOST_CHUNKS):
        if start >= end:
            return True
        kind, size = _chunk(file, start)
        if not (len(kind) == 4 and kind.isascii() and kind.decode().isprintable()):
            return False
        start += 8 + size
        if start > end:
            return False
        start += size % 2
    return False


def _chunk(file: BinaryIO, start: int) -> tuple[bytes, int]:
    """Kind, and size of the content."""
    file.seek(start)
    head = file.read(8)
    return head[:4], int.from_bytes(head[4:], "little")
