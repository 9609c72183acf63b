"""A file -> blocks of its own samples, by soundfile or PyAV, never trusting what a header claims.

Nothing is sized by a header: a block is read, and what came is what there is. What a header claims
is only compared with it in the end, for a warning. This file knows nothing of 16 kHz or mono.
"""

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from turnout.audio.containers import absurdity, place_of_unknown_size, reading_unknown_size
from turnout.errors import AudioError, MissingExtra

Floats = NDArray[np.float32]

BLOCK_SECONDS = 2
BLOCK_VALUES = 2**20
"""Most values of a block over all channels: 1,024 channels take no more memory than one."""

LONGEST_FRAME = 2**18
"""Samples that a decoder may give at once; codecs' largest frames are about a second."""

FORMATS = frozenset(
    ("WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "NIST", "AU", "CAF")
)
"""Of libsndfile's formats, those of real recordings; the others have headers too weak to trust."""

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


def open_decoder(file: BinaryIO, name: str) -> AudioDecoder:
    """The decoder that takes this seekable file.

    Raises AudioError where it is no recording, MissingExtra where it is one that only PyAV reads.
    """
    head = file.read(64)
    file.seek(0)
    # Naming the container keeps FFmpeg from guessing: playlists and scripts that would make it open
    # other files or connections never reach it.
    if head[4:8] == b"ftyp":
        return AvDecoder(file, name, "mov")
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return AvDecoder(file, name, "matroska")
    if not head:
        raise AudioError(name, "the file is empty: give a recording")
    return SoundFileDecoder(file, name)


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
        try:
            self._file = _Forward(cast(BinaryIO, _Nameless(file, file.read)))
            # A WAV without samples may be one whose writer could not say how many there are.
            empty = self._file.format in ("WAV", "WAVEX") and self._file.frames == 0
            if empty and (place := place_of_unknown_size(file)) is not None:
                self._file.close()
                read = reading_unknown_size(file, place)
                self._file = _Forward(cast(BinaryIO, _Nameless(file, read)))
        except soundfile.LibsndfileError as error:
            raise not_audio(name, error.error_string) from error
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

    def _read(self, size: int) -> tuple[Floats, soundfile.LibsndfileError | None]:
        """A block, empty at the end, and the error that stopped it."""
        buffer = np.full((size, self.channels), np.nan, np.float32)
        try:
            return cast(Floats, self._file.read(out=buffer)), None
        except soundfile.LibsndfileError as error:
            # soundfile does not say how much came before the error: what is no longer NaN did.
            came = np.flatnonzero(~np.isnan(buffer[:, 0]))
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


class _Nameless:
    """A file without its name, from whose ending soundfile would take '.raw' for headerless."""

    def __init__(self, file: BinaryIO, read: Callable[[int], bytes]) -> None:
        self.read, self.seek, self.tell = read, file.seek, file.tell


class AvDecoder:
    """MP4 (m4a) and WebM or Matroska, through PyAV."""

    def __init__(self, file: BinaryIO, name: str, container: str) -> None:
        try:
            self._av: Any = import_module("av")
        except ImportError as error:
            raise MissingExtra(f"{name}: reading m4a, mp4 and webm", "av") from error
        self._name = name
        self.warnings: list[str] = []
        absurd = absurdity(file) if container == "mov" else None
        if absurd is not None:
            raise not_audio(name, absurd)
        try:
            self._container = self._av.open(file, mode="r", format=container)
        except (self._av.FFmpegError, ValueError, OSError) as error:
            raise not_audio(name, reason(error)) from error
        streams = self._container.streams.audio
        # Without a codec context there is no decoder for what the track says it holds.
        if not streams or streams[0].codec_context is None:
            self._container.close()
            raise not_audio(name, "no audio track in it that can be decoded")
        self._stream = streams[0]
        self._stream.codec_context.options = {"max_samples": str(LONGEST_FRAME)}
        self.rate = int(self._stream.rate or 0)
        self.channels = int(self._stream.channels or 0)

    def blocks(self) -> Iterator[Floats]:
        """Blocks of about two seconds, [samples, channels]."""
        pending: list[Floats] = []
        waiting = 0
        size = block_size(self.rate, self.channels)
        for frame in self._frames():
            for start in range(0, len(frame), size):
                pending.append(frame[start : start + size])
                waiting += len(pending[-1])
                if waiting >= size:
                    yield np.concatenate(pending)
                    pending, waiting = [], 0
        if pending:
            yield np.concatenate(pending)

    def close(self) -> None:
        """Close FFmpeg's container."""
        self._container.close()

    def _frames(self) -> Iterator[Floats]:
        """Decoded frames as float32 [samples, channels], of one rate and layout throughout."""
        same = self._av.AudioResampler(format="fltp", layout=self._stream.layout, rate=self.rate)
        decoded = 0
        try:
            for frame in self._container.decode(self._stream):
                for converted in same.resample(frame):
                    decoded += converted.samples
                    yield converted.to_ndarray().T
        except (self._av.FFmpegError, ValueError, OSError) as error:
            if decoded == 0:
                raise not_audio(self._name, reason(error)) from error
            self.warnings.append(f"{ENDS_EARLY} (decoder: {reason(error)})")
            return
        # Matroska says its length, in microseconds, for the file alone.
        promised = float((self._stream.duration or 0) * (self._stream.time_base or 0))
        promised = promised or (self._container.duration or 0) / 1e6
        # An encoder's priming and its last frame's filling are no loss.
        if decoded < (promised - 0.25) * self.rate:
            self.warnings.append(ENDS_EARLY)


def not_audio(name: str, why: str) -> AudioError:
    """The refusal of a file that no decoder takes."""
    return AudioError(
        name,
        f"not a recording that can be read ({why.strip().rstrip('.')}): "
        "give WAV, FLAC, OGG, Opus, MP3, AIFF, NIST, or m4a, mp4, webm",
    )


def reason(error: Exception) -> str:
    """The first line of what a decoder says."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).split("\n")[0]
