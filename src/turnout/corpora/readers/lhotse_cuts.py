"""lhotse's cuts: each supervision of each cut is an utterance.

The lines are read as plain JSON, since lhotse's own reader would make sources that run a command
(`command`) or open a connection (`url`); both are refused here, unopened.
"""

from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from turnout.config.preparation import PrepareConfig
from turnout.corpora.entry import Entry, Place, Read, Record, beside
from turnout.corpora.readers.lines import json_lines
from turnout.errors import ManifestError, shown

Json = Mapping[str, Any]


def read_lhotse(source: Path, config: PrepareConfig) -> Read:
    """Entries of a `*.jsonl` or `*.jsonl.gz` of MonoCuts."""
    for record in json_lines(source):
        if isinstance(record, ManifestError):
            yield record
            continue
        try:
            yield from _cut_entries(record, source.parent, config)
        except ManifestError as error:
            yield error
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            yield record.place.error(None, f"is no cut as lhotse writes it ({shown(error)})")


def _cut_entries(record: Record, folder: Path, config: PrepareConfig) -> Iterator[Entry]:
    cut, place = record.fields, record.place
    if cut.get("type") != "MonoCut":
        kind = cut.get("type") or ("recording" if "sources" in cut else "supervision")
        raise place.error(
            "type",
            f"is {kind}: MonoCut was expected ('lhotse cut simple' makes them of "
            "recordings and supervisions)",
        )
    if not cut.get("recording"):
        raise place.error("recording", "is missing: a cut with its recording was expected")
    supervisions = cut.get("supervisions") or []
    if not supervisions:
        raise place.error("supervisions", "is empty: the words that are spoken were expected")
    for supervision in supervisions:
        start = max(0.0, float(supervision["start"]))
        end = min(float(cut["duration"]), supervision["start"] + supervision["duration"])
        offset = cut["start"] + start
        if not (isfinite(offset) and offset >= 0 and isfinite(end)):
            raise place.error(
                "start", "or 'duration' is no time: seconds, 0 or more, were expected"
            )
        only = len(supervisions) == 1
        yield supervised_entry(
            cut["recording"], supervision, folder, place, config,
            stretch=(offset, end - start),
            name=str(cut["id"] if only else supervision["id"]),
        )  # fmt: skip


def supervised_entry(  # noqa: PLR0913
    recording: Json, supervision: Json, folder: Path, place: Place, config: PrepareConfig, *,
    stretch: tuple[float, float], name: str,
) -> Entry:  # fmt: skip
    """The entry of a supervision, as lhotse writes it, at `stretch` (offset, duration)."""
    custom = Record(supervision.get("custom") or {}, place)
    said = Record(supervision, place)
    source, channel = _source(recording, supervision.get("channel", 0), place)
    translations = custom.fields.get("translations") or {}
    if not all(isinstance(item, str) for pair in translations.items() for item in pair):
        raise place.error("translations", "is no mapping of a language to a text")
    return Entry(
        id=name,
        audio=beside(folder, source),
        place=place,
        text=said.text("text"),
        language=said.language("language", default=config.language),
        speaker=said.word("speaker"),
        translations=translations,
        split=custom.split(),
        bandwidth=custom.bandwidth(),
        offset=stretch[0],
        duration=stretch[1],
        channel=channel,
        audio_field="recording.sources",
        target_field="translations",
    )


def _source(recording: Json, channel: int | list[int], place: Place) -> tuple[str, int | None]:
    """The file that holds the channel, and which of its channels it is."""
    if recording.get("transforms"):
        raise place.error(
            "recording.transforms", "changes the audio: untransformed recordings were expected"
        )
    wanted = channel[0] if isinstance(channel, list) else channel
    for source in recording["sources"]:
        if source["type"] != "file":
            danger = {"command": ", which would run a command", "url": ", which would be fetched"}
            raise place.error(
                "recording.sources",
                f"has a source of type '{source['type']}'{danger.get(source['type'], '')}: "
                "'file' was expected",
            )
    for source in recording["sources"]:
        if wanted in source["channels"]:
            many = len(source["channels"]) > 1
            return source["source"], source["channels"].index(wanted) if many else None
    raise place.error("channel", f"is {channel}, which no source of the recording has")
