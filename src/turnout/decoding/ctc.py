"""What CTC makes of a text (Watanabe et al. 2017, "Hybrid CTC/Attention Architecture", algorithm 2,
prefix scores for many hypotheses of many utterances at once), and its own beam search.

The recursions over frames are linear in the probabilities, so that each is a cumulative sum in
the log domain after division by the running product of emissions: no loop over frames.
"""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

# Keeps running sums of emissions finite; e^-80 is nothing.
FLOOR = -80.0

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Prefixes:
    """Hypotheses, each with its forward variables; column 0 is before the first frame."""

    rows: Index
    """[hypotheses]: which utterance each belongs to."""
    last: Index
    """[hypotheses]: the last token, -1 for the empty prefix."""
    without_blank: Array
    """[hypotheses, 1 + frames]: log-probability of the prefix by that frame, ending in a token."""
    with_blank: Array
    """[hypotheses, 1 + frames]: the same, ending in blank."""

    def select(self, chosen: Index) -> "Prefixes":
        """These hypotheses, in this order; they may repeat."""
        return Prefixes(
            self.rows[chosen],
            self.last[chosen],
            self.without_blank[chosen],
            self.with_blank[chosen],
        )


@dataclass(frozen=True)
class PrefixScorer:
    """The emissions of a batch of utterances."""

    log_probs: NDArray[np.float32]
    """[utterances, frames, vocabulary]"""
    frame_mask: NDArray[np.bool_]
    """[utterances, frames]: padding lies behind."""
    blank: int

    def emissions(self, rows: Index, tokens: Index) -> Array:
        """[hypotheses, (choices,) frames]: floored; what padded frames emit is never read."""
        spread = rows.reshape(rows.shape + (1,) * (tokens.ndim - rows.ndim))
        return np.maximum(self.log_probs[spread, :, tokens].astype(np.float64), FLOOR)

    def start(self, rows: Index) -> Prefixes:
        """The empty prefix of each of these utterances."""
        blank = self.emissions(rows, np.full_like(rows, self.blank))
        with_blank = np.concatenate([np.zeros((len(rows), 1)), blank.cumsum(axis=1)], axis=1)
        return Prefixes(rows, np.full_like(rows, -1), np.full_like(with_blank, -np.inf), with_blank)

    def scores(self, prefixes: Prefixes, tokens: Index) -> Array:
        """[hypotheses, choices]: log-probability that the text begins with prefix and token."""
        before = self.ready(prefixes, tokens)
        reached = before + self.emissions(prefixes.rows, tokens)
        mask = self.frame_mask[prefixes.rows][:, None]
        return np.logaddexp.reduce(np.where(mask, reached, -np.inf), axis=-1)

    def ready(self, prefixes: Prefixes, tokens: Index) -> Array:
        """[hypotheses, choices, frames]: log-probability that the prefix is complete before each
        frame, so that the token may come: behind itself only after a blank."""
        blank = prefixes.with_blank[:, :-1]
        either = np.logaddexp(blank, prefixes.without_blank[:, :-1])
        repeated = (tokens == prefixes.last[:, None])[..., None]
        return np.where(repeated, blank[:, None], either[:, None])

    def advance(self, prefixes: Prefixes, parents: Index, tokens: Index) -> Prefixes:
        """Hypothesis `parents[i]` followed by `tokens[i]`, for each i."""
        chosen = prefixes.select(parents)
        ready = self.ready(chosen, tokens[:, None])[:, 0]
        without_blank = recursion(ready, self.emissions(chosen.rows, tokens))
        blank = self.emissions(chosen.rows, np.full_like(tokens, self.blank))
        with_blank = recursion(without_blank[:, :-1], blank)
        return Prefixes(chosen.rows, tokens, without_blank, with_blank)

    def complete(self, prefixes: Prefixes) -> Array:
        """[hypotheses]: log-probability that the text is exactly the prefix."""
        place = np.arange(len(prefixes.rows)), self.frame_mask[prefixes.rows].sum(axis=1)
        return np.logaddexp(prefixes.without_blank[place], prefixes.with_blank[place])

    def score(self, rows: Index, texts: Sequence[Sequence[int]]) -> Array:
        """[texts]: CTC log-probability of each whole text, `rows` being its utterance."""
        result = np.empty(len(texts))
        lengths = np.array([len(text) for text in texts])
        prefixes, alive = self.start(rows), np.arange(len(texts))
        for position in range(max(lengths, default=0) + 1):
            done = lengths[alive] == position
            result[alive[done]] = self.complete(prefixes)[done]
            going = np.flatnonzero(~done)
            alive = alive[going]
            tokens = np.array([texts[i][position] for i in alive], dtype=np.int64)
            prefixes = self.advance(prefixes, going, tokens)
        return result


def recursion(entering: Array, emission: Array) -> Array:
    """[hypotheses, 1 + frames]: r[t] = (r[t - 1] + entering[t]) * emission[t], r[0] = 0, in
    logarithms: with R the running product of emissions, r / R is a cumulative sum."""
    product = emission.cumsum(axis=1)
    share = np.logaddexp.accumulate(entering - (product - emission), axis=1)
    return np.concatenate([np.full((len(entering), 1), -np.inf), share + product], axis=1)


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
