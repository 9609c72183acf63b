"""Which utterances an epoch has, how long each is, and which of them make a batch.

Made from the index of the stores alone and from (seed, epoch): every rank computes the same plan
and takes its part, and resuming is an index into it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from turnout.config import DataConfig, JoinConfig
from turnout.corpora.clips import Clip
from turnout.data.augment import FRAMES_PER_SECOND, Shape, draw_shape
from turnout.data.joining import (
    Joining,
    Speaker,
    draw_joining,
    joined_text,
    joining_of,
    speakers_of,
)
from turnout.data.store import FeatureStore
from turnout.errors import TrainingError
from turnout.guidance import Bandwidth

MOST_DRAWS = 1000
LENGTH_JITTER = 0.05
"""Lengths are blurred by this share before they are sorted, so that batch-mates change."""


class Stream(IntEnum):
    """What a generator is for: streams of one utterance never share numbers."""

    ORDER = 0
    RECIPE = 1
    AUGMENT = 2
    BATCHES = 3
    DEV = 4


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One utterance of an epoch before any frame is read."""

    corpus: int
    index: int
    """Within its corpus and epoch."""
    joining: Joining
    variants: tuple[int, ...]
    """Of each clip."""
    narrow: bool
    empty: bool
    """Noise or silence of the same shape instead of the words."""
    target: int
    """Which text is written under `tasks: draw`: 0 the transcript, n the n-th translation."""
    shape: Shape

    @property
    def num_frames(self) -> int:
        """Of the finished utterance."""
        return self.shape.num_frames


def generator(stream: Stream, seed: int, *place: int) -> np.random.Generator:
    """The one for this stream, seed and place (epoch, corpus, utterance)."""
    return np.random.default_rng([int(stream), seed, *place])


def words_at(config: JoinConfig, share: float) -> int:
    """Most words of an utterance when this share of the run is done."""
    return next((most for until, most in config.curriculum if share < until), config.max_words)


@dataclass(frozen=True, kw_only=True)
class CorpusSource:
    """Draws the utterances of one corpus."""

    number: int
    store: FeatureStore
    join: bool
    weight: float
    config: DataConfig
    longest_frames: int
    """The model's window."""
    num_targets: tuple[int, ...]
    """Of each clip: translations that the model learns."""
    speakers: tuple[Speaker, ...]
    usable: NDArray[np.int64]
    """Clips that fit into the window; all of them where they are joined."""

    @classmethod
    def of(
        cls,
        number: int,
        store: FeatureStore,
        config: DataConfig,
        *,
        longest_frames: int,
        num_targets: tuple[int, ...],
    ) -> "CorpusSource":
        """The source of `config.train[number]`."""
        corpus = config.train[number]
        return cls(
            number=number,
            store=store,
            join=corpus.join,
            weight=corpus.weight,
            config=config,
            longest_frames=longest_frames,
            num_targets=num_targets,
            speakers=tuple(speakers_of(store.clips)) if corpus.join else (),
            usable=np.flatnonzero(store.counts <= longest_frames),
        )

    def natural_size(self, most_words: int) -> float:
        """Utterances of one pass through the clips, weight considered."""
        if not self.join:
            return len(self.usable) * self.weight
        least = min(self.config.join.min_words, most_words)
        return len(self.usable) * self.weight * 2 / (least + most_words)

    def mean_frames(self, most_words: int) -> float:
        """Frames of a mean utterance, about."""
        if len(self.usable) == 0:
            return 1.0
        clip = float(self.store.counts[self.usable].mean())
        if not self.join:
            return clip
        join = self.config.join
        words = (min(join.min_words, most_words) + most_words) / 2
        pauses = (join.min_pause + join.max_pause) / 2 * (words - 1) + 0.6
        return clip * words + pauses * FRAMES_PER_SECOND

    def recipes(self, seed: int, epoch: int, count: int, most_words: int) -> list[Recipe]:
        """The utterances of one epoch."""
        if count == 0 or len(self.usable) == 0:
            return []
        rng = generator(Stream.ORDER, seed, epoch, self.number)
        if self.join:
            sizes = np.array([speaker.num_clips for speaker in self.speakers], float)
            picks = rng.choice(len(self.speakers), count, p=sizes / sizes.sum())
        else:
            passes = -(-count // len(self.usable))
            picks = np.concatenate([rng.permutation(self.usable) for _ in range(passes)])[:count]
        return [
            self._recipe(index, int(pick), most_words, generator(
                Stream.RECIPE, seed, epoch, self.number, index
            ))
            for index, pick in enumerate(picks)
        ]  # fmt: skip

    def _recipe(self, index: int, pick: int, most_words: int, rng: np.random.Generator) -> Recipe:
        augment = self.config.augment
        if self.join:
            joining = self._drawn(pick, most_words, rng)
        else:
            joining = self._fitting(joining_of((pick,), self.config.join, rng))
        first = self.store.clips[joining.clips[0]]
        native = first.bandwidth is Bandwidth.NARROWBAND
        narrow = native or bool(
            rng.random() < augment.narrowband and augment.telephone_variants > 0
        )
        counts = [int(self.store.counts[clip]) for clip in joining.clips]
        shape = self._within_window(draw_shape(counts, joining, augment, rng))
        return Recipe(
            corpus=self.number,
            index=index,
            joining=joining,
            variants=self._variants(joining, native, narrow, rng),
            narrow=narrow,
            empty=bool(rng.random() < augment.empty),
            target=self._target(joining, rng),
            shape=shape,
        )

    def _drawn(self, speaker: int, most_words: int, rng: np.random.Generator) -> Joining:
        """Words of one speaker whose text is not among the excluded ones."""
        config = self.config.join
        clips: list[Clip] = []
        for _ in range(MOST_DRAWS):
            joining = self._fitting(
                draw_joining(self.speakers[speaker], config, rng, most=most_words)
            )
            clips = [self.store.clips[clip] for clip in joining.clips]
            text = joined_text([clip.text for clip in clips], clips[0].language)
            if text not in config.exclude:
                return joining
        raise TrainingError(
            f"data.join.exclude leaves nothing to say for speaker {clips[0].speaker}: "
            f"{MOST_DRAWS} draws in a row were excluded; shorten the list"
        )

    def _variants(
        self, joining: Joining, native: bool, narrow: bool, rng: np.random.Generator
    ) -> tuple[int, ...]:
        """One version for all words: narrowband clips have all of theirs to draw from, wideband
        ones all but the first."""
        if not narrow:
            return (0,) * len(joining.clips)
        telephone = self.config.augment.telephone_variants
        return (int(rng.integers(0 if native else 1, telephone + 1)),) * len(joining.clips)

    def _target(self, joining: Joining, rng: np.random.Generator) -> int:
        most = self.num_targets[joining.clips[0]]
        draw, choice = rng.random(), int(rng.integers(1, most + 1)) if most else 0
        return choice if draw < self.config.translate_weight else 0

    def _fitting(self, joining: Joining) -> Joining:
        """As many of the words as the window holds at the slowest tempo, at least one."""
        slowest = min(self.config.augment.speed[0], 1.0) * 0.95
        room = self.longest_frames - joining.gaps[0] * FRAMES_PER_SECOND
        kept = 0
        for clip, gap in zip(joining.clips, joining.gaps[1:], strict=True):
            room -= self.store.counts[clip] / slowest + gap * FRAMES_PER_SECOND
            kept += room >= 0
        if kept == len(joining.clips):
            return joining
        kept = max(kept, 1)
        return replace(joining, clips=joining.clips[:kept], gaps=joining.gaps[: kept + 1])

    def _within_window(self, shape: Shape) -> Shape:
        """A single long clip gets no silence around it, nor more frames than the window has."""
        if shape.num_frames <= self.longest_frames:
            return shape
        counts = (min(shape.counts[0], self.longest_frames), *shape.counts[1:])
        return replace(shape, counts=counts, gaps=(0, *shape.gaps[1:-1], 0))


def epoch_sizes(
    sources: Sequence[CorpusSource], epoch_hours: float | None, most_words: int
) -> list[int]:
    """Utterances of each corpus in one epoch."""
    sizes = [source.natural_size(most_words) for source in sources]
    if epoch_hours is not None:
        frames = sum(
            size * source.mean_frames(most_words)
            for size, source in zip(sizes, sources, strict=True)
        )
        scale = epoch_hours * 3600 * FRAMES_PER_SECOND / max(frames, 1.0)
        sizes = [size * scale for size in sizes]
    return [max(1, round(size)) if size > 0 else 0 for size in sizes]


def pack(lengths: Sequence[int], most_frames: int, rng: np.random.Generator) -> list[list[int]]:
    """Utterances of like lengths in batches of at most `most_frames`, padding included.

    An utterance longer than that is a batch of its own. Shortest batches first.
    """
    exact = np.asarray(lengths)
    blurred = exact * rng.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(exact))
    batches: list[list[int]] = []
    longest = 0
    for index in np.argsort(blurred, kind="stable").tolist():
        longest = max(longest, int(exact[index]))
        if not batches or longest * (len(batches[-1]) + 1) > most_frames:
            batches.append([])
            longest = int(exact[index])
        batches[-1].append(index)
    return batches


def deal(
    batches: list[list[int]], rank: int, world_size: int, rng: np.random.Generator
) -> list[list[int]]:
    """One rank's batches in random order, as many as every other's; at one step they are alike.

    Where the number does not divide, the longest batches are dealt again.
    """
    if not batches:
        return []
    steps = -(-len(batches) // world_size)
    short = steps * world_size - len(batches)
    full = (
        [*batches, *(batches * world_size)[len(batches) * world_size - short :]]
        if short
        else batches
    )
    return [full[step * world_size + rank] for step in rng.permutation(steps).tolist()]
