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

LAST_WORDS = 3
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


def last_heard(weights: NDArray[np.float32], prompt: int, is_word: Sequence[bool]) -> int | None:
    """The hidden frame that the heads attend to most while the last words of a text are written,
    the latest of a few; None where it has no word. `is_word` is of its tokens: marks are written
    while the heads wait for what comes next."""
    words = [place for place, one in enumerate(is_word) if one][-LAST_WORDS:]
    if not words:
        return None
    # What attends while a token is written is the one before it.
    together = weights.mean(axis=0)[[prompt - 1 + place for place in words]]
    return int(together.argmax(axis=1).max())


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
