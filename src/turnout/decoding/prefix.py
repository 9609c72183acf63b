"""CTC prefix scores (Watanabe et al. 2017, "Hybrid CTC/Attention Architecture", algorithm 2), for
many hypotheses of many utterances at once.

The recursions over frames are linear in the probabilities, so that each is a cumulative sum in
the log domain after division by the running product of emissions: no loop over frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
