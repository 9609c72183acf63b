"""Ogg pages: their checksums made right after damage, and a serial number to order."""

from collections.abc import Iterator

PAGE_HEAD = 27
SERIAL, CHECKSUM = slice(14, 18), slice(22, 26)


def pages(data: bytes) -> Iterator[slice]:
    """Where whole and broken pages lie, until something else follows."""
    place = 0
    while data[place : place + 4] == b"OggS" and place + PAGE_HEAD <= len(data):
        body = place + PAGE_HEAD + data[place + PAGE_HEAD - 1]
        end = body + sum(data[place + PAGE_HEAD : body])
        yield slice(place, end)
        place = end


def with_checksums(data: bytes, serial: bytes | None = None) -> bytes:
    """Each page's checksum made right: damage that the container does not notice; and, where it is
    given, each page's serial number set."""
    changed = bytearray(data)
    for place in pages(data):
        page = changed[place]
        page[CHECKSUM] = bytes(4)
        if serial is not None:
            page[SERIAL] = serial
        page[CHECKSUM] = _checksum(page).to_bytes(4, "little")
        changed[place] = page
    return bytes(changed)


def _checksum(page: bytearray) -> int:
    """CRC-32 of the polynomial 04C11DB7, most significant bit first, no inversion."""
    value = 0
    for byte in page:
        value = (value << 8 & 0xFFFF_FFFF) ^ _TABLE[value >> 24 ^ byte]
    return value


def _entry(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = (value << 1) ^ (0x04C1_1DB7 if value >> 31 else 0)
        value &= 0xFFFF_FFFF
    return value


_TABLE = tuple(map(_entry, range(256)))
