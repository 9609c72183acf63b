"""Beam search: the decoder's probability of each row joined with CTC's prefix score, for all rows
and hypotheses in one decoder step (Watanabe et al. 2017, "Hybrid CTC/Attention Architecture",
equation 15). Translations have no CTC score: CTC hears what is spoken.

Every hypothesis is also tried as a whole text at every step, so that a row is done as soon as its
best whole text cannot be beaten by what its live hypotheses still promise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from turnout.decoding.attention import Limits, Loops, Written
from turnout.decoding.batch import Batch
from turnout.decoding.plan import Row
from turnout.decoding.prefix import Prefixes, PrefixScorer
from turnout.guidance import Task

CANDIDATES_PER_BEAM = 3
"""Next tokens of each hypothesis that are weighed, per hypothesis kept."""
FEWEST_CANDIDATES = 12
"""The same, at least."""
LENGTH_PENALTY = 0.6
"""Of rows without CTC, whose probability alone favours short texts (Wu et al. 2016, arXiv
1609.08144, equation 14)."""

Floats = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Live:
    """The hypotheses that go on: those of one row side by side, equally many in each."""

    rows: Index
    """[hypotheses]: which of the searched rows each belongs to."""
    tokens: Index
    """[hypotheses, length]"""
    attention: Floats
    """[hypotheses]: log-probability under the decoder."""
    joint: Floats
    """[hypotheses]: joined with CTC; the decoder's alone in translations."""
    loops: Loops
    prefixes: Prefixes | None
    """CTC's view of the hypotheses that have a CTC weight, in order; None without a CTC head."""


@dataclass(frozen=True)
class Choices:
    """What may follow each hypothesis."""

    tokens: Index
    """[hypotheses, choices]"""
    attention: Floats
    """[hypotheses, choices]: of the hypothesis with that token."""
    joint: Floats
    """[hypotheses, choices]"""
    end_attention: Floats
    """[hypotheses]: of the hypothesis as a whole text."""
    end_joint: Floats
    """[hypotheses]"""


@dataclass
class Best:
    """The best whole text of one row so far."""

    score: float = -np.inf
    written: Written = field(default_factory=lambda: Written((), -np.inf))

    def offer(self, score: float, tokens: Index, log_prob: float) -> None:
        """Keep this text if it is better."""
        if score > self.score:
            self.score = score
            self.written = Written(tuple(tokens.tolist()), log_prob)


def beam_search(batch: Batch, rows: Sequence[Row], limits: Limits) -> list[Written]:
    """The best text of each row under both heads joined."""
    weights = ctc_weights(batch, rows)
    entries = np.array([row.entry for row in rows])
    state = batch.backend.start(batch.encoded, entries, [row.guidance for row in rows])
    new, best = batch.prompts(rows), [Best() for _ in rows]
    live = first_hypotheses(batch.scorer, entries, weights, limits)
    while len(live.rows):
        batch.check()
        counts = np.full(len(new), new.shape[1])
        log_probs, state = batch.backend.step(state, new, counts)
        choices = weigh(batch, live, log_probs[:, -1], weights)
        offer(best, live.rows, live.tokens, (choices.end_joint, choices.end_attention), weights)
        parents, places = select(live.rows, choices.joint, batch.options.beam_size)
        grown = grow(batch.scorer, live, choices, (parents, places), weights)
        going = unbeaten(best, grown, limits, weights)
        state = batch.backend.select(state, parents[going])
        live = keep(grown, going, weights)
        new = live.tokens[:, -1:]
    return [found.written for found in best]


def ctc_weights(batch: Batch, rows: Sequence[Row]) -> Floats:
    """[rows]: CTC's share of the score."""
    weight = batch.options.ctc_weight if batch.scorer is not None else 0.0
    return np.array([weight * (row.guidance.task is Task.TRANSCRIBE) for row in rows])


def first_hypotheses(
    scorer: PrefixScorer | None, entries: Index, weights: Floats, limits: Limits
) -> Live:
    """The empty text of every row."""
    zeros = np.zeros(len(entries))
    tokens = np.zeros((len(entries), 0), dtype=np.int64)
    loops = Loops.start(limits.repeats)
    prefixes = scorer.start(entries[weights > 0]) if scorer is not None else None
    return Live(np.arange(len(entries)), tokens, zeros, zeros, loops, prefixes)


def weigh(batch: Batch, live: Live, log_probs: NDArray[np.float32], weights: Floats) -> Choices:
    """The decoder's likeliest tokens after each hypothesis and its end, as both heads see them."""
    text = np.flatnonzero(batch.text)
    most = max(FEWEST_CANDIDATES, CANDIDATES_PER_BEAM * batch.options.beam_size)
    most = min(most, len(text))
    order = np.argpartition(-log_probs[:, text], most - 1, axis=1)[:, :most]
    tokens = np.sort(text[order], axis=1)  # so that ties do not hang on the partition
    attention = live.attention[:, None] + np.take_along_axis(log_probs, tokens, axis=1)
    end_attention = live.attention + log_probs[:, batch.tokenizer.end]
    joint, end_joint = attention.copy(), end_attention.copy()
    if batch.scorer is not None and live.prefixes is not None and len(live.prefixes.rows):
        heard = np.flatnonzero(weights[live.rows])
        weight = weights[live.rows][heard]
        ctc = batch.scorer.scores(live.prefixes, tokens[heard])
        joint[heard] = mix(attention[heard], ctc, weight[:, None])
        complete = batch.scorer.complete(live.prefixes)
        end_joint[heard] = mix(end_attention[heard], complete, weight)
    impossible = np.isneginf(live.joint)
    joint[impossible], end_joint[impossible] = -np.inf, -np.inf
    return Choices(tokens, attention, joint, end_attention, end_joint)


def mix(attention: Floats, ctc: Floats, weight: Floats) -> Floats:
    """The score of both heads."""
    return (1 - weight) * attention + weight * ctc


def select(rows: Index, joint: Floats, beam_size: int) -> tuple[Index, Index]:
    """The best `beam_size` (hypothesis, choice) pairs of each row, best first."""
    num_rows = len(np.unique(rows))
    per_row = joint.reshape(num_rows, -1)
    chosen = np.argsort(-per_row, axis=1, kind="stable")[:, :beam_size]
    hypotheses = chosen // joint.shape[1] + (len(rows) // num_rows) * np.arange(num_rows)[:, None]
    return hypotheses.ravel(), (chosen % joint.shape[1]).ravel()


def grow(
    scorer: PrefixScorer | None,
    live: Live,
    choices: Choices,
    chosen: tuple[Index, Index],
    weights: Floats,
) -> Live:
    """The chosen pairs as hypotheses; one that repeats itself too often becomes impossible."""
    parents, places = chosen
    added = choices.tokens[parents, places]
    tokens = np.concatenate([live.tokens[parents], added[:, None]], axis=1)
    loops, surplus = live.loops.select(parents).extend(tokens)
    joint = np.where(surplus > 0, -np.inf, choices.joint[parents, places])
    prefixes = live.prefixes
    if scorer is not None and prefixes is not None:
        weighted = weights[live.rows] > 0
        position = np.cumsum(weighted) - 1
        heard = weighted[parents]
        prefixes = scorer.advance(prefixes, position[parents[heard]], added[heard])
    attention = choices.attention[parents, places]
    return Live(live.rows[parents], tokens, attention, joint, loops, prefixes)


def unbeaten(best: list[Best], grown: Live, limits: Limits, weights: Floats) -> Index:
    """The hypotheses of the rows that go on. A row at its limit takes its best hypothesis as it
    stands."""
    length = grown.tokens.shape[1]
    full = limits.tokens[grown.rows] <= length
    at_limit = np.flatnonzero(full & np.isfinite(grown.joint))
    scores = (grown.joint[at_limit], grown.attention[at_limit])
    offer(best, grown.rows[at_limit], grown.tokens[at_limit], scores, weights)
    # The least that lies ahead: no loss at all, and the longest text.
    promise = grown.joint / penalty(limits.tokens, weights)[grown.rows]
    beaten = promise <= np.array([found.score for found in best])[grown.rows]
    hopeful = np.zeros(len(best), dtype=bool)
    hopeful[grown.rows[~beaten & ~full]] = True
    return np.flatnonzero(hopeful[grown.rows])


def keep(live: Live, chosen: Index, weights: Floats) -> Live:
    """These hypotheses."""
    weighted = weights[live.rows] > 0
    position = np.cumsum(weighted) - 1
    prefixes = live.prefixes
    if prefixes is not None:
        prefixes = prefixes.select(position[chosen[weighted[chosen]]])
    return Live(
        live.rows[chosen],
        live.tokens[chosen],
        live.attention[chosen],
        live.joint[chosen],
        live.loops.select(chosen),
        prefixes,
    )


def offer(
    best: list[Best],
    rows: Index,
    tokens: Index,
    scores: tuple[Floats, Floats],
    weights: Floats,
) -> None:
    """Offer each text, with its (joint, decoder's) log-probability, to its row."""
    joint, attention = scores
    lengths = np.full(len(weights), tokens.shape[1])
    ranked = joint / penalty(lengths, weights)[rows]
    for i, row in enumerate(rows.tolist()):
        best[row].offer(float(ranked[i]), tokens[i], float(attention[i]))


def penalty(lengths: Index, weights: Floats) -> Floats:
    """[rows]: what a score is divided by at this length; 1 where CTC minds the length."""
    return np.where(weights > 0, 1.0, ((5 + lengths) / 6) ** LENGTH_PENALTY)
