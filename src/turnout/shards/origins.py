"""Utterances by where they lie in shards, for work that is done elsewhere or in another order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

from turnout.corpora.clips import Clip
from turnout.errors import ShardError
from turnout.shards.address import scheme_of
from turnout.shards.manifest import MANIFEST, Manifest, ShardEntry
from turnout.shards.reading import OpenShard, index_of, open_shards, store_of
from turnout.shards.store import Store
from turnout.shards.utterance import Heard

PATTERN = "shard-*.tar"


def is_shards(source: str) -> bool:
    """Whether a source is an address, which only shards have, or a folder of shards, or the
    manifest in it."""
    if scheme_of(source) is not None:
        return True
    path = Path(source)
    folder = path.parent if path.name == MANIFEST else path
    return (folder / MANIFEST).is_file() and any(folder.glob(PATTERN))


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where an utterance lies: enough to find and to verify it, in whichever process."""

    address: str = field(repr=False)
    """Of the shards; it may hold what lets somebody in."""
    number: int
    """Of the shard, in its manifest."""
    shard: ShardEntry
    utterance: int
    """Its place in the shard."""


@dataclass(frozen=True, kw_only=True)
class ShardClip(Clip):
    """A clip whose sound lies in a shard; at its path lies nothing."""

    origin: Origin


@dataclass(frozen=True)
class Origins:
    """All utterances of shards, in order."""

    address: str = field(repr=False)
    manifest: Manifest

    @classmethod
    def at(cls, address: str) -> "Origins":
        """Of the shards there; raises as `open_shards` does."""
        # Whoever reads them may be at home in another folder.
        place = str(Path(address).absolute()) if scheme_of(address) is None else address
        return cls(place, open_shards(address).manifest)

    def __iter__(self) -> Iterator[Origin]:
        for number, shard in enumerate(self.manifest.shards):
            for utterance in range(shard.utterances):
                yield self.of(number, utterance)

    def of(self, number: int, utterance: int) -> Origin:
        """An utterance by its shard's number and its place in that."""
        shard = self.manifest.shards[number]
        return Origin(address=self.address, number=number, shard=shard, utterance=utterance)


class ShardReader:
    """Utterances by their origins; the shard that was asked for last stays open, so that those of
    one shard are best asked for in their order. Raises ShardError, and as `open_store` does."""

    def __init__(self) -> None:
        self._store: tuple[str, Store] | None = None
        self._shard: tuple[str, ShardEntry] | None = None
        self._opened: OpenShard | ShardError | None = None

    def heard(self, origin: Origin) -> Heard:
        """The utterance with its sound."""
        return self.opened(origin).heard(origin.utterance)

    def clip(self, origin: Origin) -> ShardClip:
        """What is said of it, whose sound is verified and not decoded."""
        found = self.opened(origin).clip(origin.utterance)
        said = {one.name: getattr(found, one.name) for one in fields(found)}
        return ShardClip(**said, origin=origin)

    def opened(self, origin: Origin) -> OpenShard:
        """Its shard."""
        wanted = origin.address, origin.shard
        if self._opened is None or self._shard != wanted:
            self._shard, self._opened = wanted, None
            try:
                store = self._store_of(origin.address)
                index = index_of(store, origin.shard)
                self._opened = OpenShard(store, origin.shard.name, index)
            except ShardError as error:  # it would be the same for the others
                self._opened = error
        if isinstance(self._opened, ShardError):
            raise self._opened
        return self._opened

    def _store_of(self, address: str) -> Store:
        if self._store is None or self._store[0] != address:
            self._store = address, store_of(address)
        return self._store[1]


def read_shard_clips(
    origins: Iterable[Origin], chosen: Iterable[int] | None = None
) -> Iterator[ShardClip | ShardError]:
    """What is said of utterances, or of those with these numbers among them; an error in
    the place of each that cannot be used."""
    wanted = None if chosen is None else frozenset(chosen)
    reader = ShardReader()
    for number, origin in enumerate(origins):
        if wanted is None or number in wanted:
            try:
                yield reader.clip(origin)
            except ShardError as error:
                yield error
