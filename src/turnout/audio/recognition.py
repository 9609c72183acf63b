"""Which container a file is, by its content: what lies behind tags, and what only PyAV reads.

Knows no decoder, and reads no more than the beginning.
"""

import os
from collections.abc import Callable
from typing import BinaryIO, cast

HEAD_BYTES = 16_500
"""Two of the longest frames of AAC: what tells containers apart that have no magic number."""
MOST_TAGS = 16
MARKS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b"caff", b".snd",
         b"NIST_1A")  # fmt: skip
"""Of WAV, W64, FLAC, Ogg, AIFF, CAF, AU and NIST, which libsndfile reads."""
MP3_BEGINS = b"\xff"
AV_MAGICS = (
    *((4, kind, "mov") for kind in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"#!AMR", "amr"),
    (0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "asf"),
    (0, b"FLV\1", "flv"),
    (0, b"\0\0\1\xba", "mpeg"),
    (8, b"AVI LIST", "avi"),
)
"""Where a container's mark stands, and FFmpeg's name of it."""

WAV_CODECS = frozenset(
    (0x14, 0x20, 0x22, 0x42, 0x45, 0x50, 0x57, 0x58, 0x64, 0x65, 0x83, 0xFF, 0x111, 0x160, 0x161,
     0x162, 0x28F, 0x1600, 0xA106, 0xA109)
)  # fmt: skip
"""Of a WAV file, which only PyAV reads: G.723.1, Yamaha's, TrueSpeech, G.726, MP2, AMR, G.729, AAC,
WMA, G.722, Speex."""
CAF_CODECS = (b"aac ", b"samr", b"sawb", b"opus")
OGG_CODECS = (b"\1vorbis", b"OpusHead", b"\x7fFLAC")
"""That libsndfile reads, where the file has one stream at a time."""
OGG_BEGINS = 2
"""The flag of a stream's first page."""


def behind_tags(file: BinaryIO) -> BinaryIO:
    """What lies behind ID3 tags, which some programs write before any container; the file itself
    where nothing does that is known."""
    start = 0
    for _ in range(MOST_TAGS):
        file.seek(start)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3":
            break
        # Seven bits of each byte; a footer is as long as the header, and not in the size.
        size = sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
        )
        start += 10 + size + 10 * bool(head[5] & 0x10)
    behind = cast(BinaryIO, Behind(file, start))
    behind.seek(0)
    head = behind.read(HEAD_BYTES)
    known = head.startswith((*MARKS, MP3_BEGINS)) or av_container(head) is not None
    found = behind if start and known else file
    found.seek(0)
    return found


def av_container(head: bytes) -> str | None:
    """FFmpeg's name of the container that begins so, where it is read by PyAV."""
    for place, magic, container in AV_MAGICS:
        if head[place : place + len(magic)] == magic:
            return container
    for container, recognised in RECOGNISED.items():
        if recognised(head):
            return container
    return None


def is_adts(head: bytes) -> bool:
    """Whether two frames of AAC begin where they must, or the only one."""
    place, found = 0, 0
    while len(head) - place >= 7 and found < 2:
        # 12 bits of 1, layer 0, a rate that there is, and a length with the header's in it.
        length = int.from_bytes(head[place + 3 : place + 6], "big") >> 5 & 0x1FFF
        if head[place] != 0xFF or head[place + 1] & 0xF6 != 0xF0 or length < 7:
            return False
        if head[place + 2] >> 2 & 0xF > 12:
            return False
        place, found = place + length, found + 1
    return found > 0


def is_transport_stream(head: bytes) -> bool:
    """Whether packets of 188 bytes follow each other, with four bytes before or 16 behind each."""
    return any(
        len(head) > start + size and set(head[start::size]) == {0x47}
        for start, size in ((0, 188), (4, 192), (0, 204))
    )


class Behind:
    """A file from a place on, as a file of its own."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file, self._start = file, start
        self.read = file.read

    def tell(self) -> int:
        """From its own beginning."""
        return self._file.tell() - self._start

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file; not before its beginning."""
        place = offset + self._start if whence == os.SEEK_SET else offset
        return self._file.seek(place, whence) - self._start


def is_wav_of_another_codec(head: bytes) -> bool:
    """Whether libsndfile does not have the codec of this WAV file."""
    place = head.find(b"fmt ", 12)
    tag = head[place + 8 : place + 10]
    return head[:4] == b"RIFF" and place >= 0 and int.from_bytes(tag, "little") in WAV_CODECS


def is_ogg_of_another_codec(head: bytes) -> bool:
    """Whether libsndfile does not have the codec of this Ogg file, or other streams run beside it,
    such as a film's."""
    if head[:4] != b"OggS" or len(head) < 28:
        return False
    begin = 27 + head[26]
    after = begin + sum(head[27:begin])
    flags = int.from_bytes(head[after + 5 : after + 6], "big")
    beside = head.startswith(b"OggS", after) and bool(flags & OGG_BEGINS)
    return beside or not head.startswith(OGG_CODECS, begin)


RECOGNISED: dict[str, Callable[[bytes], bool]] = {
    "aac": is_adts,
    "mpegts": is_transport_stream,
    "wav": is_wav_of_another_codec,
    "ogg": is_ogg_of_another_codec,
    "caf": lambda head: head[:4] == b"caff" and head[28:32] in CAF_CODECS,
}
"""What has no mark of its own, or is read by PyAV for what is in it."""
