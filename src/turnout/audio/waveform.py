"""A recording, from a file or bytes -> mono float32 samples at 16 kHz, in blocks.

What is taken, what is refused and what is taken with a warning is decided here. Memory is bounded
by the block, and the length by what was decoded: a small file that unpacks to hours is stopped at
the limit. This file knows nothing of frames or models.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from io import BytesIO, TextIOBase
from os import PathLike
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import soxr
from numpy.typing import NDArray

from turnout.audio.decoders import BLOCK_SECONDS, AudioDecoder, check_single, open_decoder
from turnout.audio.features import SAMPLE_RATE
from turnout.audio.mixing import Mixer
from turnout.config.transcription import MAX_DURATION_SECONDS
from turnout.errors import AudioError, AudioTooLong, UsageError

Floats = NDArray[np.float32]

LOWEST_RATE = 8_000
HIGHEST_RATE = 192_000
LARGEST_SAMPLE = 1e6
"""Full scale is 1, and some programs write 16-bit values as floats; beyond it, powers overflow."""
RAISE_IT = " or raise max_duration"
"""The end of what is said of a recording that is too long; a server's clients cannot."""
SPOOL_BYTES = 2**24
COPY_BYTES = 2**20
MOST_PIPED_BYTES = 2**32
"""Of a pipe or a caller's stream, which are copied before they are read: as large as a WAV file can
be. Four hours of CD sound are 2.5e9 bytes."""


@dataclass(frozen=True, eq=False)
class Waveform:
    """A whole recording in memory; raises UsageError for samples that are none."""

    samples: Floats
    """[samples] in float32: mono, 16 kHz, full scale 1."""
    native_rate: int
    """Hz, as the file was sampled."""
    warnings: tuple[str, ...] = ()
    """What was amiss and was taken all the same."""

    def __post_init__(self) -> None:
        kind, shape = getattr(self.samples, "dtype", None), np.shape(self.samples)
        if kind != np.float32 or len(shape) != 1:
            raise UsageError(
                f"a Waveform cannot be of shape {list(shape)} and type {kind}: give one dimension "
                f"of float32 samples at {SAMPLE_RATE} Hz"
            )

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / SAMPLE_RATE


Source = str | Path | bytes | bytearray | memoryview | BinaryIO | Waveform
"""What a recording may be given as."""


class _Decoded:
    """A Waveform as an AudioDecoder: nothing is left to decode."""

    channels = 1
    rate = SAMPLE_RATE

    def __init__(self, waveform: Waveform) -> None:
        self.native_rate = waveform.native_rate
        self.warnings = list(waveform.warnings)
        self._samples = waveform.samples

    def blocks(self) -> Iterator[Floats]:
        """Views of the samples; whoever changes them changes the caller's, so they are copied."""
        size = BLOCK_SECONDS * SAMPLE_RATE
        for start in range(0, len(self._samples), size):
            yield self._samples[start : start + size, None].copy()

    def close(self) -> None:
        """Nothing is open."""


class Recording:
    """An open recording, read once, from its beginning to its end."""

    def __init__(
        self,
        decoder: AudioDecoder,
        file: BinaryIO,
        name: str,
        max_duration: float,
        channel: int | None,
    ) -> None:
        self.name = name
        # Samples that are given lie at 16 kHz, whatever the rate of the file that they came from.
        self.native_rate = decoder.native_rate if isinstance(decoder, _Decoded) else decoder.rate
        self._decoder = decoder
        self._file = file
        # Half a sample more: a product of fractions may fall short. Rounding it may overflow.
        self._limit = max_duration * SAMPLE_RATE + 0.5
        self._max_duration = max_duration
        self._channel = 0 if decoder.channels == 1 else channel
        self._mixer = Mixer(decoder.channels, decoder.rate) if self._channel is None else None
        self._read = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was amiss and was taken all the same; complete once the blocks are read."""
        mixed = [] if self._mixer is None else self._mixer.warnings
        return (*self._decoder.warnings, *mixed)

    def blocks(self, *, settled: bool = True) -> Iterator[Floats]:
        """Mono samples at 16 kHz, a few seconds a block; can be iterated once. `settled`, what they
        begin with becomes zero until it changes: of an impulse response that may be all.

        Raises AudioError for a recording without samples or with values that are no samples, and
        AudioTooLong beyond the allowed duration.
        """
        if self._read:
            raise RuntimeError(f"{self.name} was read already: open it again")
        self._read = True
        length = 0
        with closing(self):
            try:
                for block in self._resampled(settled):
                    length += len(block)
                    if length > self._limit:
                        raise AudioTooLong(
                            self.name,
                            f"longer than the allowed {self._max_duration:g} s: "
                            f"give a shorter recording{RAISE_IT}",
                        )
                    yield block
            except OSError as error:
                raise AudioError(self.name, _refusal(error)) from error

    def close(self) -> None:
        """Release the file; reading to the end, or to an error, does so by itself."""
        self._read = True
        self._decoder.close()
        self._file.close()

    def _resampled(self, settled: bool) -> Iterator[Floats]:
        if self._decoder.rate == SAMPLE_RATE:
            yield from self._mono(settled)
            return
        stream = soxr.ResampleStream(self.native_rate, SAMPLE_RATE, 1, dtype="float32")
        length = 0
        for block in self._mono(settled):
            resampled = stream.resample_chunk(block)
            length += len(resampled)
            if len(resampled):
                yield resampled
        rest = stream.resample_chunk(np.zeros(0, np.float32), last=True)
        # A recording of a sample or two may round to none; it is taken, so it has one.
        yield rest if length + len(rest) else np.zeros(1, np.float32)

    def _mono(self, settled: bool) -> Iterator[Floats]:
        """Mono samples at the native rate; `settled`, a constant at the beginning becomes zero.

        So a recording of nothing but an offset is digital silence, and resampling, which would ring
        at its two ends, has nothing to ring at.
        """
        constant: np.float32 | None = None
        leading = True
        for mono in self._heard():
            if leading:  # no sample differed yet
                constant = mono[0] if constant is None else constant
                changes = np.flatnonzero(mono != constant)
                leading = len(changes) == 0
                mono[: (None if leading else changes[0]) if settled else 0] = 0.0
            yield mono
        if constant is None:
            raise AudioError(self.name, "holds no samples: give a recording that is not empty")

    def _heard(self) -> Iterator[Floats]:
        """The channel that was chosen, or all of them, mixed; no block of it is empty."""
        for block in self._decoder.blocks():
            heard = block if self._channel is None else block[:, self._channel, None]
            taken = np.abs(heard).max(axis=0, initial=0.0) <= LARGEST_SAMPLE  # false of NaN
            if not taken.all():
                raise AudioError(
                    self.name,
                    f"holds NaN, infinite or absurdly large samples: accepted are finite values up "
                    f"to {LARGEST_SAMPLE:g} (full scale is 1); write the file again"
                    + (f", or choose channel {int(taken.argmax())}" if taken.any() else ""),
                )
            mono = heard[:, 0] if self._mixer is None else self._mixer.mix(block)
            if len(mono):
                yield np.ascontiguousarray(mono)
        if self._mixer is not None and len(rest := self._mixer.rest()):
            yield rest


def open_recording(
    source: Source,
    *,
    name: str | None = None,
    max_duration: float = MAX_DURATION_SECONDS,
    channel: int | None = None,
    track: int | None = None,
) -> Recording:
    """Open a file, bytes, a stream or samples; `channel` picks one (from 0) instead of mixing all,
    and `track` one of several audio tracks (from 0) instead of the default one.

    Raises AudioError where it cannot be taken, UsageError for what is no recording, MissingExtra
    where its container needs the extra `av`.
    """
    if isinstance(source, str) and not source:
        raise UsageError("the name of a recording is empty: give its path")
    name = name or (os.fsdecode(source) if isinstance(source, str | PathLike) else "recording")
    with ExitStack() as opened:
        file = opened.enter_context(_open(source, name))
        decoder = _decoder(source, file, name, track)
        opened.enter_context(closing(decoder))
        _check(decoder, name, channel)
        opened.pop_all()  # the recording closes them from now on
    return Recording(decoder, file, name, max_duration, channel)


def read_audio(
    source: Source,
    *,
    name: str | None = None,
    max_duration: float = MAX_DURATION_SECONDS,
    channel: int | None = None,
    track: int | None = None,
) -> Waveform:
    """A whole recording, mono at 16 kHz; arguments and errors as of `open_recording`."""
    recording = open_recording(
        source, name=name, max_duration=max_duration, channel=channel, track=track
    )
    samples = np.concatenate(list(recording.blocks()))
    return Waveform(samples, recording.native_rate, recording.warnings)


class LastRecording:
    """Whole recordings; the last one stays decoded, since its segments follow each other."""

    def __init__(self, max_duration: float = MAX_DURATION_SECONDS) -> None:
        self._max_duration = max_duration
        self._last: tuple[tuple[str, int | None], Waveform] | None = None

    def read(self, path: str, channel: int | None, max_duration: float | None = None) -> Waveform:
        """All of the file, or of its channel, `max_duration` being this file's own; raises
        AudioError."""
        allowed = self._max_duration if max_duration is None else max_duration
        key = (path, channel)
        if self._last is None or self._last[0] != key:
            # Let go of it first: two recordings of hours need twice the memory.
            self._last = None
            self._last = (key, read_audio(path, max_duration=allowed, channel=channel))
        return self._last[1]


def _decoder(source: Source, file: BinaryIO, name: str, track: int | None) -> AudioDecoder:
    if isinstance(source, Waveform):
        check_single(name, track)
        return _Decoded(source)
    try:
        return open_decoder(file, name, track)
    except OSError as error:
        raise AudioError(name, _refusal(error)) from error


def _check(decoder: AudioDecoder, name: str, channel: int | None) -> None:
    if not LOWEST_RATE <= decoder.rate <= HIGHEST_RATE:
        accepted = f"accepted are {LOWEST_RATE} to {HIGHEST_RATE} Hz"
        raise AudioError(name, f"its sampling rate is {decoder.rate} Hz: {accepted}")
    if decoder.channels < 1:
        raise AudioError(name, "it says that it has no channels: write the file again")
    if channel is not None and not 0 <= channel < decoder.channels:
        there = f"it has {decoder.channels}, counted from 0"
        raise AudioError(name, f"there is no channel {channel}: {there}")


def _open(source: Source, name: str) -> BinaryIO:
    """The source as a seekable binary file, which is ours to close; empty for a Waveform."""
    if isinstance(source, Waveform):
        return BytesIO()
    if isinstance(source, bytes | bytearray | memoryview):
        return BytesIO(bytes(source))
    try:
        if isinstance(source, str | PathLike):
            return _seekable(Path(source).open("rb"), name, owned=True)
        if isinstance(source, TextIOBase) or not callable(getattr(source, "read", None)):
            raise _no_recording(source)
        return _seekable(source, name, owned=False)
    except OSError as error:
        raise AudioError(name, _refusal(error)) from error
    except ValueError as error:  # a NUL in the path, a file that is closed
        if not isinstance(source, str | PathLike):
            raise AudioError(name, f"cannot be read ({error}): check the file") from error
        raise AudioError(name, f"not a path ({error}): give the path of a recording") from error


def _no_recording(source: object) -> UsageError:
    return UsageError(
        f"a recording cannot be of type {type(source).__name__}: give the path of a file, its "
        "bytes, or a file that is open for reading bytes"
    )


def _seekable(file: BinaryIO, name: str, *, owned: bool) -> BinaryIO:
    """The file itself, or a copy of what a pipe or a caller's file (which stays open) gives."""
    if owned and file.seekable():
        return file
    copy: BinaryIO = cast(BinaryIO, tempfile.SpooledTemporaryFile(SPOOL_BYTES))  # noqa: SIM115
    try:
        _copy(file, copy, name)
    except BaseException:
        copy.close()
        raise
    finally:
        if owned:
            file.close()
    copy.seek(0, os.SEEK_SET)
    return copy


def _copy(file: BinaryIO, copy: BinaryIO, name: str) -> None:
    """All of it, unless it does not come to an end."""
    while block := file.read(COPY_BYTES):
        if not isinstance(block, bytes | bytearray | memoryview):
            raise _no_recording(file)
        if copy.tell() + len(block) > MOST_PIPED_BYTES:
            raise AudioError(
                name,
                f"longer than the {MOST_PIPED_BYTES:,} bytes that are taken from a pipe or a "
                "stream: give a file",
            )
        copy.write(block)


def _refusal(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file: check the path"
    if isinstance(error, IsADirectoryError):
        return "is a directory: give the recordings in it"
    if isinstance(error, PermissionError):
        return "may not be read: check its permissions"
    return f"cannot be read ({error.strerror or error}): check the file"
