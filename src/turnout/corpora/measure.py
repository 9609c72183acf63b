"""What only the audio itself can tell: how long it is, and how wide its band.

Everything is decoded to its end: a header's length is never believed.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from turnout.audio.bandwidth import SURE_SECONDS, bandwidth_by_rate, measure_bandwidth
from turnout.audio.features import SAMPLE_RATE
from turnout.audio.waveform import LastRecording
from turnout.corpora.cuts import FRAME_WANTED, ROUNDING, is_less_than_a_frame
from turnout.corpora.entry import Entry, MeasuredEntry
from turnout.errors import AudioError


def measure(entry: Entry, recordings: LastRecording) -> MeasuredEntry:
    """The figures of one entry; raises ManifestError, citing its line."""
    try:
        waveform = recordings.read(str(entry.audio), entry.channel)
    except AudioError as error:
        reason = f"'{entry.audio}' cannot be taken: {error.reason}"
        raise entry.place.error(entry.audio_field, reason) from error
    stop = _stop(entry, len(waveform.samples))
    start = round(entry.offset * SAMPLE_RATE)
    samples = waveform.samples[start:stop]
    if is_less_than_a_frame(len(samples) / SAMPLE_RATE):
        found = f"has {len(samples) / SAMPLE_RATE:g} seconds of audio for its text"
        raise entry.place.error(entry.audio_field, f"{found}: {FRAME_WANTED} were expected")
    rate = waveform.native_rate
    return MeasuredEntry(
        entry=entry,
        native_rate=rate,
        num_samples=max(1, round(len(waveform.samples) * rate / SAMPLE_RATE)),
        start=start / SAMPLE_RATE,
        duration=len(samples) / SAMPLE_RATE,
        bandwidth=bandwidth_by_rate(rate) or entry.bandwidth or measure_bandwidth(samples, rate),
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


def unsure(entries: Sequence[MeasuredEntry]) -> Iterator[str]:
    """A remark where short clips, whose bandwidth is measured less surely, differ in it."""
    measured = (
        one
        for one in entries
        if one.entry.bandwidth is None and bandwidth_by_rate(one.native_rate) is None
    )
    found = Counter(one.bandwidth for one in measured if one.duration < SURE_SECONDS)
    if len(found) > 1:
        counts = " and ".join(f"{count} {name}" for name, count in sorted(found.items()))
        yield (
            f"of the utterances shorter than {SURE_SECONDS:g} s, {counts} were measured, which is "
            "less sure than of longer ones: if all are the same, state it (--bandwidth wideband)"
        )
