"""Cuts as lhotse writes them, read as plain JSON lines.

lhotse's own reader would make of a recording what its sources say, such as a command that is run
(`command`) or a connection that is opened (`url`); here these are refused, unopened.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from turnout.audio.features import SAMPLE_RATE, WINDOW_SAMPLES
from turnout.corpora.manifest import MOST_SECONDS, Fields, Place, each, json_lines
from turnout.corpora.spelling import beside
from turnout.errors import ManifestError, shown

Json = Mapping[str, Any]
HIGHEST_RATE = 10_000_000
"""Far beyond what is taken of audio; a number that is a rate at all."""
FRAME = WINDOW_SAMPLES / SAMPLE_RATE
"""Seconds of one frame of features: nothing shorter is taken for an utterance."""
ROUNDING = 0.1
"""Seconds by which times may miss each other for being rounded."""
FRAME_WANTED = f"at least {FRAME:g} seconds, one frame of features,"
MONO_CUT = ("MonoCut", "Cut")
"""The second is what lhotse before 0.8 called it."""
NO_TIME = "or 'duration' is no time: seconds were expected, 0 or more and more than 0"
DANGERS = {"command": ", which would run a command", "url": ", which would be fetched"}


@dataclass(frozen=True, kw_only=True)
class Supervision:
    """What is said in one segment of a cut."""

    id: str
    start: Any
    """Seconds into the cut, below 0 where it began before the cut does; as it is written: whether
    that is a time is asked where it is used, so that a wrong one loses no other supervision."""
    duration: Any
    channels: tuple[int, ...]
    """Of the recording; none where it does not say."""
    fields: Fields
    """`text`, `language`, `speaker`."""
    custom: Fields
    """What it has besides."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A segment of one channel of a recording, and the supervisions in it."""

    id: str
    place: Place
    audio: Path
    """The file that holds the channel."""
    channel: int | None
    """Which of the file's channels it is; None where that has one, or all are to be mixed."""
    sampling_rate: int | None
    recording_duration: float
    """Seconds, as the manifest has them; infinite where it does not say."""
    transformed: bool
    """Whether lhotse would change the audio that it reads, by resampling for example."""
    start: float
    """Seconds into the recording."""
    duration: float
    supervisions: tuple[Supervision, ...]
    custom: Json
    """What it has besides."""
    channel_name: int = 0
    """What the recording calls the channel; a file may hold it as another."""

    def span(self, supervision: Supervision) -> tuple[float, float]:
        """Seconds into the cut from which, and to which, a supervision is heard in it.

        Raises ManifestError where that is no time, less than a frame, or in another channel.
        """
        if not (_is_time(supervision.start) and _is_time(supervision.duration)):
            raise self.place.error("supervisions.start", NO_TIME)
        start, end = supervision.start, supervision.start + supervision.duration
        about = f"of supervision '{supervision.id}' is {{}}: "
        if is_less_than_a_frame(supervision.duration):
            reason = about.format(f"{supervision.duration:g}") + f"{FRAME_WANTED} were expected"
            raise self.place.error("supervisions.duration", reason)
        if is_less_than_a_frame(min(end, self.duration) - max(start, 0.0)):
            reason = about.format(f"{start:g}") + (
                f"it ends at {end:g}, outside of its cut, which has {self.duration:g} seconds"
            )
            raise self.place.error("supervisions.start", reason)
        if supervision.channels and self.channel_name not in supervision.channels:
            named = ", ".join(map(shown, supervision.channels[:5]))
            reason = about.format(named) + f"its cut's, {self.channel_name}, was expected"
            raise self.place.error("supervisions.channel", reason)
        return max(start, 0.0), min(end, self.duration)

    def is_left_by(self, supervision: Supervision) -> bool:
        """Whether a supervision begins before the cut, or ends behind it, by more than rounding."""
        end = supervision.start + supervision.duration
        return supervision.start < -ROUNDING or end > self.duration + ROUNDING


def is_less_than_a_frame(seconds: float) -> bool:
    """Whether so long a part of a recording holds no frame of features."""
    # In samples: a difference of two times, such as 1.025 - 1, may fall short of what was meant.
    return round(seconds * SAMPLE_RATE) < WINDOW_SAMPLES


def read_cuts(path: Path) -> Iterator[Cut | ManifestError]:
    """The cuts of a `*.jsonl` or `*.jsonl.gz`; audio paths are relative to its folder."""
    return each(json_lines(path), lambda line: parse_cut(line, path.parent))


def parse_cut(line: Fields, folder: Path) -> Cut:
    """One cut; raises ManifestError."""
    try:
        return _cut(line.values, line.place, folder)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"is no cut as lhotse writes it ({shown(error)})"
        raise line.place.error(None, reason) from error


def _cut(cut: Json, place: Place, folder: Path) -> Cut:
    if cut.get("type") not in MONO_CUT:
        kind = cut.get("type") or ("recording" if "sources" in cut else "supervision")
        raise place.error(
            "type",
            f"is {kind}: MonoCut was expected ('lhotse cut simple' makes them of "
            "recordings and supervisions)",
        )
    recording: Json = cut.get("recording") or {}
    if not recording:
        raise place.error("recording", "is missing: a cut with its recording was expected")
    name = cut.get("channel", 0)
    source, channel = _source(recording, name, place)
    rate = recording.get("sampling_rate")
    if rate is not None and not 0 < rate <= HIGHEST_RATE:
        wanted = f"a number of Hz, {HIGHEST_RATE:,} at most, was"
        raise place.wrong("recording.sampling_rate", rate, wanted)
    start, duration = cut["start"], cut["duration"]
    # The numbers stay as they are written: digests of features are of 0 and of 0.0.
    if not (_is_time(start) and _is_time(duration) and start >= 0 and duration > 0):
        raise place.error("start", NO_TIME)
    return Cut(
        id=str(cut["id"]),
        place=place,
        audio=beside(folder, source),
        channel=channel,
        sampling_rate=None if rate is None else int(rate),
        recording_duration=float(recording.get("duration") or inf),
        transformed=bool(recording.get("transforms")),
        start=start,
        duration=duration,
        supervisions=tuple(_supervision(said, place) for said in cut.get("supervisions") or ()),
        custom={**(cut.get("custom") or {})},
        channel_name=name,
    )


def _supervision(said: Json, place: Place) -> Supervision:
    channel = said.get("channel")
    listed = isinstance(channel, list)
    return Supervision(
        id=str(said["id"]),
        start=said.get("start"),
        duration=said.get("duration"),
        channels=() if channel is None else tuple(channel if listed else [channel]),
        fields=Fields(said, place),
        custom=Fields({**(said.get("custom") or {})}, place),
    )


def _is_time(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= MOST_SECONDS  # which NaN is not


def _source(recording: Json, channel: int, place: Place) -> tuple[str, int | None]:
    """The file that holds the channel, and which of its channels it is."""
    for source in recording["sources"]:
        if source["type"] != "file":
            raise place.error(
                "recording.sources",
                f"has a source of type '{source['type']}'{DANGERS.get(source['type'], '')}: "
                "'file' was expected",
            )
    for source in recording["sources"]:
        if channel in source["channels"]:
            many = len(source["channels"]) > 1
            return source["source"], source["channels"].index(channel) if many else None
    raise place.error("channel", f"is {shown(channel)}, which no source of the recording has")
