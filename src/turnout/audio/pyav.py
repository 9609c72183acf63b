"""A file -> blocks of its own samples by PyAV: what has several tracks, and what telephones and
broadcasters write.

FFmpeg is told the container, and never guesses; what a header claims is not believed. Knows nothing
of 16 kHz or mono.
"""

from collections.abc import Callable, Iterator
from errno import EINVAL, ENOMEM
from functools import partial
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from turnout.audio.containers import absurdity
from turnout.audio.decoders import ENDS_EARLY, VirtualFile, block_size, not_audio, reason
from turnout.errors import AudioError, MissingExtra, shown

Floats = NDArray[np.float32]

LONGEST_FRAME = 2**18
"""Samples that a decoder may give at once; codecs' largest frames are about a second."""
ALONE = {"protocol_whitelist": "none"}
"""Whatever a file says, no other file or connection is opened for it."""
MOST_TRACKS = 8
"""That are told."""
BETTER = {"amrnb": "libopencore_amrnb"}
"""Of two decoders, the one that knows pauses, in which a phone sends next to nothing."""
TELL_LENGTH = ("mov", "matroska", "asf", "avi", "flv")
"""Of the others FFmpeg takes the length from their size, or from how they begin and end."""


class AvDecoder:
    """One audio track of an MP4 (m4a), WebM, Matroska, AAC, AMR, MPEG-TS, ... file."""

    def __init__(self, file: BinaryIO, name: str, container: str, track: int | None) -> None:
        try:
            self._av: Any = import_module("av")
        except ImportError as error:
            raise MissingExtra(f"{name}: reading m4a, mp4, webm, AAC or AMR", "av") from error
        self._name = name
        self._tells_length = container in TELL_LENGTH
        self.warnings: list[str] = []
        absurd = absurdity(file) if container == "mov" else None
        if absurd is not None:
            raise not_audio(name, absurd)
        self._virtual = VirtualFile(file, file.read)
        try:
            self._container = self._av.open(
                self._virtual,
                mode="r",
                format=container,
                options=ALONE,
                metadata_errors="replace",  # titles in other encodings than UTF-8 are common
            )
        except (self._av.FFmpegError, ValueError, OSError) as error:
            self._virtual.check()
            raise not_audio(name, reason(error)) from error
        try:
            self._stream = self._track(track)
        except AudioError:
            self._container.close()
            raise
        self._codec = self._codec_of(self._stream)
        self._codec.options = {"max_samples": str(LONGEST_FRAME)}
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

    def _track(self, number: int | None) -> Any:
        """The audio track of that number; otherwise the default one, or else the first."""
        tracks = self._container.streams.audio
        # Without a codec context there is no decoder for what the track says it holds.
        usable = [track for track in tracks if track.codec_context is not None]
        if not usable:
            raise not_audio(self._name, "no audio track in it that can be decoded")
        if number is not None:
            return self._chosen(tracks, number)
        default = [one for one in usable if one.disposition & one.disposition.default]
        found = (default or usable)[0]
        if len(tracks) > 1:
            heard, others = (
                told([(n, one) for n, one in enumerate(tracks) if (one is found) == wanted])
                for wanted in (True, False)
            )
            self.warnings.append(
                f"of its {len(tracks)} audio tracks {heard} was heard, and not {others}: "
                "choose one with track"
            )
        return found

    def _chosen(self, tracks: Any, number: int) -> Any:
        if number < len(tracks) and tracks[number].codec_context is not None:
            return tracks[number]
        wrong = "cannot be decoded" if number < len(tracks) else "is not there"
        there = told(list(enumerate(tracks)))
        raise AudioError(
            self._name,
            f"audio track {number} {wrong}: it has {len(tracks)}, counted from 0: {there}",
        )

    def _codec_of(self, stream: Any) -> Any:
        """The track's own decoder, or one that knows more."""
        own = stream.codec_context
        name = BETTER.get(own.codec.name)
        if name not in self._av.codecs_available:
            return own
        better = self._av.CodecContext.create(name, "r")
        better.sample_rate, better.layout = own.sample_rate, own.layout
        return better

    def _frames(self) -> Iterator[Floats]:
        """Decoded frames as float32 [samples, channels], of one rate and layout throughout; as long
        a silence for what cannot be decoded, so that times stay right."""
        same = _Same(self._av.AudioResampler, self._stream.layout, self.rate)
        packets = self._container.demux(self._stream)
        decoded = lost = silent = 0
        why = ""
        while True:
            packet = None
            try:
                packet = next(packets, None)  # there are none behind an error of the container
                if packet is None:
                    break
                frames = [
                    found for frame in self._codec.decode(packet) for found in same.made_so(frame)
                ]
            except IndexError:
                break  # PyAV's way of ending where a track appeared that the header had not told of
            except (self._av.FFmpegError, ValueError, OSError) as error:
                why = why or reason(error)
                # Damage, as where a broadcast begins amidst a frame, is passed over; frames that
                # are too long, or do not fit into memory, are not damage.
                if packet is None or getattr(error, "errno", None) in (EINVAL, ENOMEM):
                    break
                lost += 1
                silent += self._samples(packet)
                continue
            if frames and silent:
                decoded += silent
                yield from self._silence(silent)
                silent = 0
            for frame in frames:
                decoded += frame.samples
                yield frame.to_ndarray().T
        self._virtual.check()
        if why and not decoded:
            raise not_audio(self._name, why)
        yield from self._silence(silent)
        # An encoder's priming and its last frame's filling are no loss.
        if self._promised() - (decoded + silent) / self.rate > 0.25 or (why and not lost):
            self.warnings.append(f"{ENDS_EARLY} (decoder: {why})" if why else ENDS_EARLY)
        elif lost:
            self.warnings.append(f"silent where {lost} packets cannot be decoded (decoder: {why})")

    def _samples(self, packet: Any) -> int:
        """How many a packet would have had, as far as it says so; a second at most."""
        seconds = float((packet.duration or 0) * (packet.time_base or 0))
        return round(max(0.0, min(seconds, 1.0)) * self.rate)

    def _silence(self, samples: int) -> Iterator[Floats]:
        size = block_size(self.rate, self.channels)
        for start in range(0, samples, size):
            yield np.zeros((min(size, samples - start), self.channels), np.float32)

    def _promised(self) -> float:
        """Seconds, as the header says; 0 where it does not."""
        if not self._tells_length:
            return 0.0
        promised = float((self._stream.duration or 0) * (self._stream.time_base or 0))
        # Matroska says its length, in microseconds, for the file alone: of its longest track.
        if not promised and len(self._container.streams) == 1:
            promised = (self._container.duration or 0) / 1e6
        return promised


class _Same:
    """Frames of one rate and layout, whatever they were: a broadcast changes from one to another.

    A resampler takes frames of one kind; those of another it lets pass, or refuses.
    """

    def __init__(self, new: Callable[..., Any], layout: Any, rate: int) -> None:
        self._new = partial(new, format="fltp", layout=layout, rate=rate)
        self._kind: object = None
        self._resampler: Any = None

    def made_so(self, frame: Any) -> list[Any]:
        """What is made of a frame."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:
            self._kind, self._resampler = kind, self._new()
        return list(self._resampler.resample(frame))


def told(tracks: list[tuple[int, Any]]) -> str:
    """Tracks by their numbers, languages and titles."""
    found = []
    for number, track in tracks[:MOST_TRACKS]:
        language, title = (track.metadata.get(field, "") for field in ("language", "title"))
        known = [shown(value) for value in (language, title) if value not in ("", "und")]
        found.append(f"{number} ({', '.join(known)})" if known else str(number))
    return ", ".join([*found, "..."] if len(tracks) > MOST_TRACKS else found)
