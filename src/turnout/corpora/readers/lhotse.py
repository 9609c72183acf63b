"""lhotse's cuts: each supervision of each cut is an utterance."""

from collections.abc import Iterable
from functools import partial
from itertools import compress
from pathlib import Path

from turnout.config.preparation import PrepareConfig
from turnout.corpora.cuts import Cut, Supervision, read_cuts
from turnout.corpora.entry import Entry, EntryStream
from turnout.corpora.manifest import each
from turnout.errors import ManifestError


def read_lhotse(source: Path, config: PrepareConfig) -> EntryStream:
    """Entries of a `*.jsonl` or `*.jsonl.gz` of MonoCuts."""
    return cut_entries(read_cuts(source), config)


def cut_entries(cuts: Iterable[Cut | ManifestError], config: PrepareConfig) -> EntryStream:
    """One for each supervision of each cut; of one that reaches out of its cut, what lies in it."""
    reaching: list[Cut] = []
    for cut in cuts:
        if isinstance(cut, ManifestError):
            yield cut
        elif not cut.supervisions:
            reason = "is empty: the words that are spoken were expected"
            yield cut.place.error("supervisions", reason)
        elif cut.transformed:
            reason = "changes the audio: untransformed recordings were expected"
            yield cut.place.error("recording.transforms", reason)
        else:
            made = list(each(cut.supervisions, partial(entry_of, cut, config=config)))
            kept = (isinstance(one, Entry) for one in made)
            reaching += [cut] * sum(map(cut.is_left_by, compress(cut.supervisions, kept)))
            yield from made
    if reaching:
        first = reaching[0].place
        yield (
            f"{len(reaching)} of the supervisions reach out of their cuts (the first: "
            f"{first.file}:{first.line}): the part in the cut has all of their text"
        )


def entry_of(cut: Cut, supervision: Supervision, config: PrepareConfig) -> Entry:
    """The utterance of a supervision; raises ManifestError."""
    start, end = cut.span(supervision)
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
        domain=custom.domain(),
        offset=cut.start + start,
        duration=end - start,
        channel=cut.channel,
        audio_field="recording.sources",
        target_field="translations",
    )
