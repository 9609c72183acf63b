"""When words are spoken: CTC alignment says in which order and roughly where, loudness where a word
begins and ends.

CTC marks a token by a spike of a frame or two, inside its sound or in the silence behind it. So
each spike is moved back into sound, neighbouring words are parted at the quietest frame between
their spikes, and each takes what is loud in its part. Nothing here knows of tasks or decoders.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import HOP_SAMPLES, SAMPLE_RATE
from turnout.text.tokenizer import Tokenizer
from turnout.text.transcript import Word

FRAME_SECONDS = HOP_SAMPLES / SAMPLE_RATE
SMOOTHING = 5
"""Frames over which loudness is averaged."""
LOUD_SHARE = 0.35
"""Of the way from the quiet to the loud frames of an utterance: where loudness begins."""
REACH_SECONDS = 1.0
"""Farthest that a word begins before its first spike and ends behind its last."""
FADING_SECONDS = 0.2
"""Longest time in which a word fades out: its loudest frame there is surely its own."""

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Spikes:
    """Where CTC sees the tokens of a text."""

    tokens: tuple[int, ...]
    first: Index
    """[tokens]: first hidden frame of each."""
    last: Index
    """[tokens]: last hidden frame of each."""


def words_of(
    log_mel: NDArray[np.float32], spikes: Spikes, factor: int, tokenizer: Tokenizer
) -> tuple[Word, ...]:
    """The words with their times in seconds; `factor` feature frames make one hidden frame."""
    words = []
    for group, begin, end in word_spans(log_mel, spikes, factor, tokenizer):
        text = tokenizer.decode(spikes.tokens[group]).strip()
        words.append(Word(start=begin, end=end, word=text))
    return tuple(words)


def speech_span(
    log_mel: NDArray[np.float32], spikes: Spikes, factor: int, tokenizer: Tokenizer
) -> tuple[float, float] | None:
    """Where speech begins and ends, in seconds: where the first word does and the last; None where
    there is none."""
    found = word_spans(log_mel, spikes, factor, tokenizer)
    return (found[0][1], found[-1][2]) if found else None


def word_spans(
    log_mel: NDArray[np.float32], spikes: Spikes, factor: int, tokenizer: Tokenizer
) -> list[tuple[slice, float, float]]:
    """Each word's tokens, its begin and its end in seconds."""
    groups = word_groups(spikes.tokens, tokenizer)
    if not groups:
        return []
    first = spikes.first[[group.start for group in groups]] * factor
    last = (spikes.last[[group.stop - 1 for group in groups]] + 1) * factor
    begins, ends = spans(log_mel, first, last)
    return [
        (group, seconds(begin), seconds(end))
        for group, begin, end in zip(groups, begins, ends, strict=True)
    ]


def word_groups(tokens: Sequence[int], tokenizer: Tokenizer) -> list[slice]:
    """The tokens of each word: a word begins where a token begins with a space."""
    begins = [i for i, token in enumerate(tokens) if i == 0 or tokenizer.word_start_mask[token]]
    groups = [slice(a, b) for a, b in pairwise([*begins, len(tokens)])]
    return [group for group in groups if tokenizer.decode(tokens[group]).strip()]


def spans(log_mel: NDArray[np.float32], first: Index, last: Index) -> tuple[Index, Index]:
    """First feature frame and the one behind the last of each of some neighbouring stretches, whose
    spikes lie from `first` to below `last`."""
    frames = len(log_mel)
    box = np.ones(SMOOTHING) / SMOOTHING
    level = np.pad(log_mel.mean(axis=1), SMOOTHING // 2, mode="edge")
    loudness = np.convolve(level, box, mode="valid")
    quiet, peak = np.percentile(loudness, [10, 95])
    loud = loudness > quiet + LOUD_SHARE * (peak - quiet)
    begins, ends = np.clip(first, 0, frames - 1), np.clip(last, 1, frames)
    first, last = moved_back(loudness, loud, begins, ends)
    cuts = quietest(loudness, last[:-1], first[1:] + 1)
    reach = round(REACH_SECONDS / FRAME_SECONDS)
    left = np.maximum(np.append(0, cuts), first - reach)
    right = np.minimum(np.append(cuts, frames), last + reach)
    for i, (low, high) in enumerate(zip(left, right, strict=True)):
        inside = np.flatnonzero(loud[low:high])
        if len(inside):
            begins[i], ends[i] = low + inside[0], low + inside[-1] + 1
        elif low < high:
            begins[i], ends[i] = np.clip(begins[i], low, high - 1), np.clip(ends[i], low + 1, high)
    begins[1:] = np.minimum(np.maximum(begins[1:], ends[:-1]), frames - 1)
    return begins, np.maximum(ends, begins + 1)


def moved_back(
    loudness: NDArray[np.float64], loud: NDArray[np.bool_], first: Index, last: Index
) -> tuple[Index, Index]:
    """The spikes that lie in silence, moved back to the sound before it that no spike has yet.

    Many a model's spikes lie behind every word; the quietest frame between them would be found
    behind a word, not before it.
    """
    sounds = np.flatnonzero(loud)
    before = np.searchsorted(sounds, first, side="right") - 1
    reach = round(REACH_SECONDS / FRAME_SECONDS)
    fading = round(FADING_SECONDS / FRAME_SECONDS)
    moved, shifted = first.copy(), last.copy()
    for i in np.flatnonzero(before >= 0):
        sound = sounds[before[i]]
        free = max(last[i - 1] if i else 0, first[i] - reach)
        if free <= sound < first[i]:
            low = max(free, sound - fading)
            moved[i] = low + loudness[low : sound + 1].argmax()
            shifted[i] -= first[i] - sound
    return moved, shifted


def quietest(loudness: NDArray[np.float64], low: Index, high: Index) -> Index:
    """The quietest frame from each `low` to below `high`."""
    last = len(loudness)
    cuts = [
        a + int(loudness[a : max(b, a + 1)].argmin())
        for a, b in zip(np.minimum(low, last - 1), np.minimum(high, last), strict=True)
    ]
    return np.array(cuts, dtype=np.int64)


def seconds(frame: int) -> float:
    """The time of a feature frame, to the hundredth."""
    return round(float(frame) * FRAME_SECONDS, 2)
