"""Measured entries -> lhotse cuts on disk, one file a split.

One supervision a cut: `text`, `language`, `speaker`, and in `custom` the translations by target
language, the bandwidth, and the split where there is one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from turnout.corpora.entry import MeasuredEntry
from turnout.corpora.summary import SplitSummary
from turnout.errors import StorageError
from turnout.files import whole_file


def write_splits(
    splits: Mapping[str, Sequence[MeasuredEntry]], output: Path
) -> dict[str, SplitSummary]:
    """Write a file for each split into `output`, whole or not at all, and count what is in it.

    Raises StorageError.
    """
    summaries: dict[str, SplitSummary] = {}
    for name, entries in splits.items():
        path = output / f"{name}.jsonl.gz"
        try:
            with whole_file(path) as partial:
                CutSet.from_cuts(map(_cut, entries)).to_file(partial)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from error
        summaries[name] = SplitSummary.of(path, entries)
    return summaries


def _cut(measured: MeasuredEntry) -> MonoCut:
    """The cut of one utterance; its recording keeps the file's native rate."""
    entry = measured.entry
    # a file of several channels that are to be mixed counts as one channel
    channels = [0] if entry.channel is None else list(range(max(2, entry.channel + 1)))
    recording = Recording(
        id=entry.id,
        sources=[AudioSource(type="file", channels=channels, source=str(entry.audio.absolute()))],
        sampling_rate=measured.native_rate,
        num_samples=measured.num_samples,
        duration=measured.num_samples / measured.native_rate,
    )
    custom: dict[str, object] = {
        "translations": dict(entry.translations),
        "bandwidth": str(measured.bandwidth),
    }
    if entry.split is not None:
        custom["split"] = entry.split
    channel = entry.channel or 0
    supervision = SupervisionSegment(
        id=entry.id,
        recording_id=entry.id,
        start=0.0,
        duration=measured.duration,
        channel=channel,
        text=entry.text,
        language=entry.language,
        speaker=entry.speaker,
        custom=custom,
    )
    return MonoCut(
        id=entry.id,
        start=measured.start,
        duration=measured.duration,
        channel=channel,
        supervisions=[supervision],
        recording=recording,
    )
