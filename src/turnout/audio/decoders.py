"""A file -> blocks of its own samples, by soundfile or PyAV, never trusting what a header claims.

Nothing is sized by a header: a block is read, and what came is what there is. What a header claims
is only compared with it in the end, for a warning. This file knows nothing of 16 kHz or mono.
"""

import os
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol, cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from turnout.audio.containers import place_of_unknown_size, reading_unknown_size
from turnout.errors import AudioError

Floats = NDArray[np.float32]

BLOCK_SECONDS = 2
BLOCK_VALUES = 2**20
"""Most values of a block over all channels: 1,024 channels take no more memory than one."""

HEAD_BYTES = 16_500
"""Two of the longest frames of AAC: what tells containers apart that have no magic number."""
MOST_TAGS = 16
FARTHEST = 2**62
"""Bytes: what libsndfile takes for a place."""

FORMATS = frozenset(
    ("WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "NIST", "AU", "CAF")
)
"""Of libsndfile's formats, those of real recordings; the others have headers too weak to trust."""

SOUNDFILE_MAGICS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b"caff",
                    b".snd", b"NIST_1A", b"\xff")  # fmt: skip
"""WAV, FLAC, Ogg, AIFF, CAF, AU, NIST and MP3."""
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

PLACEHOLDER_BYTES = 0x7FFF_0000
"""A size field this large was written by a program that did not know the size yet."""

ENDS_EARLY = "the data end early: what is there was taken"


class AudioDecoder(Protocol):
    """An open recording at its own rate and with its own channels."""

    rate: int
    channels: int
    warnings: list[str]
    """What was amiss, known once the blocks are read."""

    def blocks(self) -> Iterator[Floats]:
        """Blocks [samples, channels] until the data end; whatever was decodable is yielded."""
        ...

    def close(self) -> None:
        """Release the decoder; the file below it stays the caller's."""
        ...


def open_decoder(file: BinaryIO, name: str, track: int | None = None) -> AudioDecoder:
    """The decoder that takes this seekable file, of one of its audio tracks: the default one.

    Raises AudioError where it is no recording or has no such track, MissingExtra where it is one
    that only PyAV reads.
    """
    file = behind_tags(file)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not head:
        raise AudioError(name, "the file is empty: give a recording")
    # Naming the container keeps FFmpeg from guessing: playlists and scripts that would make it open
    # other files or connections never reach it.
    container = av_container(head)
    if container is not None:
        # Here, not above: it uses what is here, and few recordings need it.
        from turnout.audio.pyav import AvDecoder  # noqa: PLC0415

        return AvDecoder(file, name, container, track)
    check_single(name, track)
    return SoundFileDecoder(file, name)


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
    behind = cast(BinaryIO, _Behind(file, start))
    behind.seek(0)
    head = behind.read(HEAD_BYTES)
    known = head.startswith(SOUNDFILE_MAGICS) or av_container(head) is not None
    found = behind if start and known else file
    found.seek(0)
    return found


def check_single(name: str, track: int | None) -> None:
    """Raise AudioError where another track is asked for than the only one."""
    if track:
        raise AudioError(name, f"there is no audio track {track}: it has 1, counted from 0")


def av_container(head: bytes) -> str | None:
    """FFmpeg's name of the container that begins so, where it is read by PyAV."""
    for place, magic, container in AV_MAGICS:
        if head[place : place + len(magic)] == magic:
            return container
    if is_adts(head):
        return "aac"
    return "mpegts" if is_transport_stream(head) else None


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


def block_size(rate: int, channels: int) -> int:
    """How many samples a block has, of each channel."""
    return max(1, min(BLOCK_SECONDS * rate, BLOCK_VALUES // max(1, channels)))


class _Forward(soundfile.SoundFile):
    """Reads forward only.

    soundfile otherwise seeks after every block, which fails at the end of files of unknown length
    and disturbs damaged Opus.
    """

    def seekable(self) -> bool:
        return False


class SoundFileDecoder:
    """WAV, FLAC, OGG, MP3, AIFF, NIST and their kin, through libsndfile."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._name = name
        self._raw = file
        self.warnings: list[str] = []
        self._virtual = VirtualFile(file, file.read)
        self._file = self._open()
        # A WAV without samples may be one whose writer could not say how many there are.
        empty = self._file.format in ("WAV", "WAVEX") and self._file.frames == 0
        if empty and (place := place_of_unknown_size(file)) is not None:
            self._file.close()
            self._virtual = VirtualFile(file, reading_unknown_size(file, place))
            self._file = self._open()
        if self._file.format not in FORMATS:
            self._file.close()
            raise not_audio(name, f"recognised as {self._file.format}")
        self.rate = self._file.samplerate
        self.channels = self._file.channels

    def blocks(self) -> Iterator[Floats]:
        """Blocks of about two seconds, [samples, channels]."""
        size = block_size(self.rate, self.channels)
        decoded = 0
        while True:
            block, error = self._read(size)
            self._virtual.check()
            decoded += len(block)
            if error is not None and decoded == 0:
                raise not_audio(self._name, error.error_string) from error
            if len(block):
                yield block
            if error is not None:
                self.warnings.append(f"{ENDS_EARLY} (decoder: {error.error_string.strip()})")
                return
            if len(block) == 0:
                break
        # Where libsndfile does not know the length, it says the largest number.
        if decoded < self._file.frames < 2**62 or self._container_cut(decoded):
            self.warnings.append(ENDS_EARLY)

    def close(self) -> None:
        """Close libsndfile's handle."""
        self._file.close()

    def _open(self) -> soundfile.SoundFile:
        try:
            return _Forward(cast(BinaryIO, self._virtual))
        except soundfile.LibsndfileError as error:
            self._virtual.check()
            raise not_audio(self._name, error.error_string) from error

    def _read(self, size: int) -> tuple[Floats, soundfile.LibsndfileError | None]:
        """A block, empty at the end, and the error that stopped it."""
        buffer = np.full((size, self.channels), np.nan, np.float32)
        try:
            return cast(Floats, self._file.read(out=buffer)), None
        except soundfile.LibsndfileError as error:
            # soundfile does not say how much came before the error: what is no longer NaN did.
            came = np.flatnonzero(~np.isnan(buffer).all(axis=1))
            return buffer[: came[-1] + 1 if len(came) else 0], error

    def _container_cut(self, decoded: int) -> bool:
        """Whether the container promised more than libsndfile, which corrects it quietly, says."""
        kind = self._file.format
        if kind == "NIST":
            self._raw.seek(0)
            count = re.search(rb"sample_count -i (\d+)", self._raw.read(1024))
            return count is not None and int(count[1]) > decoded
        if kind == "OGG":
            return self._ogg_cut()
        sizes = re.findall(
            r"(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)",
            self._file.extra_info,
        )
        return any(int(real) < int(said) < PLACEHOLDER_BYTES for said, real in sizes)

    def _ogg_cut(self) -> bool:
        """Whether the last Ogg page lacks the mark that ends its stream."""
        size = self._raw.seek(0, 2)
        # A page is at most 65,307 bytes, so that the last whole header lies in here.
        self._raw.seek(max(0, size - 2**17))
        tail = self._raw.read()
        self._raw.seek(0)
        head = self._raw.read(18)
        page = tail.rfind(b"OggS\0")
        if page < 0 or page + 18 > len(tail):
            return True
        if tail[page + 14 : page + 18] != head[14:18]:
            self.warnings.append("several streams in one file: only the first was taken")
        return not tail[page + 5] & 4


class VirtualFile:
    """A file as libsndfile reads it: by callbacks that must not raise, since that would be printed
    and forgotten; and without its name, from whose ending soundfile would take '.raw' for
    headerless.

    A header may send it anywhere, also before its beginning: nothing is read there.
    """

    def __init__(self, file: BinaryIO, read: Callable[[int], bytes]) -> None:
        self._file, self._read = file, read
        self._size = file.seek(0, os.SEEK_END)
        self._position = 0
        self._error: BaseException | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> None:
        """Go there, as far as 64 bits can say."""
        place = (0, self._position, self._size)[whence] + offset
        self._position = max(-FARTHEST, min(place, FARTHEST))

    def tell(self) -> int:
        """Where it is."""
        return self._position

    def read(self, count: int) -> bytes:
        """Nothing where nothing is, or once reading failed."""
        if not 0 <= self._position < self._size or self._error is not None:
            return b""
        try:
            self._file.seek(self._position)
            data = self._read(max(0, min(count, self._size - self._position)))
        except BaseException as error:  # Ctrl-C, too, would be lost
            self._error = error
            return b""
        self._position += len(data)
        return data

    def check(self) -> None:
        """Raise what was met while reading."""
        if self._error is not None:
            raise self._error


class _Behind:
    """A file from a place on, as a file of its own."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file, self._start = file, start
        self.read = file.read

    def tell(self) -> int:
        """From its own beginning."""
        return self._file.tell() - self._start

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Raises OSError or ValueError before its beginning."""
        if whence == os.SEEK_SET:
            if offset < 0:
                raise ValueError(f"negative seek value {offset}")
            offset += self._start
        return self._file.seek(offset, whence) - self._start


def not_audio(name: str, why: str) -> AudioError:
    """The refusal of a file that no decoder takes."""
    return AudioError(
        name,
        f"not a recording that can be read ({why.strip().rstrip('.')}): "
        "give WAV, FLAC, OGG, Opus, MP3, AIFF, NIST, or m4a, mp4, webm, AAC, AMR, MPEG-TS",
    )


def reason(error: Exception) -> str:
    """The first line of what a decoder says."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).split("\n")[0]
