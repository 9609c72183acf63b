"""Corpora of shards as a run plans them: what is in which shard, and how long each utterance is.

Of shards only indexes are read here, and of these only those of a rank's part of an epoch.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import monotonic

from turnout.config import DataConfig, ModelConfig
from turnout.corpora.clips import Clip, held_out
from turnout.data.common_clips import Gather
from turnout.data.epoch import Dealing, Streamed, Turn, Unread, scaled
from turnout.data.hearing import generators_of, patience
from turnout.data.joining import joining_of
from turnout.data.plan import (
    FRAMES_PER_SECOND,
    PlannedUtterance,
    draw_shape,
    longest_frames,
    within_window,
)
from turnout.data.variants import VariantConfig, frames_of
from turnout.errors import ShardError, TrainingError
from turnout.files import sha256_of
from turnout.shards.manifest import json_of
from turnout.shards.reading import lost, open_shards, read_texts

logger = logging.getLogger(__name__)

MOST_TEXTS = 50_000
"""Utterances of a corpus whose texts a tokenizer is made of: their sound is fetched with them,
since both are verified together."""


class ShardStream:
    """The shards of `config.train[number]`.

    Making one reads their manifest. Raises UsageError, ManifestError, ShardError or MissingExtra.
    """

    def __init__(
        self,
        number: int,
        config: DataConfig,
        model: ModelConfig,
        settings: VariantConfig,
        *,
        seed: int,
    ) -> None:
        self.number = number
        self._config = config
        self._model = model
        self._settings = settings
        self._seed = seed
        self.address = config.train[number].shards
        self._shards = open_shards(self.address, patience(config))
        self.digest = sha256_of(json_of(self._shards.manifest))
        """Of the manifest, which has that of every index, and these of every utterance."""

    @property
    def shards(self) -> int:
        """How many there are."""
        return len(self._shards.manifest.shards)

    @property
    def natural_shards(self) -> float:
        """Of one pass, weight considered."""
        return self.shards * self._config.train[self.number].weight

    @property
    def natural_frames(self) -> float:
        """Of one pass, weight considered."""
        seconds = self._shards.manifest.seconds * self._config.train[self.number].weight
        return seconds * FRAMES_PER_SECOND

    def utterances(self, turn: Turn) -> list[tuple[Streamed, int]]:
        """Those of a shard, and how many frames each has when it is heard; raises ShardError."""
        index = self._shards.index(turn.shard)
        entry = self._shards.manifest.shards[turn.shard]
        listed = (index.listed(place) for place in range(entry.utterances))
        found = (Streamed(self.number, turn.hearing, entry.name, one) for one in listed)
        return [(one, self._frames(one)) for one in found]

    def lost(self, turn: Turn, error: ShardError) -> ShardError:
        """The error, and how many utterances it costs."""
        return lost(error, self._shards.manifest.shards[turn.shard].utterances)

    def _frames(self, one: Streamed) -> int:
        """After the change of tempo, as `CorpusPlanner.utterance` draws it by an equal generator
        once the utterance is read; what CTC needs of its text may be more."""
        rng, _ = generators_of(self._config, self._seed, self.number, one)
        joining = joining_of((0,), self._config.join, rng)
        counts = (frames_of(one.listed.samples, self._settings),)
        shape = draw_shape(counts, joining, self._config.augment, rng)
        return within_window(shape, longest_frames(self._model)).num_frames


@dataclass(frozen=True)
class Streams:
    """All corpora of shards of a run."""

    streams: Sequence[ShardStream]
    seed: int
    scale: float
    """By how much an epoch is more than one pass."""

    def check(self, ranks: int, gather: Gather) -> None:
        """Warn where ranks will hear the same; raise TrainingError where they found different
        shards."""
        shards = sum(stream.shards for stream in self.streams)
        if self.streams and shards < ranks:
            logger.warning(
                "%d shards for %d ranks: some hear the same ones; shard the cuts anew with a "
                "smaller --shard-size", shards, ranks,
            )  # fmt: skip
        for stream in self.streams:
            if len(set(gather(stream.digest))) > 1:
                raise TrainingError(
                    f"{stream.address}: the ranks found different manifests of shards there: give "
                    "all of them the same"
                )

    def dealing(self, ranks: int) -> Dealing:
        """Which rank hears what, of so many."""
        sizes = {
            stream.number: (stream.shards, scaled(stream.natural_shards, self.scale))
            for stream in self.streams
        }
        return Dealing(self.seed, sizes, ranks)

    def utterances(
        self, turns: Iterable[Turn], unread: Collection[str]
    ) -> tuple[list[tuple[PlannedUtterance | Streamed, int]], list[Unread]]:
        """What these shards hold, each utterance with its frames, and which of them, beside those
        called `unread`, cannot be used since their index cannot."""
        by_number = {stream.number: stream for stream in self.streams}
        found: list[tuple[PlannedUtterance | Streamed, int]] = []
        more: list[Unread] = []
        for turn in turns:
            if turn.key in unread:
                continue
            stream = by_number[turn.stream]
            try:
                found += stream.utterances(turn)
            except ShardError as error:
                told = stream.lost(turn, error)
                more.append(Unread(turn.key, told.lost, str(told)))
        return found, more


def texts_of(address: str, config: DataConfig) -> Iterator[str]:
    """Transcripts and translations of the first utterances of shards, MOST_TEXTS at most; shards
    that cannot be read are left out, and told of where they are trained on.

    Raises ShardError where those that do not answer take longer than `data.worker_timeout`.
    """
    trained = (clip for clip in _clips_of(address, config) if not held_out(clip.split or ""))
    for clip in islice(trained, MOST_TEXTS):
        yield clip.text
        yield from clip.translations.values()


def _clips_of(address: str, config: DataConfig) -> Iterator[Clip]:
    shards = open_shards(address, patience(config))
    waited = 0.0
    for number in range(len(shards.manifest.shards)):
        asked = monotonic()
        for found in read_texts(shards, number):
            if isinstance(found, Clip):
                yield found
            elif found.silent:
                waited += monotonic() - asked
                if waited > config.worker_timeout:
                    raise ShardError(
                        f"{found}: shards were waited for longer than data.worker_timeout "
                        f"({config.worker_timeout:g} s) in all: see to their store"
                    )
            asked = monotonic()
