"""Which utterances an epoch has of a corpus, and how long each is, before any frame is read.

Made from the clips and their lengths alone and from (seed, epoch): every rank computes the same,
and resuming is an index into it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import HOP_SAMPLES, SAMPLE_RATE
from turnout.config import AugmentConfig, CorpusConfig, DataConfig, ModelConfig
from turnout.corpora.clips import Clip
from turnout.data.joining import (
    LONGEST_EDGE,
    Joining,
    Speaker,
    draw_joining,
    joined_text,
    joining_of,
    most_joined,
    speakers_of,
)
from turnout.data.packing import Room, packed
from turnout.errors import TrainingError
from turnout.guidance import Bandwidth

FRAMES_PER_SECOND = SAMPLE_RATE / HOP_SAMPLES
WORD_TEMPO_JITTER = 0.04
WORD_WARP_JITTER = 0.01
MOST_DRAWS = 1000


class Stream(IntEnum):
    """What a generator is for: streams of one utterance never share numbers."""

    ORDER = 0
    UTTERANCE = 1
    AUGMENT = 2
    BATCHES = 3
    DEV = 4
    HEARD = 5
    SHARDS = 6


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Tempo, warp and gaps of an utterance: enough to know its length."""

    warp: tuple[float, ...]
    """Frequency warp of each word."""
    counts: tuple[int, ...]
    """Frames of each word after the change of tempo."""
    gaps: tuple[int, ...]
    """Frames before, between and behind the words."""

    @property
    def num_frames(self) -> int:
        """Of the utterance."""
        return sum(self.counts) + sum(self.gaps)


def draw_shape(
    counts: Sequence[int], joining: Joining, config: AugmentConfig, rng: np.random.Generator
) -> Shape:
    """Tempo and warp for words of these frame counts, with a little jitter from word to word."""
    words = len(counts)
    speed = np.full(words, rng.uniform(*config.speed))
    warp = np.full(words, rng.uniform(*config.warp))
    if words > 1 and config.speed[0] < config.speed[1]:
        speed *= rng.uniform(1 - WORD_TEMPO_JITTER, 1 + WORD_TEMPO_JITTER, words)
    if words > 1 and config.warp[0] < config.warp[1]:
        warp *= rng.uniform(1 - WORD_WARP_JITTER, 1 + WORD_WARP_JITTER, words)
    return Shape(
        warp=tuple(warp.tolist()),
        counts=tuple(max(1, round(n / s)) for n, s in zip(counts, speed, strict=True)),
        gaps=tuple(round(gap * FRAMES_PER_SECOND) for gap in joining.gaps),
    )


def within_window(shape: Shape, longest_frames: int) -> Shape:
    """A single long clip gets no silence around it, nor more frames than the window has."""
    if shape.num_frames <= longest_frames:
        return shape
    counts = (min(shape.counts[0], longest_frames), *shape.counts[1:])
    return replace(shape, counts=counts, gaps=(0, *shape.gaps[1:-1], 0))


def longest_frames(model: ModelConfig) -> int:
    """The model's window."""
    return round(model.window_seconds * FRAMES_PER_SECOND)


@dataclass(frozen=True, kw_only=True)
class PlannedUtterance:
    """One utterance of an epoch before any frame is read."""

    corpus: int
    index: int
    """Within its corpus and epoch."""
    joining: Joining
    variant: int
    """Of all clips."""
    narrow: bool
    empty: bool
    """Noise or silence of the same shape instead of the words."""
    target: int
    """Which text is written under `tasks: draw`: 0 the transcript, n the n-th translation."""
    shape: Shape


@dataclass(frozen=True, eq=False)
class Written:
    """What a decoder has to write."""

    tokens: NDArray[np.int64]
    """Of each clip's longest text, without the prompt."""
    most: int
    """Of an utterance, however many clips are joined in it."""


def generator(stream: Stream, seed: int, *place: int) -> np.random.Generator:
    """The one for this stream, seed and place (epoch, corpus, utterance)."""
    return np.random.default_rng([int(stream), seed, *place])


@dataclass(frozen=True, eq=False)
class CorpusPlanner:
    """Draws the utterances of `config.train[number]`, of which all clips fit into the window."""

    number: int
    clips: Sequence[Clip]
    counts: NDArray[np.int64]
    """Frames of each clip."""
    config: DataConfig
    model: ModelConfig
    fewest: NDArray[np.int64] | None = None
    """Frames that each clip must keep, however fast, so that CTC can align its text; of words that
    are joined, None."""
    written: Written | None = None
    """None of a model without decoder."""

    @property
    def corpus(self) -> CorpusConfig:
        """What is drawn from."""
        return self.config.train[self.number]

    @property
    def longest_frames(self) -> int:
        """The model's window."""
        return longest_frames(self.model)

    @cached_property
    def speakers(self) -> list[Speaker]:
        """Who speaks the words that are joined."""
        return speakers_of(self.clips)

    def natural_size(self, most_words: int) -> float:
        """Utterances of one pass through the clips, weight considered."""
        if not self.corpus.join:
            return len(self.clips) * self.corpus.weight
        clips: Counter[int] = Counter()
        for speaker in self.speakers:
            clips[most_joined(speaker, self.clips, most_words)] += sum(map(len, speaker))
        return sum(
            count * self.corpus.weight * 2 / (min(self.config.join.min_words, most) + most)
            for most, count in clips.items()
        )

    def mean_frames(self, most_words: int) -> float:
        """Frames of a mean utterance, about."""
        utterances = self.natural_size(most_words)
        if utterances == 0:
            return 1.0
        clip = float(self.counts.mean())
        if not self.corpus.join:
            return clip
        join = self.config.join
        words = len(self.clips) * self.corpus.weight / utterances
        # Two edges, each of half the longest on average.
        pauses = (join.min_pause + join.max_pause) / 2 * (words - 1) + LONGEST_EDGE
        return clip * words + pauses * FRAMES_PER_SECOND

    def utterances(
        self, seed: int, epoch: int, count: int, most_words: int, taken: slice = slice(None)
    ) -> list[PlannedUtterance]:
        """The utterances of one epoch, or those of them that are `taken`."""
        if count == 0 or not self.clips:
            return []
        plan = epoch % self.config.plans if self.config.plans else epoch
        rng = generator(Stream.ORDER, seed, plan, self.number)
        if self.corpus.join:
            # By their clips: a speaker of few words would be learned by heart.
            sizes = np.array([sum(map(len, words)) for words in self.speakers], float)
            picks = rng.choice(len(self.speakers), count, p=sizes / sizes.sum()).tolist()
        else:
            # Each clip comes once before any comes twice.
            passes, clips = -(-count // len(self.clips)), np.arange(len(self.clips))
            whole = np.concatenate([rng.permutation(clips) for _ in range(passes)])[:count].tolist()
            picks = self._packed(whole) if self.corpus.pack else [(clip,) for clip in whole]
        # A generator for each: an utterance is the same however many there are before it.
        return [
            self.utterance(index, pick, most_words, (
                generator(Stream.UTTERANCE, seed, plan, self.number, index),
                generator(Stream.HEARD, seed, epoch, self.number, index)
                if self.config.plans
                else None,
            ))
            for index, pick in list(enumerate(picks))[taken]
        ]  # fmt: skip

    def utterance(
        self,
        index: int,
        pick: int | tuple[int, ...],
        most_words: int,
        generators: tuple[np.random.Generator, np.random.Generator | None],
    ) -> PlannedUtterance:
        """Of a speaker's words, or of these clips; what it is, and how it is heard, come from a
        generator each where the first returns in other epochs, or is drawn from elsewhere too."""
        rng, heard = generators[0], generators[1] or generators[0]
        augment = self.config.augment
        if isinstance(pick, int):
            joining = self._drawn(pick, most_words, rng)
        else:
            joining = self._fitting(joining_of(pick, self.config.join, rng))
        first = self.clips[joining.clips[0]]
        native = first.bandwidth is Bandwidth.NARROWBAND
        narrow = native or bool(
            heard.random() < augment.narrowband and augment.telephone_variants > 0
        )
        counts = [int(self.counts[clip]) for clip in joining.clips]
        shape = within_window(draw_shape(counts, joining, augment, rng), self.longest_frames)
        if self.fewest is not None:
            fewest = (int(self.fewest[clip]) for clip in joining.clips)
            shape = replace(shape, counts=tuple(map(max, shape.counts, fewest)))
        return PlannedUtterance(
            corpus=self.number,
            index=index,
            joining=joining,
            variant=self._variant(native, narrow, heard),
            narrow=narrow,
            empty=bool(heard.random() < augment.empty),
            target=self._target(joining, rng),
            shape=shape,
        )

    def _drawn(self, speaker: int, most_words: int, rng: np.random.Generator) -> Joining:
        """Words of one speaker whose text is not among the excluded ones."""
        config, words = self.config.join, self.speakers[speaker]
        most_words = most_joined(words, self.clips, most_words)
        clips: list[Clip] = []
        for _ in range(MOST_DRAWS):
            joining = self._fitting(draw_joining(words, config, rng, most=most_words))
            clips = [self.clips[clip] for clip in joining.clips]
            text = joined_text([clip.text for clip in clips], clips[0].language)
            # After it was cut to the window: what is left must not be excluded either.
            if text not in config.exclude:
                return joining
        raise TrainingError(
            f"data.join.exclude leaves nothing to say for speaker {clips[0].voice}: "
            f"{MOST_DRAWS} draws in a row were excluded; shorten the list"
        )

    def _variant(self, native: bool, narrow: bool, rng: np.random.Generator) -> int:
        """One version for all words: narrowband clips have all of theirs to draw from, wideband
        ones by telephone those of it, and else those of the channel where there are any."""
        augment = self.config.augment
        first = augment.telephone_variants + 1
        if narrow:
            return int(rng.integers(0 if native else 1, first))
        wide = augment.channel.wideband_variants if augment.channel else 0
        return int(rng.integers(first, first + wide)) if wide else 0

    def _target(self, joining: Joining, rng: np.random.Generator) -> int:
        clip = self.clips[joining.clips[0]]
        targets = self.model.vocabulary.targets_of(clip.language)
        most = sum(target in clip.translations for target in targets)
        draw, choice = rng.random(), int(rng.integers(1, most + 1)) if most else 0
        return choice if draw < self.config.translate_weight else 0

    @property
    def clips_per_window(self) -> float:
        """Of a packed corpus, on average and in its own order."""
        return len(self.clips) / max(len(self._packed(range(len(self.clips)))), 1)

    @property
    def _slowest(self) -> float:
        """A little slower than the slowest tempo: words differ by WORD_TEMPO_JITTER."""
        return min(self.config.augment.speed[0], 1.0) * 0.95

    def _packed(self, order: Sequence[int]) -> list[tuple[int, ...]]:
        """The clips of each window, whatever the gaps between them will be."""
        most, edges = self.longest_frames, 2 * LONGEST_EDGE * FRAMES_PER_SECOND
        pause = self.config.join.max_pause * FRAMES_PER_SECOND
        written = self.written or Written(np.zeros(len(self.clips), np.int64), 0)
        frames = self.counts / self._slowest + pause
        room = Room(most - edges, written.most, frames, written.tokens.astype(np.float64))
        return packed(order, self.clips, room)

    def _fitting(self, joining: Joining) -> Joining:
        """As many of the words as the window holds at the slowest tempo, and the decoder writes; at
        least one."""
        slowest = self._slowest
        room = self.longest_frames - joining.gaps[0] * FRAMES_PER_SECOND
        unwritten = self.written.most if self.written else 0
        kept = 0
        for clip, gap in zip(joining.clips, joining.gaps[1:], strict=True):
            room -= self.counts[clip] / slowest + gap * FRAMES_PER_SECOND
            unwritten -= int(self.written.tokens[clip]) if self.written else 0
            kept += room >= 0 and unwritten >= 0
        if kept == len(joining.clips):
            return joining
        kept = max(kept, 1)
        return replace(joining, clips=joining.clips[:kept], gaps=joining.gaps[: kept + 1])
