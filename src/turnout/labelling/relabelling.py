"""Labels of utterances of shards -> shards with these labels, to train on.

The sound is taken over as it lies there, verified and not decoded; but a part of an utterance that
was longer than the model's window is FLAC of its own. Killed and started again, the shards are the
same to the byte.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import file_digest
from itertools import islice
from pathlib import Path
from typing import Any

from turnout.audio.features import SAMPLE_RATE
from turnout.errors import AudioError, ManifestError, ShardError, StorageError, UsageError, one_line
from turnout.files import write_whole
from turnout.labelling.labels import Label
from turnout.shards.manifest import LARGEST_JSON, MANIFEST, Job, Manifest, json_of
from turnout.shards.origins import Origins, ShardReader
from turnout.shards.reading import store_of
from turnout.shards.store import Folder, Store, open_store
from turnout.shards.tar import MemberError
from turnout.shards.utterance import cut_out, rewritten
from turnout.shards.writing import LeftOut, Made, put

SHARDS, MARK = "shards", "shards.json"
WORTH = ("labelled_by", "confidence", "language_probability", "disagreement")
"""What is told of a text beside it, where it is known."""


@dataclass(frozen=True, kw_only=True)
class Relabelling:
    """Shards that were labelled, and where those with the labels go."""

    origins: Origins
    store: Store
    own: Path | None
    """The labels' folder, where the shards lie in it."""

    @classmethod
    def of(cls, origins: Origins, output: Path, address: str | None) -> "Relabelling":
        """Into the folder of the labels, or to an address; raises UsageError where that is what is
        read, and as `open_store` does."""
        store = open_store(str(output / SHARDS) if address is None else address)
        read = store_of(origins.address)
        if _place(store) == _place(read):
            raise UsageError(
                f"{store.shown}: is what is read, and would be written over: name another place"
            )
        return cls(origins=origins, store=store, own=output if address is None else None)

    def check(self) -> None:
        """Raise, before anything is heard, what `write` would where nothing can be written, or
        others' shards lie in the labels' folder."""
        if self.own is not None:
            _check_own(self.own)
        with self.store.reserved():
            self.store.whole(MANIFEST, LARGEST_JSON)  # where there is no bucket, it says so

    @property
    def shown(self) -> str:
        """Where the shards are, as it is told."""
        return self.store.shown

    def write(self, kept: Path, count: int) -> Manifest:
        """Write what is not there yet of the shards of the labels in a file, which are so many.

        Raises StorageError where others' shards are there, or nothing can be written.
        """
        with kept.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        job = Job(cuts=digest, config=self.origins.manifest.job.config)
        if self.own is not None:
            _replace_others(self.own, job)
        with gzip.open(kept) as lines:
            source = _Relabelled(map(json.loads, lines), count, self.origins)
            return put(source, self.store, job, lambda _: None)


def _place(store: Store) -> str:
    return str(store.folder.resolve()) if isinstance(store, Folder) else store.shown.rstrip("/")


def _replace_others(output: Path, job: Job) -> None:
    """Delete the shards of another choice, which a mark tells from those that were not made here;
    raises StorageError where such lie there."""
    found = _check_own(output)
    if found == json_of(job):
        return
    # The manifest first: without it nobody takes the rest for a corpus.
    for path in _shards_in(output):
        path.unlink(missing_ok=True)
    write_whole(output / MARK, json_of(job))


def _check_own(output: Path) -> bytes | None:
    """The mark of the shards in the labels' folder; raises StorageError for shards without one."""
    mark = output / MARK
    if mark.exists():
        return mark.read_bytes()
    if any(path.exists() for path in _shards_in(output)):
        raise StorageError(
            f"{output / SHARDS}: holds shards that are not of these labels: name another -o or "
            "--shards"
        )
    return None


def _shards_in(output: Path) -> list[Path]:
    folder = output / SHARDS
    return [folder / MANIFEST, *sorted(folder.glob("shard-*"))]


class _Relabelled:
    """The utterances of labels, as of `turnout.shards.writing.Utterances`."""

    def __init__(self, labels: Iterator[Mapping[str, Any]], count: int, origins: Origins) -> None:
        self._labels, self._count, self._origins = labels, count, origins
        self._passed = 0
        self._reader = ShardReader()

    def __len__(self) -> int:
        return self._count

    def made(self, number: int) -> Made | LeftOut:
        """A label's utterance; numbers rise, and some may have been made before."""
        label = Label(cut=next(islice(self._labels, number - self._passed, None)))
        self._passed = number + 1
        assert label.shard is not None
        origin = self._origins.of(*label.shard)
        first, last = (round(time * SAMPLE_RATE) for time in label.span)
        try:
            opened = self._reader.opened(origin)
            block, one = opened.block(origin.utterance), opened.index.listed(origin.utterance)
            if (first, last) == (0, one.samples):
                return Made(rewritten(block, one, said_of(label), number), one.samples)
            return Made(*cut_out(block, one, said_of(label), number, slice(first, last)))
        except (ShardError, MemberError, AudioError, ManifestError) as error:
            reason = one_line(str(error))
            at = reason.find(origin.shard.name.removesuffix(".tar"))
            return LeftOut(f"{label.id}: {reason[max(at, 0) :]}", reason)


def said_of(label: Label) -> dict[str, Any]:
    """What is said of an utterance by its label."""
    said = label.cut["supervisions"][0]
    custom = said["custom"]
    worth = {name: custom[name] for name in WORTH if name in custom}
    names = {"id": label.id, "text": label.text, "language": label.language}
    return {**names, "translations": custom["translations"], **worth}
