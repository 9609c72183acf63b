"""What a corpus of shards consists of, and what one shard: two kinds of JSON files, read strictly.

The manifest has the digest of every shard's index, an index that of every utterance's bytes: so
each is verified before it is used, wherever reading begins.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeVar

from turnout.audio.features import SAMPLE_RATE
from turnout.config.plain import from_plain, to_plain
from turnout.config.sharding import ShardConfig
from turnout.errors import ConfigError, ShardError, shown
from turnout.shards.tar import BLOCK, END

T = TypeVar("T")
FORMAT = 1
MANIFEST = "manifest.json"
LARGEST_JSON = 2**28
"""Bytes: a manifest of a million shards."""
LARGEST_UTTERANCE = 2**28
"""Bytes: an hour and a half of FLAC, however little of it could be compressed."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Of what shards were made, and how: the same job gives the same bytes."""

    cuts: str
    """SHA-256 of the file of cuts."""
    config: ShardConfig
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One shard of a manifest."""

    name: str
    utterances: int
    seconds: float
    bytes: int
    sha256: str
    index_bytes: int
    index_sha256: str

    @property
    def index(self) -> str:
        """The name of its index."""
        return index_name(self.name)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All shards of a corpus, in order."""

    job: Job
    utterances: int
    seconds: float
    bytes: int
    left_out: tuple[str, ...]
    """One line for each utterance that could not be read when the shards were made."""
    shards: tuple[ShardEntry, ...]

    @classmethod
    def of(cls, job: Job, shards: tuple[ShardEntry, ...], left_out: tuple[str, ...]) -> "Manifest":
        """The manifest of these shards."""
        return cls(
            job=job,
            utterances=sum(shard.utterances for shard in shards),
            seconds=sum(shard.seconds for shard in shards),
            bytes=sum(shard.bytes for shard in shards),
            left_out=left_out,
            shards=shards,
        )


class Listed(NamedTuple):
    """An utterance as an index lists it: enough to read it alone and to verify it."""

    number: int
    """In the whole corpus."""
    start: int
    stop: int
    """The first byte of it in its shard, and the one behind its last."""
    samples: int
    """At 16 kHz."""
    digest: str


@dataclass(frozen=True, kw_only=True)
class Index:
    """Where a shard's utterances lie, and their digests. Raises ValueError for what cannot be."""

    job: Job
    bytes: int
    sha256: str
    numbers: tuple[int, ...]
    """Of the utterances, in the order of the whole corpus; their names in the shard."""
    offsets: tuple[int, ...]
    """The first byte of each."""
    samples: tuple[int, ...]
    """At 16 kHz, of each."""
    digests: tuple[str, ...]
    """SHA-256 of each one's bytes: from its offset to the next one's."""
    begins: int
    """The number of the first utterance that was tried for it; `numbers` lacks the bad ones."""
    following: int
    """The number of the first one that was not tried."""
    left_out: tuple[str, ...]
    """Lines for what was left out before the shard's end, and is in no earlier one's."""

    def __post_init__(self) -> None:
        columns = (self.numbers, self.offsets, self.samples, self.digests)
        if not self.numbers or len({len(column) for column in columns}) != 1:
            raise ValueError("its columns are not of one length")
        if self.offsets[0] != 0 or any(offset % BLOCK for offset in self.offsets):
            raise ValueError("its offsets are none of a tar file's")
        bounds = (*self.offsets, self.bytes - len(END))
        if any(not 2 * BLOCK <= b - a <= LARGEST_UTTERANCE for a, b in pairwise(bounds)):
            raise ValueError("its offsets are not those of utterances in their order")
        if any(a >= b for a, b in pairwise((self.begins - 1, *self.numbers, self.following))):
            raise ValueError("its numbers do not rise")
        if min(self.samples) < 1:
            raise ValueError("an utterance in it has no samples")

    @property
    def seconds(self) -> float:
        """Of sound."""
        return sum(self.samples) / SAMPLE_RATE

    def span(self, utterance: int) -> tuple[int, int]:
        """The first byte of an utterance, and the one behind its last."""
        last = utterance + 1 == len(self.offsets)
        end = self.bytes - len(END) if last else self.offsets[utterance + 1]
        return self.offsets[utterance], end

    def listed(self, utterance: int) -> Listed:
        """An utterance by its place in the shard."""
        start, stop = self.span(utterance)
        return Listed(
            self.numbers[utterance], start, stop, self.samples[utterance], self.digests[utterance]
        )


def shard_name(number: int) -> str:
    """The name of a shard, by its place among all."""
    return f"shard-{number:06d}.tar"


def index_name(shard: str) -> str:
    """The name of a shard's index."""
    return f"{shard.removesuffix('.tar')}.index.json"


def json_of(content: object) -> bytes:
    """A manifest or an index as it is written."""
    return (json.dumps(to_plain(content), indent=None) + "\n").encode()


def parsed(kind: type[T], data: bytes, name: str) -> T:
    """A manifest or an index from its bytes; raises ShardError, naming the file."""
    try:
        return from_plain(kind, json.loads(data))
    except (ValueError, TypeError, RecursionError, ConfigError) as error:
        what = kind.__name__.lower()
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ShardError(f"{name}: is no {what} of shards that turnout wrote ({reason})") from error


def check_manifest(manifest: Manifest, name: str) -> Manifest:
    """The manifest itself; raises ShardError where it is of another version or cannot be."""
    for reason in _wrongs(manifest):
        raise ShardError(f"{name}: {reason}: have it made anew by 'turnout shard'")
    return manifest


def _wrongs(manifest: Manifest) -> Iterator[str]:
    if manifest.job.format != FORMAT:
        yield f"its format is {manifest.job.format}, and this turnout reads {FORMAT}"
    if not manifest.shards:
        yield "it names no shard"
    for number, shard in enumerate(manifest.shards):
        # Nothing that a manifest says becomes a path.
        if shard.name != shard_name(number):
            yield f"it names {shown(shard.name)} where {shard_name(number)} should be"
        if shard.utterances < 1 or not 0 < shard.index_bytes <= LARGEST_JSON:
            yield f"what it says of {shard.name} cannot be"
