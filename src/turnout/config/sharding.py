"""How cuts become shards (`turnout shard`)."""

from dataclasses import dataclass
from typing import Literal

from turnout.config.bounds import require

SoundForm = Literal["flac", "opus", "kept"]
MEGABYTE = 1_000_000
LARGEST_SHARD = 4_000.0
"""Megabytes."""


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """What a shard holds. Another value of any of these makes other shards."""

    shard_size: float = 256.0
    """Megabytes (of 1,000,000 bytes) after which a shard is closed; the last is smaller."""
    audio: SoundForm = "flac"
    """'flac': mono at 16 kHz, without loss; 'opus': the same at about 32 kb/s; 'kept': a file that
    is one utterance as it is, the others as FLAC."""
    shuffle: bool = True
    """Mix the recordings; utterances of one recording stay together, so that it is decoded once."""
    seed: int = 0
    """Of the order."""

    def __post_init__(self) -> None:
        wanted = f"shard_size is {self.shard_size:g}: megabytes, above 0 and at most"
        require(0 < self.shard_size <= LARGEST_SHARD, f"{wanted} {LARGEST_SHARD:,.0f}, are needed")

    @property
    def shard_bytes(self) -> int:
        """At which a shard is closed."""
        return round(self.shard_size * MEGABYTE)
