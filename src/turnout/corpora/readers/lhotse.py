"""lhotse's cuts: each supervision of each cut is an utterance."""

from pathlib import Path

from turnout.config.preparation import PrepareConfig
from turnout.corpora.cuts import Cut, Supervision, read_cuts
from turnout.corpora.entry import Entries, Entry
from turnout.errors import ManifestError


def read_lhotse(source: Path, config: PrepareConfig) -> Entries:
    """Entries of a `*.jsonl` or `*.jsonl.gz` of MonoCuts."""
    for cut in read_cuts(source):
        yield from cut_entries(cut, config)


def cut_entries(cut: Cut | ManifestError, config: PrepareConfig) -> Entries:
    """One for each supervision."""
    try:
        if isinstance(cut, ManifestError):
            raise cut
        if not cut.supervisions:
            raise cut.place.error(
                "supervisions", "is empty: the words that are spoken were expected"
            )
        if cut.transformed:
            raise cut.place.error(
                "recording.transforms", "changes the audio: untransformed recordings were expected"
            )
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
        translations=supervision.translations,
        split=custom.split(),
        bandwidth=custom.bandwidth(),
        offset=cut.start + start,
        duration=end - start,
        channel=cut.channel,
        audio_field="recording.sources",
        target_field="translations",
    )
