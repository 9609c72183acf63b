"""CTC (Graves et al. 2006) over log-probabilities: best path, alignment, prefix beam search.

Everything here sees one utterance without padding: `log_probs` is [frames, vocabulary].
"""

import heapq
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from math import inf

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BestPath:
    """The tokens of the most probable path, and where they lie."""

    tokens: tuple[int, ...]
    first: NDArray[np.int64]
    """[tokens]: first hidden frame of each."""
    last: NDArray[np.int64]
    """[tokens]: last hidden frame of each."""
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
    return BestPath(
        tuple(path[begins][kept].tolist()),
        begins[kept],
        ends[kept],
        float(log_probs[:, blank].sum(dtype=np.float64)),
    )


def align(
    log_probs: NDArray[np.float32], tokens: tuple[int, ...], blank: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last hidden frame of each token on the best path that spells exactly `tokens`.

    Viterbi over the tokens with blanks between them. Where there are too few frames, the tokens
    are spread evenly.
    """
    frames, count = len(log_probs), len(tokens)
    repeats = sum(a == b for a, b in pairwise(tokens))
    if count + repeats > frames:
        spread = np.arange(count) * frames // max(count, 1)
        return spread, spread
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
    return first, last


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


def prefix_beam(
    log_probs: NDArray[np.float32], allowed: NDArray[np.bool_], blank: int, beam_size: int
) -> tuple[tuple[int, ...], float]:
    """The most probable tokens and their log-probability, all alignments summed (Hannun et al.
    2014, arXiv 1408.2873, algorithm 1, without a language model)."""
    ids = np.setdiff1d(np.flatnonzero(allowed), [blank])
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -inf)}
    for frame in log_probs.astype(np.float64):
        width = min(2 * beam_size, len(ids))
        likely = ids[np.argpartition(-frame[ids], width - 1)[:width]]
        candidates = [(int(token), float(frame[token])) for token in likely]
        beams = extend_beams(beams, candidates, float(frame[blank]), beam_size)
    tokens, (with_blank, without) = max(beams.items(), key=lambda item: np.logaddexp(*item[1]))
    return tokens, float(np.logaddexp(with_blank, without))


def extend_beams(
    beams: dict[tuple[int, ...], tuple[float, float]],
    candidates: list[tuple[int, float]],
    blank: float,
    beam_size: int,
) -> dict[tuple[int, ...], tuple[float, float]]:
    """One frame further; each prefix has the log-probabilities of ending in blank and not."""
    grown: dict[tuple[int, ...], tuple[float, float]] = defaultdict(lambda: (-inf, -inf))
    for prefix, (with_blank, without) in beams.items():
        total = float(np.logaddexp(with_blank, without))
        grown[prefix] = (float(np.logaddexp(grown[prefix][0], total + blank)), grown[prefix][1])
        for token, log_prob in candidates:
            repeated = bool(prefix) and prefix[-1] == token
            if repeated:
                stay = grown[prefix]
                grown[prefix] = (stay[0], float(np.logaddexp(stay[1], without + log_prob)))
            longer = (*prefix, token)
            gained = (with_blank if repeated else total) + log_prob
            grown[longer] = (grown[longer][0], float(np.logaddexp(grown[longer][1], gained)))
    best = heapq.nlargest(beam_size, grown.items(), key=lambda item: np.logaddexp(*item[1]))
    return dict(best)
