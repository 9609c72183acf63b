"""Cuts as lhotse writes them, read as plain JSON lines.

lhotse's own reader would make of a recording what its sources say, such as a command that is run
(`command`) or a connection that is opened (`url`); here these are refused, unopened.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from turnout.corpora.manifest import Fields, Place, beside, each, json_lines
from turnout.errors import ManifestError, shown

Json = Mapping[str, Any]
MONO_CUT = ("MonoCut", "Cut")
"""The second is what lhotse before 0.8 called it."""
NO_TIME = "or 'duration' is no time: seconds, 0 or more, were expected"
DANGERS = {"command": ", which would run a command", "url": ", which would be fetched"}


@dataclass(frozen=True, kw_only=True)
class Supervision:
    """What is said in one segment of a cut."""

    id: str
    start: float
    """Seconds into the cut; where it began before the cut does, below 0."""
    duration: float
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
    source, channel = _source(recording, cut.get("channel", 0), place)
    rate = recording.get("sampling_rate")
    start, duration = cut["start"], cut["duration"]
    # The numbers stay as they are written: digests of features are of 0 and of 0.0.
    if not (isfinite(start) and start >= 0 and isfinite(duration)):
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
    )


def _supervision(said: Json, place: Place) -> Supervision:
    if not (isfinite(said["start"]) and isfinite(said["duration"])):
        raise place.error("start", NO_TIME)
    return Supervision(
        id=str(said["id"]),
        start=said["start"],
        duration=said["duration"],
        fields=Fields(said, place),
        custom=Fields({**(said.get("custom") or {})}, place),
    )


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
    raise place.error("channel", f"is {channel}, which no source of the recording has")
