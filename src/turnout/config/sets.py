"""Sets that a model is scored on side by side, each with what its recordings go through."""

from dataclasses import dataclass, field
from typing import Literal

from turnout.config.bounds import at_least, require
from turnout.config.data import ChannelConfig, CodecName


@dataclass(frozen=True, kw_only=True)
class SetChannel(ChannelConfig):
    """What the recordings of a set go through: nothing but what is named, the same at every call
    and for every model."""

    codecs: tuple[CodecName, ...] = ("none",)
    """Of the telephone line, where there is one; of several, one is drawn for each speaker."""
    packet_loss: float = 0.0
    """Share of calls that lose packets."""
    room: float = 0.0
    """Share that is heard in one of the rooms."""
    noise: float = 0.0
    """Share that has one of the noises behind it."""
    level: float = 0.0
    """Share that is louder or quieter than it was recorded."""
    clipping: float = 0.0
    """Share whose microphone was overdriven."""
    telephone: bool = False
    """Send recordings over a telephone line: 300 to 3400 Hz, its own noise, one of the codecs."""
    speed: float = 1.0
    """Faster or slower, pitch included."""
    sounds: Literal["train", "dev", "test"] = "test"
    """Of which split noises and rooms are taken, where their folder's manifest has splits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0.5 <= self.speed <= 2.0,
            f"channel.speed is {self.speed:g}: it must lie from 0.5 to 2",
        )
        for share, folder in (("room", self.rooms), ("noise", self.noises)):
            require(
                not getattr(self, share) or folder is not None,
                f"channel.{share} is above 0, and channel.{share}s names no folder: name one",
            )


@dataclass(frozen=True, kw_only=True)
class SetConfig:
    """One set."""

    name: str = ""
    """Of its row."""
    data: tuple[str, ...] = ()
    """Cuts (`*.jsonl.gz`), shards in a folder or at an address, or anything that `turnout prepare`
    reads."""
    channel: SetChannel | None = None
    """What they go through; as they are by default."""
    limit: int | None = None
    """Score this many utterances of each file of data, drawn with a fixed seed."""

    def __post_init__(self) -> None:
        require(bool(self.name.strip()), "a set has no name: give each one")
        require(len(self.data) > 0, f"the set '{self.name}' has no data: name cuts or a corpus")
        at_least(1, self, f"{self.name}.", "limit")


@dataclass(frozen=True, kw_only=True)
class SetsConfig:
    """All of one table."""

    sets: tuple[SetConfig, ...] = field(default=())
    """In the order of their rows."""

    def __post_init__(self) -> None:
        names = [one.name for one in self.sets]
        require(len(names) > 0, "sets is empty: name at least one")
        twice = sorted({name for name in names if names.count(name) > 1})
        require(not twice, f"sets name '{', '.join(twice)}' twice: give each a name of its own")
