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
from turnout.audio.recognition import HEAD_BYTES, MARKS, av_container, behind_tags
from turnout.errors import AudioError

Floats = NDArray[np.float32]

BLOCK_SECONDS = 2
BLOCK_VALUES = 2**20
"""Most values of a block over all channels: 1,024 channels take no more memory than one."""

FARTHEST = 2**62
"""Bytes: what libsndfile takes for a place."""

FORMATS = frozenset(
    ("WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "NIST", "AU", "CAF")
)
"""Of libsndfile's formats, those of real recordings; the others have headers too weak to trust."""

BLOCK_CODECS = ("GSM610", "IMA_ADPCM", "MS_ADPCM", "NMS_ADPCM", "G721", "G723")
"""Of libsndfile's, those whose blocks have as many samples whatever they hold. Where a damaged
header claims that there are more, GSM decodes its last one again and again, for hours."""
MOST_OF_A_BYTE = 5
"""Samples that such a codec makes of one byte: GSM 320 of 65, the others fewer."""

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


def check_single(name: str, track: int | None) -> None:
    """Raise AudioError where another track is asked for than the only one."""
    if track:
        raise AudioError(name, f"there is no audio track {track}: it has 1, counted from 0")


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
        # libsndfile takes what has no mark, as MP3, and some size, for half of a pair of Apple's,
        # whose other half it would open beside it: "._" or ".AppleDouble/", which are others'.
        marked = file.read(max(map(len, MARKS))).startswith(MARKS)
        self._virtual = VirtualFile(file, file.read, size_at_first=marked)
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
        size, most = block_size(self.rate, self.channels), self._most_samples()
        decoded = 0
        while True:
            block, error = self._read(min(size, most - decoded))
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

    def _most_samples(self) -> int:
        """How many the file can hold, as far as that is known."""
        if not self._file.subtype.startswith(BLOCK_CODECS):
            return FARTHEST
        return MOST_OF_A_BYTE * self._virtual.size // self.channels

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
    """A file as libsndfile and FFmpeg read it: by callbacks that must not raise, since that would
    be printed and forgotten; and without its name, from whose ending soundfile would take '.raw'
    for headerless.

    A header may send it anywhere, also before its beginning: nothing is read there. Asked for its
    size, it may say 0 at first.
    """

    def __init__(
        self, file: BinaryIO, read: Callable[[int], bytes], *, size_at_first: bool = True
    ) -> None:
        self._file, self._read = file, read
        self._tells_size = size_at_first
        self.size = file.seek(0, os.SEEK_END)
        self._position = 0
        self._error: BaseException | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go there, as far as 64 bits can say; below 0 is no place, and an error to FFmpeg."""
        size = self.size if self._tells_size else 0
        self._tells_size |= whence == os.SEEK_END
        place = (0, self._position, size)[whence] + offset
        self._position = max(-FARTHEST, min(place, FARTHEST))
        return self._position

    def tell(self) -> int:
        """Where it is."""
        return self._position

    def read(self, count: int) -> bytes:
        """Nothing where nothing is, or once reading failed."""
        if not 0 <= self._position < self.size or self._error is not None:
            return b""
        try:
            self._file.seek(self._position)
            data = self._read(max(0, min(count, self.size - self._position)))
        except BaseException as error:  # Ctrl-C, too, would be lost
            self._error = error
            return b""
        self._position += len(data)
        return data

    def check(self) -> None:
        """Raise what was met while reading."""
        if self._error is not None:
            raise self._error


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
