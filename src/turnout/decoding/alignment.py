"""Where a text lies in its audio by CTC (Graves et al. 2006): spikes and the most probable path.

Everything here sees one utterance without padding: `log_probs` is [hidden frames, vocabulary].
"""

from dataclasses import dataclass
from itertools import pairwise
from math import inf

import numpy as np
from numpy.typing import NDArray

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
    # Two labels more in front, which no path has been in: each label has two before it.
    scores = np.full((frames, count + 2), -inf)
    scores[0, 2:4] = emissions[0, :2]
    skipping = np.where(may_skip, 0.0, -inf)
    best = np.empty(count)
    for score, score_after, emission in zip(scores, scores[1:], emissions[1:], strict=False):
        np.add(score[:-2], skipping, out=best)
        np.maximum(best, score[1:-1], out=best)
        np.maximum(best, score[2:], out=best)
        np.add(best, emission, out=score_after[2:])
    stayed, one, two = scores[:-1, 2:], scores[:-1, 1:-1], scores[:-1, :-2] + skipping
    moves = np.zeros((frames + 1, count), dtype=np.int8)
    moves[1:-1] = one > stayed
    moves[1:-1][two > np.maximum(stayed, one)] = 2
    last, before = scores[-1, :1:-1][:2] if count > 1 else (0.0, -inf)
    moves[frames, -1] = last < before
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
