"""Which clips a model can learn from, and why the others cannot be: none is left out silently."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from turnout.config import ModelConfig, VocabularyConfig
from turnout.corpora.clips import Clip
from turnout.data.joining import LONGEST_EDGE
from turnout.data.plan import FRAMES_PER_SECOND, CorpusPlanner, Written
from turnout.data.store import FeatureStore
from turnout.decoding.requests import CHARACTERS_PER_SECOND, most_characters
from turnout.guidance import Guidance
from turnout.text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

FEWEST_PACKED = 1.1
"""Clips of a window, on average: with fewer, packing is said to be in vain."""


class Counted(Protocol):
    """Clips whose frames are known."""

    @property
    def clips(self) -> Sequence[Clip]:
        """In order."""
        ...

    @property
    def counts(self) -> NDArray[np.int64]:
        """[clips]: frames of each."""
        ...


class Size(NamedTuple):
    """Of a text."""

    tokens: int
    frames: int
    """That CTC needs."""


@dataclass(frozen=True)
class Fitting:
    """What a model takes of a corpus."""

    model: ModelConfig
    tokenizer: Tokenizer
    join: bool
    """Whether the clips are words that get silence around them."""

    def of(self, store: FeatureStore) -> FeatureStore:
        """The store without the clips that do not fit, each with its reason in `left_out`."""
        reasons = dict(self._reasons(store))
        if not reasons:
            return store
        kept = store.subset([clip for clip in range(len(store.clips)) if clip not in reasons])
        return replace(kept, left_out=(*store.left_out, *reasons.values()))

    def fewest(self, store: Counted) -> NDArray[np.int64] | None:
        """Frames that each clip of the store, all of which fit, must keep at any tempo for CTC;
        None of words, which get silence besides."""
        if self.join or not self.model.ctc:
            return None
        needed = [self._size(clip.text).frames for clip in store.clips]
        frames = np.array(needed, np.int64) * self.model.encoder.subsampling_factor
        # The last frame of the encoder may stand for fewer than the others do.
        return np.minimum(frames, store.counts)

    def written(self, store: FeatureStore) -> Written | None:
        """What the decoder has to write of each clip of the store; None of a model without one."""
        if not self.model.decoder.num_layers:
            return None
        counts = [max(count for _, count in self._rows(clip)) for clip in store.clips]
        return Written(np.array(counts, np.int64), self._most_tokens)

    def _reasons(self, store: FeatureStore) -> Iterator[tuple[int, str]]:
        for number, frames in enumerate(store.counts.tolist()):
            reason = self.reason(store.clips[number], frames)
            if reason is not None:
                yield number, f"{store.clips[number].id}: {reason}"

    def reason(self, clip: Clip, frames: int) -> str | None:
        """Why the model cannot learn from a clip of so many frames; None where it can."""
        return self._too_long(frames) or self._too_much(clip, frames) or self._beyond_decoder(clip)

    def _too_long(self, frames: int) -> str | None:
        window = self.model.window_seconds
        if frames <= round(window * FRAMES_PER_SECOND):
            return None
        return (
            f"is {frames / FRAMES_PER_SECOND:.1f} s long, and the model's window {window:g} s: cut "
            "it into shorter segments, or raise model.window_seconds"
        )

    def _too_much(self, clip: Clip, frames: int) -> str | None:
        """Of text for the audio: CTC cannot align it, and the loss would be infinite."""
        if len(clip.text) > most_characters(clip.duration):
            return (
                f"has {len(clip.text)} characters in {clip.duration:.2f} s, and nobody says more "
                f"than {CHARACTERS_PER_SECOND} a second: is it the text of another recording?"
            )
        needed, there = self._size(clip.text).frames, self._heard(frames)
        if not self.model.ctc or needed <= there:
            return None
        return (
            f"its text needs {needed} frames of the encoder, and {clip.duration:.2f} s of audio "
            f"have {there}: is it the text of another recording?"
        )

    def _beyond_decoder(self, clip: Clip) -> str | None:
        """What no decoding would write to its end."""
        most = self._most_tokens
        for what, count in self._rows(clip) if self.model.decoder.num_layers else ():
            if count > most:
                return (
                    f"its {what} needs {count} tokens, and model.decoder.max_tokens "
                    f"({self.model.decoder.max_tokens}) leaves it {most}: cut it into shorter "
                    "segments, or raise that"
                )
        return None

    @cached_property
    def _most_tokens(self) -> int:
        """Of a text that the decoder can write: all prompts are equally long."""
        language = self.model.vocabulary.languages[0]
        guidance = Guidance(language=language)
        prompt = self.tokenizer.prompt(guidance, self.model.task_token)
        return self.model.decoder.max_tokens - len(prompt)

    def _rows(self, clip: Clip) -> Iterator[tuple[str, int]]:
        """The texts of a clip that a decoder would learn, and how many tokens each has."""
        yield "text", self._size(clip.text).tokens
        for target in self.model.vocabulary.targets_of(clip.language):
            if target in clip.translations:
                yield f"translation to {target}", self._size(clip.translations[target]).tokens

    @cached_property
    def _sizes(self) -> dict[str, "Size"]:
        return {}

    def _size(self, text: str) -> "Size":
        """Asked several times of every text, and words come again and again."""
        if text not in self._sizes:
            tokens = self.tokenizer.encode(text)
            self._sizes[text] = Size(len(tokens), frames_needed(tokens))
        return self._sizes[text]

    def _heard(self, frames: int) -> int:
        """Frames that CTC has for a clip, at most, at the tempo of its recording."""
        silence = round(2 * LONGEST_EDGE * FRAMES_PER_SECOND) if self.join else 0
        return -(-(frames + silence) // self.model.encoder.subsampling_factor)


def frames_needed(tokens: list[int]) -> int:
    """One a token, and a blank between equal neighbours."""
    return len(tokens) + sum(a == b for a, b in pairwise(tokens))


def tell_of_unused(
    clips: Sequence[Clip], trained: Sequence[Clip], cuts: str, vocabulary: VocabularyConfig
) -> None:
    """Warn of clips of other splits in one file, and of translations that the model is not for."""
    if trained and len(trained) < len(clips):
        logger.warning(
            "%s: %d of %d clips are of dev or test splits and are not trained on",
            cuts, len(clips) - len(trained), len(clips),
        )  # fmt: skip
    unused = Counter(
        f"{clip.language} to {target}"
        for clip in trained
        for target in clip.translations
        if target not in vocabulary.targets_of(clip.language)
    )
    for pair, count in sorted(unused.items()):
        logger.warning(
            "%s: %d translations from %s are not trained on: model.vocabulary.translations does "
            "not have that pair", cuts, count, pair,
        )  # fmt: skip


def tell_of_lone(planner: CorpusPlanner) -> None:
    """Warn of a corpus that is packed in vain: a window holds one clip, and is else silence."""
    if not planner.corpus.pack or not planner.clips or planner.clips_per_window >= FEWEST_PACKED:
        return
    logger.warning(
        "%s: pack: true leaves %.2f clips in a window on average: they are %.1f s long, and room "
        "for data.join.max_pause (%g s) is kept behind each: lower that, or leave pack out",
        planner.corpus.cuts, planner.clips_per_window,
        float(planner.counts.mean()) / FRAMES_PER_SECOND, planner.config.join.max_pause,
    )  # fmt: skip


def tell_of_strangers(clips: Sequence[Clip], cuts: str) -> None:
    """Warn of words that are to be joined though nobody says whose they are."""
    unknown = [clip for clip in clips if clip.speaker is None]
    if unknown:
        logger.warning(
            "%s: no speaker is stated of %d of %d words: these are joined with words of the same "
            "recording alone (%d recordings), each once at most",
            cuts, len(unknown), len(clips), len({clip.voice for clip in unknown}),
        )  # fmt: skip
