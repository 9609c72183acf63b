"""An utterance of a shard, asked for by its place -> its clip and sound, and how it is to be heard.

In whichever process: what comes out depends on seed, place and how often the shards were heard
before. What cannot be used is told, and never waited for without end.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.config import DataConfig, ModelConfig
from turnout.corpora.clips import Clip, check_domains, check_languages, held_out
from turnout.data.epoch import Streamed
from turnout.data.fitting import Fitting
from turnout.data.plan import CorpusPlanner, PlannedUtterance, Stream, generator
from turnout.data.variants import Variant, VariantConfig, frames_of, variant_of
from turnout.errors import ConfigError, ShardError, one_line
from turnout.shards.reading import read_listed, store_of
from turnout.shards.store import PATIENCE, Store
from turnout.text.tokenizer import Tokenizer

AT_ONCE = 8
"""Utterances that are asked for at the same time: a store far away answers each after a while."""
SHARE_OF_A_READ, SHARE_OF_A_BATCH = 0.1, 0.5
"""Of `data.worker_timeout`, after which a read is given up, and whatever of a batch is not begun:
with what is being read then, asked for three times at most, a batch ends before it."""


@dataclass(frozen=True, eq=False)
class HeardClip:
    """A clip that was just read, and how it is to be heard."""

    planned: PlannedUtterance
    clips: tuple[Clip]
    samples: NDArray[np.float32]
    settings: VariantConfig

    def variant(self, clip: int, number: int) -> Variant:
        """One variant, made now."""
        return variant_of(self.clips[clip], self.samples, self.settings, number)


@dataclass(frozen=True, eq=False)
class Frames:
    """A clip and its frames."""

    clips: tuple[Clip]
    counts: NDArray[np.int64]


def patience(config: DataConfig) -> float:
    """Seconds that a store may take for one part."""
    return min(PATIENCE, time_of(config) * SHARE_OF_A_READ)


def time_of(config: DataConfig) -> float:
    """Seconds of `data.worker_timeout` that are a corpus's: a batch hears one after the other."""
    return config.worker_timeout / max(sum(bool(corpus.shards) for corpus in config.train), 1)


class Hearer:
    """Hears the utterances of one corpus of shards."""

    def __init__(
        self,
        number: int,
        config: DataConfig,
        model: ModelConfig,
        tokenizer: Tokenizer,
        settings: VariantConfig,
        *,
        seed: int,
    ) -> None:
        self._number = number
        self._config = config
        self._model = model
        self._tokenizer = tokenizer
        self._settings = settings
        self._seed = seed
        self._store: Store | None = None
        self._silent: set[tuple[int, str]] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Without the store, whose connections are of one process."""
        return {**vars(self), "_store": None, "_silent": set()}

    def heard(self, wanted: Sequence[Streamed]) -> list[HeardClip | ShardError]:
        """Each utterance, or why it cannot be used, in their order."""
        deadline = monotonic() + time_of(self._config) * SHARE_OF_A_BATCH
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(lambda one: self._attempted(one, deadline), wanted))

    def _attempted(self, one: Streamed, deadline: float) -> HeardClip | ShardError:
        place = self._shard(one)
        # Whoever waited for a shard in vain does not wait for each of its utterances.
        if (one.hearing, one.shard) in self._silent:
            return ShardError(f"{place}: the store did not answer before: left out", 1)
        if monotonic() > deadline:
            reason = "the store is too slow (data.worker_timeout, half of it for all of a batch)"
            return ShardError(f"{place}: {reason}: left out", 1)
        try:
            return self._read(one)
        except ShardError as error:
            if error.silent:
                self._silent.add((one.hearing, one.shard))
            return error

    def _read(self, one: Streamed) -> HeardClip:
        """Raises ShardError."""
        read = read_listed(self._opened(), one.shard, one.listed)
        frames = frames_of(len(read.samples), self._settings)
        # Made anew for each: one that stays would keep the texts of all shards.
        fitting = Fitting(self._model, self._tokenizer, join=False)
        reason = self._unfit(read.clip, frames, fitting)
        if reason is not None:
            raise ShardError(f"{self._place(one)}: {reason}: left out", 1)
        planned = self._planned(one, read.clip, frames, fitting)
        return HeardClip(planned, (read.clip,), read.samples, self._settings)

    def _place(self, one: Streamed) -> str:
        return f"{self._shard(one)}: utterance {one.listed.number}"

    def _shard(self, one: Streamed) -> str:
        return f"{one_line(self._config.train[self._number].shards)}: {one.shard}"

    def _opened(self) -> Store:
        if self._store is None:
            # The address may be that of the manifest, and a store is the folder that it is in.
            self._store = store_of(self._config.train[self._number].shards, patience(self._config))
        return self._store

    def _unfit(self, clip: Clip, frames: int, fitting: Fitting) -> str | None:
        """Why nothing can be learned of it."""
        split = held_out(clip.split or "")
        if split is not None:
            return f"{clip.id} is of a {split} split"
        try:
            check_languages([clip], clip.id, self._model.vocabulary.languages)
            check_domains([clip], clip.id, self._model)
        except ConfigError as error:
            return str(error)
        reason = fitting.reason(clip, frames)
        return reason and f"{clip.id} {reason}"

    def _planned(
        self, one: Streamed, clip: Clip, frames: int, fitting: Fitting
    ) -> PlannedUtterance:
        known = Frames((clip,), np.array([frames], np.int64))
        fewest = fitting.fewest(known)
        planner = CorpusPlanner(
            self._number, known.clips, known.counts, self._config, self._model, fewest
        )
        generators = generators_of(self._config, self._seed, self._number, one)
        return planner.utterance(one.listed.number, (0,), 1, generators)


def generators_of(
    config: DataConfig, seed: int, corpus: int, one: Streamed
) -> tuple[np.random.Generator, np.random.Generator]:
    """What an utterance is, which decides its length, and how it is heard, which its clip decides
    with it."""
    plan = one.hearing % config.plans if config.plans else one.hearing
    return (
        generator(Stream.UTTERANCE, seed, plan, corpus, one.listed.number),
        generator(Stream.HEARD, seed, one.hearing, corpus, one.listed.number),
    )
