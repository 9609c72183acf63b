"""Where a text lies in its audio by what the decoder attends to: dynamic time warping over the
cross-attention of the heads that follow the speech, as openai/whisper does it.

Everything here sees one text: weights are [heads, tokens, hidden frames], of frames of sound.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from turnout.decoding.alignment import Spikes

MEDIAN_FRAMES = 7
"""Hidden frames whose median stands for the middle one."""

FEW_WORDS = 3
"""Tokens of words: one alone may attend elsewhere."""

Floats = NDArray[np.floating]
Index = NDArray[np.int64]


def attended_spans(weights: NDArray[np.float32], prompt: int, tokens: tuple[int, ...]) -> Spikes:
    """First and last hidden frame of each token of the text, from the attention of the prompt's
    `prompt` tokens, the text's and the end."""
    frames = weights.shape[2]
    normed = normalised(weights / np.maximum(weights.sum(axis=2, keepdims=True), 1e-30))
    together = medians(normed).mean(axis=0)
    # What attends while a token is written is the one before it: the prompt's last, then the text.
    begins = first_frames(warped(-together[prompt - 1 : prompt + len(tokens)].astype(np.float64)))
    begins, ends = begins[:-1], begins[1:] - 1
    return Spikes(tokens, np.minimum(begins, frames - 1), np.maximum(ends, begins))


def heard_frames(weights: NDArray[np.float32], prompt: int, of_words: Sequence[bool]) -> Index:
    """[words]: the hidden frame that the heads attend to most while each token of a word is
    written. `of_words` says which of the text's tokens are: marks are written while the heads wait
    for what comes next."""
    # What attends while a token is written is the one before it.
    return weights.mean(axis=0)[prompt - 1 + np.flatnonzero(of_words)].argmax(axis=1)


def last_heard(heard: Index) -> int | None:
    """The frame where a text's last words are heard, the latest of a few; None where there is no
    word."""
    return int(heard[-FEW_WORDS:].max()) if len(heard) else None


def longest_unheard(heard: Index) -> tuple[int, int] | None:
    """The frames between which the least is heard before a text's last words: the latest of a few
    words, or the beginning, and the earliest of a few that follow. None where there is no word."""
    if not len(heard):
        return None
    before = np.pad(heard, (FEW_WORDS, 0))[: len(heard) + FEW_WORDS - 1]
    behind = np.pad(heard, (0, FEW_WORDS - 1), mode="edge")
    begins = sliding_window_view(before, FEW_WORDS).max(axis=1)
    ends = sliding_window_view(behind, FEW_WORDS).min(axis=1)
    longest = int((ends - begins).argmax())
    return int(begins[longest]), int(ends[longest])


def normalised(weights: Floats) -> Floats:
    """Mean 0 and variance 1 over the tokens."""
    mean, spread = weights.mean(axis=1, keepdims=True), weights.std(axis=1, keepdims=True)
    return (weights - mean) / np.maximum(spread, 1e-10)


def medians(values: Floats) -> Floats:
    """The median of the frames around each, mirrored at the ends; as they are, if they are few."""
    reach = MEDIAN_FRAMES // 2
    if values.shape[-1] <= reach:
        return values
    padded = np.pad(values, ((0, 0), (0, 0), (reach, reach)), mode="reflect")
    around = sliding_window_view(padded, MEDIAN_FRAMES, axis=-1)
    return np.partition(around, reach, axis=-1)[..., reach]


def warped(cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """[1 + tokens, 1 + frames]: the least cost of a way to each token and frame from the first of
    both, a step further in either or both at a time.

    A row at a time: along a row, costs add up, so that the best way into it from above is a running
    minimum once these sums are taken off.
    """
    tokens, frames = cost.shape
    total = np.full((tokens + 1, frames + 1), np.inf)
    total[0, 0] = 0
    for row in range(tokens):
        along = np.concatenate([[0.0], np.cumsum(cost[row])])
        above = np.minimum(total[row, :-1], total[row, 1:])
        total[row + 1, 1:] = np.minimum.accumulate(above - along[:-1]) + along[1:]
    return total


def first_frames(total: NDArray[np.float64]) -> Index:
    """[tokens]: the frame where the best way reaches each token."""
    token, frame = total.shape[0] - 1, total.shape[1] - 1
    first = np.zeros(token, dtype=np.int64)
    while token > 0 and frame > 0:
        first[token - 1] = frame - 1
        both, above, before = (
            total[token - 1, frame - 1],
            total[token - 1, frame],
            total[token, frame - 1],
        )
        if both < above and both < before:
            token, frame = token - 1, frame - 1
        elif above < both and above < before:
            token -= 1
        else:
            frame -= 1
    return first
