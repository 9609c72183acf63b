"""Cuts -> shards, whole or not at all, one after the other.

A shard's index is written after it, and the manifest after all: a shard with its index is made, and
where the work was stopped it goes on behind the last of these, with the same bytes as at once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from itertools import count, islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from turnout.config.sharding import ShardConfig, SoundForm
from turnout.corpora.clips import ClipReader, each_clip
from turnout.errors import AudioError, ManifestError, MissingManifest, ShardError, StorageError
from turnout.files import sha256_of
from turnout.progress import progress
from turnout.shards.manifest import (
    LARGEST_JSON,
    MANIFEST,
    Index,
    Job,
    Manifest,
    ShardEntry,
    index_name,
    json_of,
    parsed,
    shard_name,
)
from turnout.shards.spool import Spool
from turnout.shards.store import Store
from turnout.shards.tar import END
from turnout.shards.utterance import recording_name, write_utterance

MOST_UTTERANCES = 2**18
"""Of a shard, however short they are: readers hold its index in memory."""
Tell = Callable[[str], None]


def make_shards(
    cuts: Path, store: Store, config: ShardConfig, tell: Tell = lambda _: None
) -> Manifest:
    """Write what of the shards of a file of cuts is not there yet; `tell` hears a line for each
    utterance that is left out.

    Raises ManifestError for cuts that cannot be used, StorageError where the store holds others'
    shards or cannot be written, ShardError where it cannot be read.
    """
    if not cuts.is_file():
        raise MissingManifest(str(cuts), None, None, "no such file: `turnout prepare` writes cuts")
    job = Job(cuts=_digest(cuts), config=config)
    with store.reserved():
        _check_manifest(store, job)
        with Spool(each_clip(cuts), config.seed if config.shuffle else None) as clips:
            if not len(clips):
                raise ManifestError(str(cuts), None, None, "holds no cut")
            manifest = _Work(store, job, Cuts(clips, config.audio), tell).all()
        if not manifest.shards:
            raise ManifestError(
                str(cuts), None, None, f"no cut of it can be heard: {manifest.left_out[0]}"
            )
    return manifest


def put(source: "Utterances", store: Store, job: Job, tell: Tell) -> Manifest:
    """Write what of the shards of other utterances than cuts' is not there yet; where there is none
    to write, nothing is. Raises as `make_shards` does."""
    with store.reserved():
        _check_manifest(store, job)
        return _Work(store, job, source, tell).all()


class Utterances(Protocol):
    """What shards are made of, in an order that is the same at every call."""

    def __len__(self) -> int: ...

    def made(self, number: int) -> "Made | LeftOut":
        """An utterance as it lies in a shard; numbers are asked for as they rise."""
        ...


@dataclass(frozen=True, eq=False)
class Made:
    """The bytes of an utterance in a shard."""

    block: bytes
    samples: int
    """At 16 kHz."""


@dataclass(frozen=True)
class LeftOut:
    """Why an utterance is not in a shard."""

    line: str
    """For the manifest, which may be published: nobody need know where the recordings lay."""
    told: str
    """For whoever makes the shards."""


@dataclass(frozen=True)
class Cuts:
    """The utterances of cuts."""

    clips: Spool
    form: SoundForm
    reader: ClipReader = field(default_factory=ClipReader)

    def __len__(self) -> int:
        return len(self.clips)

    def made(self, number: int) -> Made | LeftOut:
        """As of Utterances."""
        clip, known = self.clips[number]
        try:
            return Made(*write_utterance(number, clip, known, self.reader, self.form))
        except AudioError as error:
            line = f"{clip.id} ({recording_name(clip.path)}): {error.reason}"
            return LeftOut(line, f"{clip.id}: {error}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _check_manifest(store: Store, job: Job) -> None:
    """Raise StorageError where the store holds the shards of another job."""
    data = store.whole(MANIFEST, LARGEST_JSON)
    if data is not None and parsed(Manifest, data, f"{store.shown}/{MANIFEST}").job != job:
        raise _others(store, job)


def _others(store: Store, job: Job) -> StorageError:
    return StorageError(
        f"{store.shown}: holds shards of other cuts, or made with another shard_size, audio, "
        f"shuffle or seed than {job.config.shard_size:g}, {job.config.audio}, "
        f"{job.config.shuffle}, {job.config.seed}: name another place, or delete them"
    )


@dataclass(frozen=True)
class _Work:
    """The making of one job's shards."""

    store: Store
    job: Job
    source: Utterances
    tell: Tell

    def all(self) -> Manifest:
        """Every shard, with what there is to be told of those that are there already, and the
        manifest, which is written where it names any."""
        total = len(self.source)
        numbers = progress(iter(range(total)), "utterances into shards", total)
        shards: list[ShardEntry] = []
        left_out: list[str] = []
        pending: list[str] = []
        utterances = self._utterances(numbers, pending)
        begins = 0
        for place in count():
            index = self._made(place, begins)
            if index is not None:
                # What is there already moves the bar as well.
                list(islice(numbers, index.following - begins))
            else:
                index = self._make(place, begins, utterances, pending)
            if index is None:
                break
            shards.append(_entry(place, index))
            left_out += index.left_out
            begins = index.following
        manifest = Manifest.of(self.job, tuple(shards), (*left_out, *pending))
        if shards:
            with self.store.written(MANIFEST) as path:
                path.write_bytes(json_of(manifest))
        return manifest

    def _made(self, place: int, begins: int) -> Index | None:
        """The index of a shard that is there whole; raises StorageError where it is another's."""
        shard = shard_name(place)
        name = index_name(shard)
        data = self.store.whole(name, LARGEST_JSON) if begins < len(self.source) else None
        if data is None:
            return None
        try:
            index = parsed(Index, data, name)
        except ShardError:  # half written, by a store that can do such a thing
            return None
        if index.job != self.job:
            raise _others(self.store, self.job)
        whole = index.begins == begins and json_of(index) == data
        return index if whole and self.store.size(shard) == index.bytes else None

    def _make(
        self, place: int, begins: int, utterances: "Iterator[_Utterance]", pending: list[str]
    ) -> Index | None:
        """Write the next shard, and take from the `pending` lines those that are told in it; None,
        and nothing is written, where nothing can be heard any more."""
        first = next(utterances, None)
        if first is None:
            return None
        name = shard_name(place)
        most = self.job.config.shard_bytes
        with self.store.written(name) as path, path.open("wb") as file:
            body = _Body(file)
            body.add(first, len(pending))
            while body.bytes < most and len(body.numbers) < MOST_UTTERANCES:
                found = next(utterances, None)
                if found is None:
                    break
                body.add(found, len(pending))
            index = body.end(self.job, begins, pending)
        with self.store.written(index_name(name)) as path:
            path.write_bytes(json_of(index))
        # Lines of what came behind its last utterance belong to the next, wherever work is resumed.
        del pending[: len(index.left_out)]
        return index

    def _utterances(self, numbers: Iterator[int], pending: list[str]) -> "Iterator[_Utterance]":
        """Of these numbers, those that can be heard; a line in `pending` for each of the others."""
        for number in numbers:
            found = self.source.made(number)
            if isinstance(found, LeftOut):
                pending.append(found.line)
                self.tell(found.told)
                continue
            yield number, found.samples, found.block


_Utterance = tuple[int, int, bytes]
"""A number, samples at 16 kHz, and the bytes in the shard."""


@dataclass
class _Body:
    """A shard while it is written, and what its index will say."""

    file: BinaryIO
    bytes: int = 0
    digest: Any = field(default_factory=sha256)
    numbers: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    samples: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    told: int = 0
    """Lines for what was left out before the last utterance."""

    def add(self, utterance: _Utterance, told: int) -> None:
        """Write one more."""
        number, samples, block = utterance
        self.file.write(block)
        self.digest.update(block)
        self.numbers.append(number)
        self.offsets.append(self.bytes)
        self.samples.append(samples)
        self.digests.append(sha256_of(block))
        self.bytes += len(block)
        self.told = told

    def end(self, job: Job, begins: int, pending: list[str]) -> Index:
        """Write the end, and give the index."""
        self.file.write(END)
        self.digest.update(END)
        return Index(
            job=job,
            bytes=self.bytes + len(END),
            sha256=self.digest.hexdigest(),
            numbers=tuple(self.numbers),
            offsets=tuple(self.offsets),
            samples=tuple(self.samples),
            digests=tuple(self.digests),
            begins=begins,
            following=self.numbers[-1] + 1,
            left_out=tuple(pending[: self.told]),
        )


def _entry(place: int, index: Index) -> ShardEntry:
    data = json_of(index)
    return ShardEntry(
        name=shard_name(place),
        utterances=len(index.numbers),
        seconds=index.seconds,
        bytes=index.bytes,
        sha256=index.sha256,
        index_bytes=len(data),
        index_sha256=sha256_of(data),
    )
