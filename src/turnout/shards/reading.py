"""Shards -> utterances, verified before they are handed out, from any place on.

Every utterance's bytes have a digest in its shard's index, and every index one in the manifest: so
nothing that was handed out turns out wrong at a shard's end, and reading may begin anywhere at the
same cost. What cannot be used is told in its place, with how many utterances it costs; the rest go
on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout.corpora.clips import Clip
from turnout.errors import (
    AudioError,
    ManifestError,
    MissingManifest,
    ShardError,
    amount,
    one_line,
)
from turnout.files import sha256_of
from turnout.shards.address import joined, split_name
from turnout.shards.manifest import (
    LARGEST_JSON,
    MANIFEST,
    Index,
    Listed,
    Manifest,
    ShardEntry,
    check_manifest,
    parsed,
)
from turnout.shards.store import PATIENCE, Store, open_store
from turnout.shards.tar import MemberError
from turnout.shards.utterance import Heard, read_labels, read_utterance

PART = 2**23
"""Bytes that are asked for at once, where an utterance is not longer."""


@dataclass(frozen=True, order=True)
class Position:
    """Where reading goes on: a shard of the manifest, and an utterance in it, both from 0."""

    shard: int = 0
    utterance: int = 0


@dataclass(frozen=True, eq=False)
class ShardedClip:
    """An utterance, and where the one behind it is."""

    clip: Clip
    samples: NDArray[np.float32]
    """[samples]: mono at 16 kHz."""
    following: Position


@dataclass(frozen=True)
class Shards:
    """The shards of a manifest; made by `open_shards`."""

    store: Store
    manifest: Manifest

    def read(
        self, start: Position = Position(), stop: int | None = None
    ) -> Iterator[ShardedClip | ShardError]:
        """The utterances from a position on, up to the shard of number `stop`, in order; in the
        place of those that cannot be used an error that says how many they are.

        One that the store lets wait for longer than its patience ends its shard. Raises nothing but
        MissingExtra, for kept files that need the extra `av`.
        """
        first = start.utterance
        for shard in range(start.shard, len(self.manifest.shards) if stop is None else stop):
            yield from self.read_shard(shard, first)
            first = 0

    def read_shard(self, shard: int, first: int = 0) -> Iterator[ShardedClip | ShardError]:
        """The utterances of one shard, from one of them on."""
        entry = self.manifest.shards[shard]
        try:
            opened = self.opened(shard, first)
        except ShardError as error:
            yield lost(error, entry.utterances - first)
            return
        for number in range(first, entry.utterances):
            following = Position(shard, number + 1)
            if number + 1 == entry.utterances:
                following = Position(shard + 1)
            try:
                heard = opened.heard(number)
            except ShardError as error:
                if not error.silent:
                    yield error
                    continue
                # Asked for the next one, the store would be as silent or as short.
                yield lost(error, entry.utterances - number)
                return
            yield ShardedClip(heard.clip, heard.samples, following)

    def index(self, shard: int) -> Index:
        """What lies where in a shard; raises ShardError."""
        return index_of(self.store, self.manifest.shards[shard])

    def opened(self, shard: int, first: int = 0) -> "OpenShard":
        """A shard, to be read in any order, most likely from `first` on; raises ShardError."""
        return OpenShard(self.store, self.manifest.shards[shard].name, self.index(shard), first)


def index_of(store: Store, entry: ShardEntry) -> Index:
    """What lies where in a shard that a manifest names; raises ShardError."""
    data = store.part(entry.index, 0, entry.index_bytes)
    name = f"{store.shown.rstrip('/')}/{entry.index}"
    if sha256_of(data) != entry.index_sha256:
        raise ShardError(f"{name}: is not what the manifest lists (another SHA-256)")
    index = parsed(Index, data, name)
    if (index.bytes, len(index.numbers)) != (entry.bytes, entry.utterances):
        raise ShardError(f"{name}: differs from the manifest about its shard")
    return index


def open_shards(address: str, patience: float = PATIENCE) -> Shards:
    """The shards of a manifest, or of the folder that it is in, at a path or address.

    Raises UsageError for an address that cannot be, MissingManifest where there is none, ShardError
    for a manifest or a store that cannot be read, MissingExtra without fsspec.
    """
    store = store_of(address, patience)
    name = split_name(address)[1]
    name = name if name.endswith(".json") else MANIFEST
    shown = joined(store.shown, name)
    data = store.whole(name, LARGEST_JSON)
    if data is None:
        raise MissingManifest(shown, None, None, "no such file: `turnout shard` writes manifests")
    return Shards(store, check_manifest(parsed(Manifest, data, shown), shown))


def store_of(address: str, patience: float = PATIENCE) -> Store:
    """The store of the shards of a manifest, or of the folder that it is in; errors as of
    `open_store`."""
    folder, name = split_name(address)
    if not name.endswith(".json"):
        folder = address
    return open_store(folder or ("/" if address.startswith("/") else "."), patience)


def lost(error: ShardError, utterances: int) -> ShardError:
    """The same error, with what it costs told in its line."""
    return ShardError(f"{error}: left out of it: {amount(utterances, 'utterance')}", utterances)


class OpenShard:
    """A shard's utterances, verified, by their places in it; those that follow each other are asked
    for in parts as long as a store likes to give, and others alone.

    Whatever is asked for raises ShardError where it cannot be used. A store that was silent is not
    asked again.
    """

    def __init__(self, store: Store, name: str, index: Index, first: int = 0) -> None:
        self.index = index
        self._store, self._name = store, name
        self._place = f"{store.shown.rstrip('/')}/{name}"
        self._begin, self._data, self._following = 0, b"", first
        self._silence: ShardError | None = None

    def block(self, utterance: int) -> memoryview:
        """The bytes of an utterance."""
        start, stop = self.index.span(utterance)
        if not self._begin <= start or stop > self._begin + len(self._data):
            part = PART if utterance == self._following else 0
            self._data, self._begin = self._asked(start, stop, part), start
        self._following = utterance + 1
        found = memoryview(self._data)[start - self._begin : stop - self._begin]
        return _verified(found, self.index.listed(utterance), self._place)

    def heard(self, utterance: int) -> Heard:
        """An utterance with its sound."""
        return _opened(self.block(utterance), self.index.listed(utterance), self._place)

    def clip(self, utterance: int) -> Clip:
        """What is said of an utterance, whose sound is not decoded."""
        one, block = self.index.listed(utterance), self.block(utterance)
        with _told(one, self._place):
            return read_labels(block, one.number, self._place)

    def _asked(self, start: int, stop: int, part: int) -> bytes:
        """These bytes, and more; raises ShardError, silent."""
        end = min(max(stop, start + part), self.index.bytes)
        # The shard may end behind this utterance.
        for last in dict.fromkeys((end, stop)):
            if self._silence is None:
                try:
                    return self._store.part(self._name, start, last)
                except ShardError as error:
                    if error.silent or last == stop:
                        self._silence = ShardError(str(error), silent=True)
        assert self._silence is not None
        raise self._silence


def read_listed(store: Store, shard: str, one: Listed) -> Heard:
    """One utterance of a shard, asked for by itself; raises ShardError, silent where the store did
    not answer in time."""
    block = memoryview(store.part(shard, one.start, one.stop))
    place = f"{store.shown.rstrip('/')}/{shard}"
    return _opened(_verified(block, one, place), one, place)


def read_texts(shards: Shards, shard: int) -> Iterator[Clip | ShardError]:
    """What is said of the utterances of a shard, verified as their sound is, which is not decoded;
    an error in the place of each that cannot be used."""
    try:
        opened = shards.opened(shard)
    except ShardError as error:
        yield error
        return
    for number in range(len(opened.index.numbers)):
        try:
            yield opened.clip(number)
        except ShardError as error:
            yield error
            if error.silent:
                return


def _opened(block: memoryview, one: Listed, place: str) -> Heard:
    with _told(one, place):
        return read_utterance(block, one.number, one.samples, place)


def _verified(block: memoryview, one: Listed, place: str) -> memoryview:
    if sha256_of(block) != one.digest:
        reason = "is not what its index lists (another SHA-256): left out"
        raise ShardError(f"{place}: utterance {one.number} {reason}", 1)
    return block


@contextmanager
def _told(one: Listed, place: str) -> Iterator[None]:
    """Whatever is wrong with an utterance, as a ShardError that names it."""
    try:
        yield
    except (MemberError, AudioError, ManifestError) as error:
        reason = one_line(str(error))
        raise ShardError(f"{place}: utterance {one.number}: {reason}: left out", 1) from error
