"""Measured entries -> lhotse cuts on disk, one file a split.

One supervision a cut: `text`, `language`, `speaker`, and in `custom` the translations by target
language, the bandwidth, and the split where there is one.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from turnout.corpora.entry import MeasuredEntry
from turnout.corpora.summary import SplitSummary
from turnout.errors import StorageError, UsageError
from turnout.files import sha256_of, whole_file, write_whole

if TYPE_CHECKING:
    from lhotse import MonoCut

WRITTEN = ".prepared.json"
"""Which files of a folder are a corpus's, with the digests that they had."""


def write_splits(
    splits: Mapping[str, Sequence[MeasuredEntry]], output: Path, source: Path | None = None
) -> tuple[dict[str, SplitSummary], list[str]]:
    """Write a file for each split into `output`, all of them or none, and count what is in them.

    What an earlier call wrote there and this one does not is deleted, unless it was changed since
    or is the `source` itself: else a model might be tested on what it was trained on. Gives the
    counts and remarks on such files. Raises StorageError, and UsageError where the source would be
    written over.
    """
    from lhotse import CutSet  # noqa: PLC0415 - slow to import: with PyTorch

    paths = {name: output / f"{name}.jsonl.gz" for name in splits}
    for path in paths.values():
        if source is not None and path.exists() and path.samefile(source):
            reason = "is what is read, and its cuts would be written over it"
            raise UsageError(f"{source}: {reason}: name another folder by --output")
    record: Record = {}
    writing = output
    try:
        with ExitStack() as partials:
            for name, entries in splits.items():
                writing = paths[name]
                partial = partials.enter_context(whole_file(writing))
                CutSet.from_cuts(map(cut_of, entries)).to_file(partial)
                record[writing.name] = [sha256_of(partial.read_bytes())]
            # Before they are there, and with what was: whenever this is killed, all are known.
            _write_record(output, _merged(_record(output), record))
        writing = output / WRITTEN
        remarks = _removed(output, set(paths.values()), source)
    except OSError as error:
        raise StorageError(f"{writing}: cannot be written ({error.strerror or error})") from error
    _write_record(output, record)
    counted = {name: SplitSummary.of(paths[name], entries) for name, entries in splits.items()}
    return counted, remarks


def _removed(output: Path, now: set[Path], source: Path | None) -> list[str]:
    """Delete what an earlier call wrote and nobody changed; a remark on that, and on the rest."""
    earlier = _record(output)
    # Hidden ones are nobody's splits: what was half written when a run was killed.
    others = {path for path in output.glob("[!.]*.jsonl.gz") if path not in now}
    if source is not None and source.exists():
        others = {path for path in others if not path.samefile(source)}
    known = {path for path in others if path.name in earlier}
    own = {path for path in known if sha256_of(path.read_bytes()) in earlier[path.name]}
    for path in own:
        path.unlink()
    found = ((own, "deleted, since an earlier run wrote it"), (others - own, "left as it is"))
    return [
        f"not of this corpus: {path}: {what}" for paths, what in found for path in sorted(paths)
    ]


Record = dict[str, list[str]]
"""Digests by the name of a file: of several, one that was killed did not come to the second."""


def _record(output: Path) -> Record:
    """What earlier calls wrote; nothing of what cannot be read."""
    try:
        record = json.loads((output / WRITTEN).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    found = record.items() if isinstance(record, dict) else ()
    return {name: digests for name, digests in found if isinstance(digests, list)}


def _merged(first: Record, second: Record) -> Record:
    return {name: [*first.get(name, ()), *second.get(name, ())] for name in {**first, **second}}


def _write_record(output: Path, record: Record) -> None:
    write_whole(output / WRITTEN, json.dumps(record, indent=1).encode())


def cut_of(measured: MeasuredEntry, more: Mapping[str, object] = {}) -> "MonoCut":
    """The cut of one utterance, with `more` that is to be known of its text; its recording keeps
    the file's native rate."""
    from lhotse import MonoCut, Recording, SupervisionSegment  # noqa: PLC0415 - as above
    from lhotse.audio import AudioSource  # noqa: PLC0415

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
        **more,
    }
    if entry.domain is not None:
        custom["domain"] = entry.domain
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
