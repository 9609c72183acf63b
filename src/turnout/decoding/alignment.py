"""Where a text lies in its audio: CTC (Graves et al. 2006) says in which order and roughly where,
loudness where a word begins and ends.

CTC marks a token by a spike of a frame or two, inside its sound or in the silence behind it. So
each spike is moved back into sound, neighbouring words are parted at the quietest frame between
their spikes, and each takes what is loud in its part. Everything here sees one utterance without
padding: `log_probs` is [hidden frames, vocabulary], `log_mel` [frames, mels].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, inf

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import FRAME_SECONDS
from turnout.text.tokenizer import Tokenizer
from turnout.text.transcript import Word

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

    def peak_log_probs(self, log_probs: NDArray[np.float32]) -> tuple[float, ...]:
        """Each token's log-probability in the frame where it is likeliest."""
        where = zip(self.tokens, self.first, self.last, strict=True)
        return tuple(float(log_probs[a : b + 1, token].max()) for token, a, b in where)


@dataclass(frozen=True)
class BestPath:
    """The most probable path."""

    spikes: Spikes
    log_prob_empty: float
    """Of the path that is blank throughout: that nothing is said."""


def best_path(log_probs: NDArray[np.float32], allowed: NDArray[np.bool_], blank: int) -> BestPath:
    """Greedy CTC: the best of blank and the allowed tokens per frame, repetitions merged."""
    ids = np.flatnonzero(allowed)
    ids = np.union1d(ids, blank)
    path = ids[log_probs[:, ids].argmax(axis=1)]
    begins = np.flatnonzero(np.diff(path, prepend=-1))
    ends = np.append(begins[1:], len(path)) - 1
    kept = path[begins] != blank
    spikes = Spikes(tuple(path[begins][kept].tolist()), begins[kept], ends[kept])
    return BestPath(spikes, float(log_probs[:, blank].sum(dtype=np.float64)))


def align(log_probs: NDArray[np.float32], tokens: tuple[int, ...], blank: int) -> Spikes:
    """Where each token lies on the best path that spells exactly `tokens`.

    Viterbi over the tokens with blanks between them. Where there are too few frames, the tokens
    are spread evenly.
    """
    frames, count = len(log_probs), len(tokens)
    repeats = sum(a == b for a, b in pairwise(tokens))
    if count + repeats > frames:
        spread = np.arange(count) * frames // max(count, 1)
        return Spikes(tokens, spread, spread)
    labels = np.full(2 * count + 1, blank)
    labels[1::2] = tokens
    may_skip = np.zeros(len(labels), dtype=bool)
    may_skip[3::2] = labels[3::2] != labels[1:-2:2]
    emissions = log_probs[:, labels].astype(np.float64)
    states = backtrack(viterbi(emissions, may_skip))
    positions = np.flatnonzero(states % 2)
    first = np.full(count, frames)
    last = np.zeros(count, dtype=np.int64)
    np.minimum.at(first, states[positions] // 2, positions)
    np.maximum.at(last, states[positions] // 2, positions)
    return Spikes(tokens, first, last)


def viterbi(emissions: NDArray[np.float64], may_skip: NDArray[np.bool_]) -> NDArray[np.int8]:
    """How many labels each best path moved into each label, per frame [frames, labels]; the last
    row's final two entries say where the best path ends (see `backtrack`)."""
    frames, count = emissions.shape
    moves = np.zeros((frames + 1, count), dtype=np.int8)
    score = np.full(count, -inf)
    score[:2] = emissions[0, :2]
    options = np.full((3, count), -inf)
    for frame in range(1, frames):
        options[0] = score
        options[1, 1:] = score[:-1]
        options[2, 2:] = np.where(may_skip[2:], score[:-2], -inf)
        moves[frame] = options.argmax(axis=0)
        score = options.max(axis=0) + emissions[frame]
    moves[frames, -1] = 0 if count == 1 or score[-1] >= score[-2] else 1
    return moves


def backtrack(moves: NDArray[np.int8]) -> NDArray[np.int64]:
    """The label of each frame [frames] on the best path."""
    frames = len(moves) - 1
    states = np.empty(frames, dtype=np.int64)
    state = moves.shape[1] - 1 - int(moves[frames, -1])
    for frame in range(frames - 1, -1, -1):
        states[frame] = state
        state -= int(moves[frame, state])
    return states


def words_of(
    log_mel: NDArray[np.float32],
    spikes: Spikes,
    factor: int,
    tokenizer: Tokenizer,
    log_probs: Sequence[float] = (),
) -> tuple[Word, ...]:
    """The words with their times in seconds; `factor` feature frames make one hidden frame.

    A word's probability is the geometric mean of its tokens', whose logarithms are `log_probs`.
    """
    words = []
    for group, begin, end in word_spans(log_mel, spikes, factor, tokenizer):
        text = tokenizer.decode(spikes.tokens[group]).strip()
        parts = log_probs[group]
        probability = exp(sum(parts) / len(parts)) if parts else None
        words.append(Word(start=begin, end=end, word=text, probability=probability))
    return tuple(words)


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
    """First feature frame and the one behind the last of each of some neighbouring words, whose
    spikes lie from `first` to below `last`."""
    frames = len(log_mel)
    box = np.ones(SMOOTHING) / SMOOTHING
    level = np.pad(log_mel.mean(axis=1), SMOOTHING // 2, mode="edge")
    loudness = np.convolve(level, box, mode="valid")
    quiet, peak = np.percentile(loudness, [10, 95])
    loud = loudness > quiet + LOUD_SHARE * (peak - quiet)
    begins, ends = np.clip(first, 0, frames - 1), np.clip(last, 1, frames)
    first, last = moved_back(loudness, loud, begins, ends)
    cuts = quietest_frames(loudness, last[:-1], first[1:] + 1)
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


def quietest_frames(loudness: NDArray[np.float64], low: Index, high: Index) -> Index:
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
