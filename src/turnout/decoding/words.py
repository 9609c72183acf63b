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
COMPARED = 4
"""Frames before and behind a place, for how much the sound changes there."""
CHANGE = 1.7
"""Of full loudness: what it is worth where all mel bands change from silence to that."""
MOST_CHANGE = 0.3
"""Of that change: more counts as this, for the closure and the burst of a stop inside a word are
larger changes than those from one word to the next."""
BEHIND_SPIKE_SECONDS, BEFORE_SPIKE_SECONDS = 0.12, 0.02
"""From the end of a word's last spike to its own: behind it, where it goes on at full loudness;
before it, where silence follows."""
LISTENED_SECONDS = 0.08
"""Behind a spike, for whether its word goes on."""
STRAY_SECONDS = 0.11
"""So far from there costs as much as full loudness."""
FARTHEST = 1.4
"""Of full loudness: what distance behind that place costs at most, so that a pause is found
however far it lies, where it is loud all around the spike."""
EARLIEST_SECONDS = 0.4
"""Before a spike's end, for where its word may end."""
UNUSUAL = 4.3
"""Of full loudness: what it costs where a word is 2.7 times as long, or as short, as expected."""
PACE = 0.7
"""How much of what is expected is the utterance's usual word, the rest the word's own spikes."""
SHORTEST_SECONDS = 0.05
"""As long as which shorter words count in that."""
NO_WORD = 1e6
"""Of full loudness: what it costs where nothing is left of a word."""
BEFORE_END = 4
"""Frames before the end of what is attended to for a word, up to which it is sure to be heard."""
REACH_SECONDS = 1.0
"""Farthest from its spikes, or from the last sound before them, that a word begins and ends; so
far behind their sounds lie the spikes of a model that waits for silence."""

OPENING = ("Ps", "Pi")
"""Unicode's categories of what opens a bracket or a quotation."""
PREPENDED = "\"'¿¡-"
"""Other marks that stand before a word, if they stand apart."""
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
    times = spans_of(log_mel, spikes, factor, groups)
    return words_between(times, groups, spikes.tokens, tokenizer, log_probs, spaced)


def attended_words(
    log_mel: NDArray[np.float32],
    spikes: Spikes,
    factor: int,
    tokenizer: Tokenizer,
    log_probs: Sequence[float] = (),
    spaced: bool = True,
) -> tuple[Word, ...]:
    """The same of what the decoder attended to, which spreads over what is silent around a word:
    from the middle of a word on, it is sure to be heard, and so it is until shortly before it ends.
    """
    groups = (word_groups if spaced else character_groups)(spikes.tokens, tokenizer)
    if spaced:
        groups = with_punctuation(groups, spikes.tokens, tokenizer)
    if not groups:
        return ()
    bounds = np.minimum(np.append(spikes.first, spikes.last[-1:] + 1) * factor, len(log_mel))
    begins = bounds[[group.start for group in groups]]
    ends = bounds[[group.stop for group in groups]]
    middles = (begins + ends) // 2
    begins, ends = spans(log_mel, middles, np.maximum(ends - BEFORE_END, middles + 1))
    times = [(seconds(begin), seconds(end)) for begin, end in zip(begins, ends, strict=True)]
    return words_between(times, groups, spikes.tokens, tokenizer, log_probs, spaced)


def words_between(
    times: Sequence[tuple[float, float]],
    groups: Sequence[slice],
    tokens: Sequence[int],
    tokenizer: Tokenizer,
    log_probs: Sequence[float],
    spaced: bool,
) -> tuple[Word, ...]:
    """A word for each group of the tokens, with its begin and end in seconds."""
    words = []
    for group, (begin, end) in zip(groups, times, strict=True):
        parts = log_probs[group]
        words.append(
            Word(
                start=begin,
                end=end,
                word=text_of(tokens, group, tokenizer, spaced),
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


def with_punctuation(
    groups: Sequence[slice], tokens: Sequence[int], tokenizer: Tokenizer
) -> list[slice]:
    """The groups, those of punctuation alone joined to what they belong to: what opens a bracket,
    a quotation or a sentence to the next, all other to the one before."""
    joined: list[slice] = []
    opening: int | None = None
    for group in groups:
        text = text_of(tokens, group, tokenizer)
        start = group.start if opening is None else opening
        if text and all(category(letter)[0] == "P" for letter in text):
            if text[-1] in PREPENDED or category(text[-1]) in OPENING or not joined:
                opening = start
                continue
            joined[-1] = slice(joined[-1].start, group.stop)
        else:
            joined.append(slice(start, group.stop))
        opening = None
    if opening is not None:
        # Nothing comes behind it.
        last = joined.pop() if joined else slice(opening, opening)
        joined.append(slice(last.start, len(tokens)))
    return joined


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
    loudness, change = loudness_and_change(log_mel)
    loud = loudness > LOUD
    begins, ends = np.clip(first, 0, frames - 1), np.clip(last, 1, frames)
    cuts = cuts_between(loudness, change, begins, ends)
    reach = round(REACH_SECONDS / FRAME_SECONDS)
    left = np.maximum(np.append(0, cuts), last_sounds(loud, begins) - reach)
    right = np.minimum(np.append(cuts, frames), last_sounds(loud, ends - 1) + 1 + reach)
    for i, (low, high) in enumerate(zip(left, right, strict=True)):
        inside = low + np.flatnonzero(loud[low:high])
        if len(inside):
            begins[i], ends[i] = inside[0], inside[-1] + 1
        elif low < high:
            # The silence behind the cut is as much this word's.
            stop = high + int(np.append(loud[high : ends[i]], True).argmax())
            begins[i], ends[i] = np.clip(begins[i], low, stop - 1), np.clip(ends[i], low + 1, stop)
    begins[1:] = np.minimum(np.maximum(begins[1:], ends[:-1]), frames - 1)
    return begins, np.maximum(ends, begins + 1)


def last_sounds(loud: NDArray[np.bool_], frames: Index) -> Index:
    """The last loud frame up to each of these frames; where none is in reach, the frame itself."""
    sounds = np.append(-len(loud), np.flatnonzero(loud))
    before = sounds[np.searchsorted(sounds, frames, side="right") - 1]
    return np.where(frames - before <= REACH_SECONDS / FRAME_SECONDS, before, frames)


def loudness_and_change(log_mel: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """[frames] each: 0 in the utterance's silence, 1 where it is loud; and by how much of this way
    the mel bands differ between just before a frame and from it on."""
    level = np.pad(log_mel.mean(axis=1, dtype=np.float64), SMOOTHING // 2, mode="edge")
    loudness = np.convolve(level, np.ones(SMOOTHING) / SMOOTHING, mode="valid")
    quiet, loud = np.percentile(loudness, [QUIET_PERCENTILE, LOUD_PERCENTILE])
    way = max(loud - quiet, 1e-6)
    padded = np.pad(log_mel, ((COMPARED, COMPARED - 1), (0, 0)), mode="edge")
    sums = padded[: 1 - COMPARED].astype(np.float64)
    for place in range(1, COMPARED):
        sums += padded[place : len(sums) + place]
    change = np.abs(sums[COMPARED:] - sums[:-COMPARED]).mean(axis=1) / COMPARED
    return (loudness - quiet) / way, np.minimum(change / way, MOST_CHANGE)


def cuts_between(loudness: Floats, change: Floats, first: Index, last: Index) -> Index:
    """[words - 1]: the frame where each word is parted from the next: of all ways to part them the
    best (dynamic programming), where it is quiet and the sound changes, near the ends of the
    spikes, and so that no word's length is unusual."""
    frames, words = len(loudness), len(last)
    sound, lengths = np.maximum(loudness, HUSH) - CHANGE * change, lengths_until(loudness)
    ends = last + behind_spikes(loudness, last)
    costs = costs_of_lengths(lengths, ends)
    choices = [np.zeros(1, np.int64), *choices_between(frames, first, last), np.array([frames])]
    cost, moves = np.zeros(1), []
    for word, (before, after) in enumerate(pairwise(choices)):
        total = costs[word].take(lengths[after][:, None] - lengths[before], mode="clip")
        total += cost
        np.copyto(total, NO_WORD, where=before >= after[:, None])
        moves.append(total.argmin(axis=1))  # of what lies side by side in memory
        cost = total[np.arange(len(after)), moves[-1]]
        if word < words - 1:
            cost = cost + sound[after] + strayed(after - ends[word])
    place, cuts = 0, np.zeros(words - 1, dtype=np.int64)
    for word in range(words - 1, 0, -1):
        place = moves[word][place]
        cuts[word - 1] = choices[word][place]
    return beside_sounds(loudness, cuts)


def choices_between(frames: int, first: Index, last: Index) -> list[Index]:
    """The frames where each word but the last may be parted from the next."""
    earliest, low, choices = round(EARLIEST_SECONDS / FRAME_SECONDS), 1, []
    for end, following in zip(last[:-1], first[1:], strict=True):
        low = max(low, min(end - earliest, following))
        choices.append(np.minimum(np.arange(low, max(following, low) + 1), frames - 1))
        low = int(choices[-1][0]) + 1
    return choices


def strayed(frames: Floats) -> Floats:
    """What it costs to part words so many frames behind the end that the spike lets expect."""
    cost = (frames * FRAME_SECONDS / STRAY_SECONDS) ** 2
    return np.where(frames > 0, np.minimum(cost, FARTHEST), cost)


def lengths_until(loudness: Floats) -> Index:
    """[1 + frames]: frames from the first sound until each, and none behind the last sound."""
    heard = np.flatnonzero(loudness > LOUD)
    if not len(heard):
        return np.zeros(len(loudness) + 1, dtype=np.int64)
    return np.clip(np.arange(len(loudness) + 1), heard[0], heard[-1] + 1) - heard[0]


def costs_of_lengths(lengths: Index, ends: Floats) -> Floats:
    """[words, 1 + frames]: what it costs where a word is so many frames long, by where the spikes
    let the words end and by what is usual in the utterance."""
    logs = np.log(np.maximum(np.arange(len(lengths)), SHORTEST_SECONDS / FRAME_SECONDS))
    cuts = np.clip(np.round(ends[:-1]).astype(np.int64), 0, len(lengths) - 1)
    own = logs[np.maximum(np.diff(lengths[[0, *cuts, -1]]), 0)]
    usual = own + PACE * (own.mean() - own)
    return UNUSUAL * (logs - usual[:, None]) ** 2


def beside_sounds(loudness: Floats, cuts: Index) -> Index:
    """Each cut in the nearest silent frame, or where it is if none is as near as smoothing spreads
    a sound: what a word fades out with is no part of the next."""
    moved: list[int] = []
    for cut in cuts:
        low = moved[-1] + 1 if moved else 1
        begin = max(low, cut - SMOOTHING + 1)
        silent = begin + np.flatnonzero(loudness[begin : cut + SMOOTHING] <= LOUD)
        nearest = silent[np.abs(silent - cut).argmin()] if len(silent) else max(cut, low)
        moved.append(min(int(nearest), len(loudness) - 1))
    return np.array(moved, dtype=np.int64)


def behind_spikes(loudness: Floats, last: Index) -> Floats:
    """[words]: how many frames each word goes on behind its spike, as far as loudness tells."""
    listened = round(LISTENED_SECONDS / FRAME_SECONDS)
    starts = np.minimum(last, len(loudness) - 1)
    heard = [loudness[start : start + listened].mean() for start in starts]
    span = BEHIND_SPIKE_SECONDS + BEFORE_SPIKE_SECONDS
    return (np.array(heard) * span - BEFORE_SPIKE_SECONDS) / FRAME_SECONDS


def seconds(frame: int) -> float:
    """The time of a feature frame, to the hundredth."""
    return round(float(frame) * FRAME_SECONDS, 2)
