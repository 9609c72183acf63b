"""lhotse's cuts: each supervision of each cut is an utterance."""

from collections.abc import Iterable
from pathlib import Path

from turnout.config.preparation import PrepareConfig
from turnout.corpora.cuts import Cut, Supervision, read_cuts
from turnout.corpora.entry import Entry, EntryStream
from turnout.errors import ManifestError


def read_lhotse(source: Path, config: PrepareConfig) -> EntryStream:
    """Entries of a `*.jsonl` or `*.jsonl.gz` of MonoCuts."""
    return cut_entries(read_cuts(source), config)


def cut_entries(cuts: Iterable[Cut | ManifestError], config: PrepareConfig) -> EntryStream:
    """One for each supervision of each cut."""
    for cut in cuts:
        try:
            if isinstance(cut, ManifestError):
                raise cut
            if not cut.supervisions:
                reason = "is empty: the words that are spoken were expected"
                raise cut.place.error("supervisions", reason)
            if cut.transformed:
                reason = "changes the audio: untransformed recordings were expected"
                raise cut.place.error("recording.transforms", reason)
            for supervision in cut.supervisions:
                yield _entry(cut, supervision, config)
        except ManifestError as error:
            yield error


def _entry(cut: Cut, supervision: Supervision, config: PrepareConfig) -> Entry:
    start = max(0.0, supervision.start)
    end = min(cut.duration, supervision.start + supervision.duration)
    fields, custom = supervision.fields, supervision.custom
    return Entry(
        id=cut.id if len(cut.supervisions) == 1 else supervision.id,
        audio=cut.audio,
        place=cut.place,
        text=fields.text("text"),
        language=fields.language("language", default=config.language),
        speaker=fields.word("speaker"),
        translations=custom.translations(),
        split=custom.split(),
        bandwidth=custom.bandwidth(),
        offset=cut.start + start,
        duration=end - start,
        channel=cut.channel,
        audio_field="recording.sources",
        target_field="translations",
    )
