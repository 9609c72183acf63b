"""Clips -> what a transcriber is handed: each recording is decoded once for all clips of it.

Memory is bounded by the clips that overlap and by HELD_SECONDS, not by the recordings. What a clip
must be is what training and validation ask of it (`corpora.clips`).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE
from turnout.audio.waveform import Recording, Waveform, open_recording
from turnout.config import TranscriptionOptions
from turnout.corpora.clips import Clip, check_rate, checked
from turnout.errors import AudioError, ShardError
from turnout.shards.origins import ShardClip, ShardReader

HELD_SECONDS = 600.0
"""Of samples that are held at once; a whole recording that is longer is left to the transcriber,
which reads it in blocks."""

Floats = NDArray[np.float32]
ClipSource = Path | Waveform | AudioError
"""An error in the place of a clip that cannot be taken."""
Numbered = tuple[int, Clip]


def channel_of(clip: Clip, options: TranscriptionOptions) -> int | None:
    """The channel that is heard: its text is of the one that the cut names, if it names any."""
    return options.channel if clip.channel is None else clip.channel


def sources_of(
    clips: Sequence[Clip], options: TranscriptionOptions
) -> Iterator[tuple[int, ClipSource]]:
    """Each clip's number and source; those of one recording together, by where they end, and those
    of shards in their order."""
    recordings: dict[tuple[str, int | None], list[Numbered]] = {}
    shards = ShardReader()
    for number, clip in enumerate(clips):
        if isinstance(clip, ShardClip):
            yield number, _of_shard(clip, shards)
            continue
        recordings.setdefault((clip.path, channel_of(clip, options)), []).append((number, clip))
    for (path, channel), of_one in recordings.items():
        try:
            recording = open_recording(
                path, max_duration=options.max_duration, channel=channel, track=options.track
            )
        except AudioError as error:
            yield from ((number, error) for number, _ in of_one)
            continue
        held = [one for one in of_one if not is_streamed(one[1])]
        with closing(recording):
            for number, clip in of_one:
                if is_streamed(clip):
                    yield number, _streamed(clip, recording.native_rate)
            if held:
                yield from _held(held, recording)


def _of_shard(clip: ShardClip, shards: ShardReader) -> Waveform | AudioError:
    try:
        samples = shards.heard(clip.origin).samples
    except ShardError as error:  # it was well when its text was read
        return AudioError(clip.path, str(error))
    return Waveform(samples, clip.native_rate or SAMPLE_RATE)


def is_streamed(clip: Clip) -> bool:
    """Whether the transcriber is to read the clip's file."""
    return clip.whole and clip.duration > HELD_SECONDS


def _streamed(clip: Clip, native_rate: int) -> Path | AudioError:
    try:
        check_rate(clip, native_rate)
    except AudioError as error:
        return error
    return Path(clip.path)


@dataclass(frozen=True)
class _Part:
    """A clip, and what was read of it so far."""

    number: int
    clip: Clip
    pieces: list[Floats] = field(default_factory=list)

    def take(self, block: Floats, position: int) -> None:
        """What is the clip's of a block that begins at this sample of the recording."""
        first, last = self.clip.place.start - position, self.clip.place.stop - position
        if last > 0:
            self.pieces.append(block[max(first, 0) : last])

    def source(self, recording: Recording) -> tuple[int, Waveform | AudioError]:
        """The clip's number and its samples, in memory of their own."""
        samples = np.concatenate((*self.pieces, np.zeros(0, np.float32)))
        rate = recording.native_rate
        try:
            held = Waveform(checked(self.clip, rate, samples), rate, recording.warnings)
        except AudioError as error:
            return self.number, error
        return self.number, held


def _held(clips: Iterable[Numbered], recording: Recording) -> Iterator[tuple[int, ClipSource]]:
    """Each clip as soon as its end is read; what lies behind the last of them is not."""
    waiting = deque(sorted((_Part(*one) for one in clips), key=lambda part: part.clip.start))
    begun: list[_Part] = []
    position = 0
    try:
        for block in recording.blocks():
            end = position + len(block)
            while waiting and waiting[0].clip.place.start < end:
                begun.append(waiting.popleft())
            for part in begun:
                part.take(block, position)
            position = end
            yield from (part.source(recording) for part in begun if part.clip.place.stop <= end)
            begun = [part for part in begun if part.clip.place.stop > end]
            if not begun and not waiting:
                return
    except AudioError as error:
        yield from ((part.number, error) for part in (*begun, *waiting))
        return
    yield from (part.source(recording) for part in (*begun, *waiting))
