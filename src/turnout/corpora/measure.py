"""What only the audio itself can tell: how long it is, and how wide its band.

Everything is decoded to its end: a header's length is never believed.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from turnout.audio.bandwidth import measure_bandwidth
from turnout.audio.features import SAMPLE_RATE
from turnout.audio.waveform import LastRecording
from turnout.corpora.cuts import FRAME, FRAME_WANTED, ROUNDING
from turnout.corpora.entry import Entry, MeasuredEntry
from turnout.errors import AudioError
from turnout.guidance import Bandwidth

SHORT = 2.0
"""Seconds below which one clip alone may mislead about its bandwidth."""
CLEAR = 0.8
"""Share of a speaker's audio that must have one bandwidth for short clips to follow it."""


def measure(entry: Entry, recordings: LastRecording) -> MeasuredEntry:
    """The figures of one entry; raises ManifestError, citing its line."""
    if entry.duration is not None and entry.duration < FRAME:
        raise entry.place.error("duration", f"is {entry.duration:g}: {FRAME_WANTED} were expected")
    try:
        waveform = recordings.read(str(entry.audio), entry.channel)
    except AudioError as error:
        reason = f"'{entry.audio}' cannot be taken: {error.reason}"
        raise entry.place.error(entry.audio_field, reason) from error
    stop = _stop(entry, len(waveform.samples))
    start = round(entry.offset * SAMPLE_RATE)
    samples = waveform.samples[start:stop]
    if len(samples) < FRAME * SAMPLE_RATE:
        found = f"has {len(samples) / SAMPLE_RATE:g} seconds of audio for its text"
        raise entry.place.error(entry.audio_field, f"{found}: {FRAME_WANTED} were expected")
    rate = waveform.native_rate
    return MeasuredEntry(
        entry=entry,
        native_rate=rate,
        num_samples=max(1, round(len(waveform.samples) * rate / SAMPLE_RATE)),
        start=start / SAMPLE_RATE,
        duration=len(samples) / SAMPLE_RATE,
        bandwidth=entry.bandwidth or measure_bandwidth(samples, rate),
    )


def _stop(entry: Entry, length: int) -> int:
    """The sample after the utterance's last."""
    seconds = length / SAMPLE_RATE
    if entry.offset >= seconds:
        raise entry.place.error(
            "offset", f"is {entry.offset:g}: the audio ends at {seconds:g} seconds"
        )
    if entry.duration is None:
        return length
    end = entry.offset + entry.duration
    if end > seconds + ROUNDING:
        raise entry.place.error(
            "duration",
            f"is {entry.duration:g}: the audio ends at {seconds:g} seconds"
            + (f", {end - seconds:.2f} before the utterance does" if entry.offset else ""),
        )
    # Stated times are rounded: an end near the recording's is the recording's.
    if abs(end - seconds) <= ROUNDING:
        return length
    return round(end * SAMPLE_RATE)


def settle_bandwidths(entries: Sequence[MeasuredEntry]) -> Iterator[MeasuredEntry]:
    """Short clips take the bandwidth that nearly all of their speaker's audio has.

    One word of a wideband voice may have no sound above 4 kHz. What a manifest states stays.
    """
    usual = _usual_bandwidths(entries)
    for measured in entries:
        found = usual.get((measured.entry.speaker, measured.native_rate))
        if measured.entry.bandwidth is None and measured.duration < SHORT and found is not None:
            yield replace(measured, bandwidth=found)
        else:
            yield measured


def _usual_bandwidths(entries: Sequence[MeasuredEntry]) -> dict[tuple[str | None, int], Bandwidth]:
    """The bandwidth of most audio of each speaker and native rate, where it is clear."""
    # Of each rate apart: the telephone calls of a speaker tell nothing of a studio's recordings.
    seconds: defaultdict[tuple[str | None, int], defaultdict[Bandwidth, float]] = defaultdict(
        lambda: defaultdict(float)
    )
    for measured in entries:
        if measured.entry.speaker is not None:
            heard = seconds[measured.entry.speaker, measured.native_rate]
            heard[measured.bandwidth] += measured.duration
    most = {key: max(heard, key=heard.__getitem__) for key, heard in seconds.items()}
    clear = (key for key in most if seconds[key][most[key]] >= CLEAR * sum(seconds[key].values()))
    return {key: most[key] for key in clear}
