"""Tar files that a stranger may have written: made by Python's own library, by hand, or at random.

Each stands where an utterance's two members should be: `0000000000.json` and `0000000000.flac`.
"""

import gzip
import io
import tarfile
from collections.abc import Iterator

LABELS, SOUND = "0000000000.json", "0000000000.flac"
BLOCK = 512
LINKED = {
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "folder": tarfile.DIRTYPE,
    "contiguous": tarfile.CONTTYPE,
    "sparse": tarfile.GNUTYPE_SPARSE,
    "volume": b"V",
    "unknown": b"Z",
}
NAMES = (
    "../0000000000.json", "/etc/passwd", "/0000000000.json", "./0000000000.json", "..",
    "a/../../0000000000.json", "C:\\0000000000.json", "0000000000.JSON", "0000000001.json", "",
    "0000000000.json/", "nul\0name", "x" * 100, "é.json", "0000000000.json ",
)  # fmt: skip
SIZES = (0, 1, 2**31, 2**33 - 1)
SIZE_FIELDS = (
    b"-0000000001\0", b"           \0", b"0o000000010\0", b"99999999999\0", b"1_000000000\0",
    b"\x80" + bytes(7) + b"\xff" * 4, b"\xff" * 12,
)  # fmt: skip


def named(name: str, data: bytes, kind: bytes = tarfile.REGTYPE, **more: object) -> bytes:
    """One member as the library writes it, in GNU's form where it would else refuse."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.mode = len(data), kind, 0o644
    for field, value in more.items():
        setattr(info, field, value)
    head = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    return head + data + bytes(-len(data) % BLOCK)


def summed(header: bytes) -> bytes:
    """The header with its right checksum."""
    bare = header[:148] + b" " * 8 + header[156:]
    return bare[:148] + b"%06o\0 " % sum(bare) + bare[156:]


def hostile(good: bytes) -> Iterator[tuple[str, bytes]]:
    """What each is, and its bytes; `good` are the two members of an utterance."""
    size = int(good[124:135], 8)
    second = BLOCK + size + -size % BLOCK
    labels, sound = good[BLOCK : BLOCK + size], good[second:]
    for what, kind in LINKED.items():
        for target in ("../../etc/passwd", "/etc/passwd", SOUND):
            link = named(LABELS, b"", kind, linkname=target)
            yield f"{what} to {target}", link + sound
            yield f"{what} before", link + good
            yield f"{what} behind", good[:second] + named(SOUND, b"", kind, linkname=target)
    for name in NAMES:
        header = name.encode()[:100].ljust(100, b"\0") + good[100:BLOCK]
        yield f"named {name!r}", summed(header) + good[BLOCK:]
    for stated in SIZES:
        header = good[:124] + b"%011o\0" % stated + good[136:BLOCK]
        yield f"size {stated}", summed(header) + good[BLOCK:]
    for field in SIZE_FIELDS:
        yield f"size {field!r}", summed(good[:124] + field + good[136:BLOCK]) + good[BLOCK:]
    yield "duplicate labels", good[:second] + good
    yield "duplicate sound", good + sound
    yield "labels alone", good[:second]
    yield "sound alone", sound
    yield "the other way round", sound + good[:second]
    yield "wrong checksum", good[:148] + b"000000\0 " + good[156:]
    yield "no magic", summed(good[:257] + bytes(8) + good[265:BLOCK]) + good[BLOCK:]
    yield "prefix", summed(good[:345] + b"../..".ljust(155, b"\0") + good[500:BLOCK]) + good[BLOCK:]
    yield "setuid", named(LABELS, labels, mode=0o4777) + sound
    yield "extended", extended(labels, {"path": "/etc/passwd"}) + sound
    yield "extended size", extended(labels, {"size": "1"}) + sound
    yield "extended sparse", extended(labels, {"GNU.sparse.realsize": "99999999999"}) + sound
    yield "long name", named("x" * 300, labels) + sound
    yield "gzipped", padded(gzip.compress(good))
    yield "bomb", padded(gzip.compress(bytes(10**7)))
    yield "nested", named(LABELS, good) + sound
    yield "zeros", bytes(len(good))
    yield "a million members", named("a", b"") * 1000 + good
    yield "hidden behind", good[:-1] + b"x" if good[-1] == 0 else good + b"x" * BLOCK


def extended(labels: bytes, headers: dict[str, str]) -> bytes:
    """A member behind a header of POSIX's kind."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo(LABELS)
        info.size, info.pax_headers = len(labels), headers
        tar.addfile(info, io.BytesIO(labels))
    data = file.getvalue()
    # Up to the last member's end, without the archive's.
    return data[: 3 * BLOCK + len(labels) + -len(labels) % BLOCK]


def padded(data: bytes) -> bytes:
    """Whole blocks."""
    return data + bytes(-len(data) % BLOCK)
