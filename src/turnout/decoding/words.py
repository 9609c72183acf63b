"""Words and their times: CTC's spikes say in which order and roughly where, loudness where a word
begins and ends.

A token's spike is a frame or two near the end of its sound, or in the silence behind it. So a word
is parted from the next where it is quiet, but near the end of its last spike (the quietest frame
between two spikes may be the closure inside a stop), and takes what is loud in its part. Everything
here sees one utterance without padding: `log_mel` is [frames, mels].
"""

from collections.abc import Sequence
from itertools import pairwise
from math import exp
from typing import Any
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import FRAME_SECONDS
from turnout.decoding.alignment import Spikes
from turnout.text.tokenizer import Tokenizer
from turnout.text.transcript import Word

SMOOTHING = 3
"""Frames over which loudness is averaged."""
QUIET_PERCENTILE, LOUD_PERCENTILE = 5, 95
"""Of an utterance's frames by loudness: what counts as silence, and as full loudness."""
LOUD = 0.12
"""Of the way from silence to full loudness: where a word's sound begins."""
HUSH = 0.25
"""Of the same way: what is softer is all the same to where words are parted."""
BEHIND_SPIKE_SECONDS = 0.1
"""From the end of a word's last spike to its own, where it goes on at full loudness; where silence
follows the spike, it is over."""
LISTENED_SECONDS = 0.08
"""Behind a spike, for whether its word goes on."""
STRAY_SECONDS = 0.13
"""So far from there, a silence is worth no more than full loudness at that place."""
FARTHEST = 0.6
"""Of full loudness: what distance behind that place costs at most, so that a pause is found
however far it lies, where it is loud all around the spike."""
UNEVEN = 0.6
"""Of full loudness: what it costs where one of two neighbours is 2.7 times as long as the other."""
SHORTEST_SECONDS = 0.05
"""As long as which shorter words count in that."""
REACH_SECONDS = 1.0
"""Farthest from its spikes, or from the last sound before them, that a word begins and ends; so
far behind their sounds lie the spikes of a model that waits for silence."""

OPENING = ("Ps", "Pi")
"""Unicode's categories of what opens a bracket or a quotation."""
SOUNDING = ("Lu", "Ll", "Lt", "Lo", "Nd", "Nl", "No", "Sc", "Sm", "So")
"""Those of letters, digits and signs, without the modifiers that belong to what is before them."""

Index = NDArray[np.int64]
Floats = NDArray[np.float64]


def words_of(
    log_mel: NDArray[np.float32],
    spikes: Spikes,
    factor: int,
    tokenizer: Tokenizer,
    log_probs: Sequence[float] = (),
    spaced: bool = True,
) -> tuple[Word, ...]:
    """The words with their times in seconds; `factor` feature frames make one hidden frame.

    A word's probability is the geometric mean of its tokens', whose logarithms are `log_probs`.
    A language that is not `spaced` has its characters, or tokens of several, for words.
    """
    groups = (word_groups if spaced else character_groups)(spikes.tokens, tokenizer)
    words = []
    for group, (begin, end) in zip(groups, spans_of(log_mel, spikes, factor, groups), strict=True):
        parts = log_probs[group]
        words.append(
            Word(
                start=begin,
                end=end,
                word=text_of(spikes.tokens, group, tokenizer, spaced),
                probability=exp(sum(parts) / len(parts)) if parts else None,
            )
        )
    return tuple(words)


def text_of(tokens: Sequence[int], group: slice, tokenizer: Tokenizer, spaced: bool = True) -> str:
    """What these of the tokens say: without space around it, but for one inside the text of a
    language that is not `spaced`, whose words joined are the text."""
    text = tokenizer.decode(tokens[group])
    if spaced or group.start == 0:
        return text.strip()
    # A token's own space is no space of the text where the text begins with it.
    return tokenizer.decode(tokens[: group.stop])[len(tokenizer.decode(tokens[: group.start])) :]


def word_groups(tokens: Sequence[int], tokenizer: Tokenizer) -> list[slice]:
    """The tokens of each word: a word begins where a token begins with a space."""
    begins = [i for i, token in enumerate(tokens) if i == 0 or tokenizer.word_start_mask[token]]
    return groups_from(begins, tokens, tokenizer)


def character_groups(tokens: Sequence[int], tokenizer: Tokenizer) -> list[slice]:
    """The fewest tokens that are whole characters, as Whisper has words where none are written;
    marks, punctuation and the letters of a Latin word stay with what is before them."""
    text = tokenizer.decode(tokens)
    heads = [tokenizer.decode(tokens[:i]) for i in range(len(tokens))]
    begins = [
        i
        for i, head in enumerate(heads)
        if i == 0 or (text.startswith(head) and parts(text, len(head)))
    ]
    return groups_from(begins, tokens, tokenizer)


def parts(text: str, place: int) -> bool:
    """Whether a word of a language without spaces may begin at this place in the text."""
    before, after = text[place - 1 : place], text[place : place + 1]
    if not (before and after) or before.isspace() or category(before) in OPENING:
        return False
    latin = (before + after).isascii() and (before + after).isalnum()
    return not latin and (after.isspace() or category(after) in OPENING + SOUNDING)


def groups_from(begins: Sequence[int], tokens: Sequence[int], tokenizer: Tokenizer) -> list[slice]:
    """The groups that begin at these places, but for those of white space alone."""
    groups = [slice(a, b) for a, b in pairwise([*begins, len(tokens)])]
    return [group for group in groups if text_of(tokens, group, tokenizer)]


def spans_of(
    log_mel: NDArray[np.float32], spikes: Spikes, factor: int, groups: Sequence[slice]
) -> list[tuple[float, float]]:
    """Begin and end of each group of tokens, in seconds."""
    if not groups:
        return []
    first = spikes.first[[group.start for group in groups]] * factor
    last = (spikes.last[[group.stop - 1 for group in groups]] + 1) * factor
    begins, ends = spans(log_mel, first, last)
    return [(seconds(begin), seconds(end)) for begin, end in zip(begins, ends, strict=True)]


def spans(log_mel: NDArray[np.float32], first: Index, last: Index) -> tuple[Index, Index]:
    """First feature frame and the one behind the last of each of some neighbouring words, whose
    spikes lie from `first` to below `last`."""
    frames = len(log_mel)
    loudness = loudness_of(log_mel)
    loud = loudness > LOUD
    begins, ends = np.clip(first, 0, frames - 1), np.clip(last, 1, frames)
    cuts = cuts_between(loudness, begins, ends)
    reach = round(REACH_SECONDS / FRAME_SECONDS)
    left = np.maximum(np.append(0, cuts), last_sounds(loud, begins) - reach)
    right = np.minimum(np.append(cuts, frames), last_sounds(loud, ends - 1) + 1 + reach)
    for i, (low, high) in enumerate(zip(left, right, strict=True)):
        inside = low + np.flatnonzero(loud[low:high])
        if len(inside):
            begins[i], ends[i] = inside[0], inside[-1] + 1
        elif low < high:
            begins[i], ends[i] = np.clip(begins[i], low, high - 1), np.clip(ends[i], low + 1, high)
    begins[1:] = np.minimum(np.maximum(begins[1:], ends[:-1]), frames - 1)
    return begins, np.maximum(ends, begins + 1)


def last_sounds(loud: NDArray[np.bool_], frames: Index) -> Index:
    """The last loud frame up to each of these frames; where none is in reach, the frame itself."""
    sounds = np.append(-len(loud), np.flatnonzero(loud))
    before = sounds[np.searchsorted(sounds, frames, side="right") - 1]
    return np.where(frames - before <= REACH_SECONDS / FRAME_SECONDS, before, frames)


def loudness_of(log_mel: NDArray[np.float32]) -> Floats:
    """[frames]: 0 in the utterance's silence, 1 where it is loud."""
    level = np.pad(log_mel.mean(axis=1, dtype=np.float64), SMOOTHING // 2, mode="edge")
    loudness = np.convolve(level, np.ones(SMOOTHING) / SMOOTHING, mode="valid")
    quiet, loud = np.percentile(loudness, [QUIET_PERCENTILE, LOUD_PERCENTILE])
    return (loudness - quiet) / max(loud - quiet, 1e-6)


def cuts_between(loudness: Floats, first: Index, last: Index) -> Index:
    """[words - 1]: the frame where each word is parted from the next: quiet, near the end of its
    spike, and so that neither is much longer than the other."""
    sound = np.maximum(loudness, HUSH)
    heard = np.flatnonzero(loudness > LOUD)
    # Without a sound, no length is known.
    start, stop, weight = (heard[0], heard[-1], UNEVEN) if len(heard) else (0, 0, 0.0)
    expected = last + behind_spikes(loudness, last)
    ends = np.append(expected[1:-1], stop)[: len(last) - 1]
    cuts: list[int] = []
    for end, following, next_end in zip(expected[:-1], first[1:], ends, strict=True):
        low = cuts[-1] + 1 if cuts else 1
        frames = np.arange(low, max(following, low) + 1)
        frames = np.minimum(frames, len(loudness) - 1)
        away = (frames - end) * FRAME_SECONDS / STRAY_SECONDS
        distance = np.where(away > 0, np.minimum(away**2, FARTHEST), away**2)
        uneven = length_ratio(frames - max(low - 1, start), next_end - frames) ** 2
        best = int(frames[(sound[frames] + distance + weight * uneven).argmin()])
        cuts.append(silence_beside(loudness, best, low))
    return np.array(cuts, dtype=np.int64)


def length_ratio(one: NDArray[Any], other: NDArray[Any]) -> Floats:
    """The logarithm of the ratio of these numbers of frames."""
    shortest = SHORTEST_SECONDS / FRAME_SECONDS
    return np.log(np.maximum(one, shortest) / np.maximum(other, shortest))


def silence_beside(loudness: Floats, frame: int, low: int) -> int:
    """The nearest silent frame, or this one where none is as near as smoothing spreads a sound:
    what a word fades out with is no part of the next."""
    first = max(low, frame - SMOOTHING + 1)
    silent = first + np.flatnonzero(loudness[first : frame + SMOOTHING] <= LOUD)
    return int(silent[np.abs(silent - frame).argmin()]) if len(silent) else frame


def behind_spikes(loudness: Floats, last: Index) -> Floats:
    """[words]: how many frames each word goes on behind its spike, as far as loudness tells."""
    listened = round(LISTENED_SECONDS / FRAME_SECONDS)
    starts = np.minimum(last, len(loudness) - 1)
    heard = [loudness[start : start + listened].mean() for start in starts]
    return np.array(heard) * BEHIND_SPIKE_SECONDS / FRAME_SECONDS


def seconds(frame: int) -> float:
    """The time of a feature frame, to the hundredth."""
    return round(float(frame) * FRAME_SECONDS, 2)
