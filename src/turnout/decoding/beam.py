"""Beam search: the decoder's probability of each row joined with CTC's prefix score, for all rows
and hypotheses in one decoder step (Watanabe et al. 2017, "Hybrid CTC/Attention Architecture",
equation 15). Translations have no CTC score: CTC hears what is spoken.

Every hypothesis is also tried as a whole text at every step, so that a row is done as soon as its
best whole text cannot be beaten by what its live hypotheses still promise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from turnout.decoding.backend import StepOutput
from turnout.decoding.ctc import Prefixes, PrefixScorer
from turnout.decoding.encoded_batch import DecoderRow, EncodedBatch, Limits, Loops, RowResult
from turnout.decoding.greedy import likeliest
from turnout.guidance import Task

CANDIDATES_PER_BEAM = 3
"""Next tokens of each hypothesis that are weighed, per hypothesis kept."""
FEWEST_CANDIDATES = 12
"""The same, at least."""
LENGTH_PENALTY = 0.6
"""Of rows without CTC, whose probability alone favours short texts (Wu et al. 2016, arXiv
1609.08144, equation 14)."""

NOTHING = RowResult((), -np.inf)

Floats = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Live:
    """The hypotheses that go on: those of one row side by side, equally many in each."""

    rows: Index
    """[hypotheses]: which of the searched rows each belongs to."""
    tokens: Index
    """[hypotheses, length]"""
    log_probs: Floats
    """[hypotheses, length]: of each token under the decoder."""
    joint: Floats
    """[hypotheses]: joined with CTC; the decoder's alone in translations."""
    loops: Loops
    prefixes: Prefixes | None
    """CTC's view of the hypotheses that have a CTC weight, in order; None without a CTC head."""

    @property
    def attention(self) -> Floats:
        """[hypotheses]: log-probability under the decoder."""
        return self.log_probs.sum(axis=1)


@dataclass(frozen=True)
class Choices:
    """What may follow each hypothesis."""

    tokens: Index
    """[hypotheses, choices]"""
    log_probs: Floats
    """[hypotheses, choices]: of that token under the decoder."""
    joint: Floats
    """[hypotheses, choices]: of the hypothesis with that token."""
    end_log_probs: Floats
    """[hypotheses]: of the end under the decoder."""
    end_joint: Floats
    """[hypotheses]: of the hypothesis as a whole text."""


@dataclass(frozen=True)
class Best:
    """The best whole text of one row so far."""

    score: float = -np.inf
    written: RowResult = NOTHING


def beam_search(
    batch: EncodedBatch, rows: Sequence[DecoderRow], limits: Limits, beam_size: int
) -> list[RowResult]:
    """The best text of each row under both heads joined."""
    weights = ctc_weights(batch, rows)
    entries = np.array([row.entry for row in rows])
    state = batch.backend.start(batch.encoded, entries, [row.guidance for row in rows])
    prompts, best = batch.prompts(rows), [Best() for _ in rows]
    new, counts = prompts.tokens, prompts.counts
    looping = np.full(len(rows), -np.inf)
    live = first_hypotheses(batch.scorer, entries, weights, limits)
    most = max(FEWEST_CANDIDATES, CANDIDATES_PER_BEAM * beam_size)
    most = min(most, int(np.count_nonzero(batch.text_mask)))
    while len(live.rows):
        # Only of rows that are still searched: one that is done keeps its text.
        going = np.flatnonzero(batch.wanted([rows[i] for i in live.rows]))
        if len(going) < len(live.rows):
            state, live = batch.backend.select(state, going), keep(live, going, weights)
            new, counts = new[going], counts[going]
            continue
        query = likeliest(batch, (counts - 1)[:, None], most, end=False)
        found, state = batch.backend.step(state, new, counts, query)
        choices = weigh(batch, live, found, weights)
        offer(best, live, choices.end_joint, choices.end_log_probs, weights)
        offer_unended(best, live, choices, limits, weights)
        parents, places = best_continuations(live.rows, choices.joint, beam_size)
        grown = grow(batch.scorer, live, choices, (parents, places), weights)
        note_loops(looping, grown, choices.joint[parents, places], weights)
        going = unbeaten(best, grown, limits, weights)
        state = batch.backend.select(state, parents[going])
        live = keep(grown, going, weights)
        new, counts = live.tokens[:, -1:], np.ones(len(live.rows), dtype=np.int64)
    return [
        replace(found.written, cut=True) if loop > found.score else found.written
        for found, loop in zip(best, looping, strict=True)
    ]


def ctc_weights(batch: EncodedBatch, rows: Sequence[DecoderRow]) -> Floats:
    """[rows]: CTC's share of the score."""
    if batch.scorer is None:
        return np.zeros(len(rows))
    weights = [batch.utterances[row.utterance].options.ctc_weight for row in rows]
    return np.array(weights) * [row.guidance.task is Task.TRANSCRIBE for row in rows]


def first_hypotheses(
    scorer: PrefixScorer | None, entries: Index, weights: Floats, limits: Limits
) -> Live:
    """The empty text of every row."""
    tokens = np.zeros((len(entries), 0), dtype=np.int64)
    loops = Loops.start(limits.repeats)
    prefixes = scorer.start(entries[weights > 0]) if scorer is not None else None
    zeros = np.zeros(len(entries))
    return Live(np.arange(len(entries)), tokens, np.zeros(tokens.shape), zeros, loops, prefixes)


def weigh(batch: EncodedBatch, live: Live, found: StepOutput, weights: Floats) -> Choices:
    """The decoder's likeliest tokens after each hypothesis and its end, as both heads see them."""
    # By id: ties must not hang on how a backend orders equals.
    order = np.argsort(found.tokens[:, 0], axis=1)
    tokens = np.take_along_axis(found.tokens[:, 0], order, axis=1)
    log_probs = np.take_along_axis(found.log_probs[:, 0], order, axis=1).astype(np.float64)
    end_log_probs = found.scored[:, 0].astype(np.float64)
    joint, end_joint = live.attention[:, None] + log_probs, live.attention + end_log_probs
    if batch.scorer is not None and live.prefixes is not None and len(live.prefixes.rows):
        heard = np.flatnonzero(weights[live.rows])
        weight = weights[live.rows][heard]
        ctc = batch.scorer.scores(live.prefixes, tokens[heard])
        joint[heard] = mix(joint[heard], ctc, weight[:, None])
        complete = batch.scorer.complete(live.prefixes)
        end_joint[heard] = mix(end_joint[heard], complete, weight)
    impossible = np.isneginf(live.joint)
    joint[impossible], end_joint[impossible] = -np.inf, -np.inf
    return Choices(tokens, log_probs, joint, end_log_probs, end_joint)


def mix(attention: Floats, ctc: Floats, weight: Floats) -> Floats:
    """The score of both heads."""
    return (1 - weight) * attention + weight * ctc


def best_continuations(rows: Index, joint: Floats, beam_size: int) -> tuple[Index, Index]:
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
    added_log_probs = choices.log_probs[parents, places]
    log_probs = np.concatenate([live.log_probs[parents], added_log_probs[:, None]], axis=1)
    return Live(live.rows[parents], tokens, log_probs, joint, loops, prefixes)


def offer_unended(
    best: list[Best], live: Live, choices: Choices, limits: Limits, weights: Floats
) -> None:
    """Offer the hypotheses of rows at their limit as they stand, but for those whose likeliest next
    token is the end: as a greedy row is stopped."""
    full = limits.tokens[live.rows] <= live.tokens.shape[1]
    stopped = full & (choices.joint.max(axis=1) > choices.end_joint)
    if stopped.any():
        joint = np.where(stopped, live.joint, -np.inf)
        offer(best, live, joint, np.zeros(len(joint)), weights, ended=False)


def note_loops(looping: Floats, grown: Live, joint: Floats, weights: Floats) -> None:
    """Raise the score in `looping` [rows] to that of the best hypothesis that was stopped because
    it repeats itself; `joint` is what it would have had."""
    lengths = np.full(len(weights), grown.tokens.shape[1])
    stopped = np.isneginf(grown.joint) & np.isfinite(joint)
    ranked = joint / penalty(lengths, weights)[grown.rows]
    np.maximum.at(looping, grown.rows[stopped], ranked[stopped])


def unbeaten(best: list[Best], grown: Live, limits: Limits, weights: Floats) -> Index:
    """The hypotheses of the rows that go on: none of a row beyond its limit."""
    full = limits.tokens[grown.rows] < grown.tokens.shape[1]
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
        live.log_probs[chosen],
        live.joint[chosen],
        live.loops.select(chosen),
        prefixes,
    )


def offer(
    best: list[Best],
    live: Live,
    joint: Floats,
    end: Floats,
    weights: Floats,
    ended: bool = True,
) -> None:
    """Offer each hypothesis as a whole text to its row; `joint` is its score, `end` the decoder's
    log-probability of what ends it, where it is not stopped."""
    lengths = np.full(len(weights), live.tokens.shape[1])
    ranked = joint / penalty(lengths, weights)[live.rows]
    totals = live.attention + end
    for i, row in enumerate(live.rows.tolist()):
        if ranked[i] > best[row].score:
            tokens, log_probs = live.tokens[i].tolist(), live.log_probs[i].tolist()
            total = float(totals[i])
            text = RowResult(tuple(tokens), total, tuple(log_probs), ended, cut=not ended)
            best[row] = Best(float(ranked[i]), text)


def penalty(lengths: Index, weights: Floats) -> Floats:
    """[rows]: what a score is divided by at this length; 1 where CTC minds the length."""
    return np.where(weights > 0, 1.0, ((5 + lengths) / 6) ** LENGTH_PENALTY)
