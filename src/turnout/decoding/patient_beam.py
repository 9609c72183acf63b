"""Beam search for Whisper's models, as openai/whisper and CTranslate2 do it, with patience 1 (Kasai
et al. 2022, arXiv 2204.05424).

The end competes with the other tokens for a place in the beam, and a row is done with as many whole
texts as the beam is wide; the best is the one with the highest mean log-probability.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from turnout.decoding.backend import StepOutput
from turnout.decoding.encoded_batch import (
    NOTHING_SAID,
    DecoderRow,
    EncodedBatch,
    Limits,
    Loops,
    RowResult,
)
from turnout.decoding.greedy import likeliest, no_speech_of, written

Floats = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Live:
    """The hypotheses that go on: those of one row side by side, the likeliest first."""

    rows: Index
    """[hypotheses]: which of the searched rows each belongs to."""
    tokens: Index
    """[hypotheses, length]"""
    log_probs: Floats
    """[hypotheses, length]: of each token."""
    loops: Loops

    def select(self, chosen: Index) -> "Live":
        """These hypotheses."""
        return Live(
            self.rows[chosen],
            self.tokens[chosen],
            self.log_probs[chosen],
            self.loops.select(chosen),
        )


def patient_beam(
    batch: EncodedBatch, rows: Sequence[DecoderRow], limits: Limits, beam_size: int
) -> list[RowResult]:
    """The text of each row."""
    entries = np.array([row.entry for row in rows])
    state = batch.backend.start(batch.encoded, entries, [row.guidance for row in rows])
    prompts = batch.prompts(rows)
    new, counts = prompts.tokens, prompts.counts
    no_speech: dict[int, float | None] = {}
    whole: list[list[RowResult]] = [[] for _ in rows]
    nothing = np.zeros((len(rows), 0))
    loops = Loops.start(limits.repeats, limits.fewest)
    live = Live(np.arange(len(rows)), nothing.astype(np.int64), nothing, loops)
    while len(live.rows):
        going = np.flatnonzero(batch.wanted([rows[i] for i in live.rows]))
        if len(going) < len(live.rows):
            state, live = batch.backend.select(state, going), live.select(going)
            new, counts = new[going], counts[going]
            continue
        first = live.tokens.shape[1] == 0
        starts = prompts.starts[live.rows] if first else None
        query = likeliest(batch, (counts - 1)[:, None], beam_size + 1, end=True, starts=starts)
        found, state = batch.backend.step(state, new, counts, query)
        if first:
            no_speech = dict(zip(live.rows.tolist(), no_speech_of(batch, found), strict=True))
        live, parents = grown(live, found, whole, beam_size, batch.tokenizer.end)
        live, going = unfinished(live, whole, limits, beam_size)
        state = batch.backend.select(state, parents[going])
        new, counts = live.tokens[:, -1:], np.ones(len(live.rows), dtype=np.int64)
    return [
        replace(best_of(texts), no_speech_prob=no_speech.get(row))
        for row, texts in enumerate(whole)
    ]


def grown(
    live: Live, found: StepOutput, whole: list[list[RowResult]], beam_size: int, end: int
) -> tuple[Live, Index]:
    """The best continuations of each row, equally many in each, and what they continue; the texts
    that end before them join `whole`, and so do those that loop."""
    totals = live.log_probs.sum(axis=1)[:, None] + found.log_probs[:, -1]
    parents, places = [], []
    for row in dict.fromkeys(live.rows.tolist()):
        block = np.flatnonzero(live.rows == row)
        order = np.argsort(-totals[block], axis=None, kind="stable")
        going = 0
        for i, place in zip(*np.unravel_index(order, totals[block].shape), strict=True):
            parent, ended = block[i], found.tokens[block[i], -1, place] == end
            if not ended:
                parents.append(parent)
                places.append(place)
                going += 1
            elif len(whole[row]) < beam_size and np.isfinite(totals[parent, place]):
                tokens, log_probs = extended(live, found, parent, place)
                whole[row].append(written(tokens[0], log_probs[0], end))
            if going == beam_size:
                break
    chosen = np.array(parents, dtype=np.int64)
    tokens, log_probs = extended(live, found, chosen, np.array(places, dtype=np.int64))
    loops, surplus = live.loops.select(chosen).extend(tokens)
    for i in np.flatnonzero((surplus > 0) & np.isfinite(log_probs.sum(axis=1))):
        length = tokens.shape[1] - int(surplus[i])
        offer(whole[live.rows[chosen[i]]], tokens[i, :length], log_probs[i, :length], beam_size)
        log_probs[i, -1] = -np.inf
    return Live(live.rows[chosen], tokens, log_probs, loops), chosen


def extended(live: Live, found: StepOutput, parents: Index, places: Index) -> tuple[Index, Floats]:
    """Tokens and log-probabilities of hypotheses with one of the tokens found behind each."""
    parents, places = np.atleast_1d(parents), np.atleast_1d(places)
    tokens, log_probs = found.tokens[parents, -1, places], found.log_probs[parents, -1, places]
    return (
        np.concatenate([live.tokens[parents], tokens[:, None]], axis=1),
        np.concatenate([live.log_probs[parents], log_probs[:, None]], axis=1),
    )


def unfinished(
    live: Live, whole: list[list[RowResult]], limits: Limits, beam_size: int
) -> tuple[Live, Index]:
    """The hypotheses of rows that go on, and their places; those of a row beyond its limit join
    `whole` as they stand there."""
    dead = np.isneginf(live.log_probs.sum(axis=1))
    most = limits.tokens[live.rows]
    full = live.tokens.shape[1] > most
    for i in np.flatnonzero(full & ~dead):
        text = live.tokens[i, : most[i]], live.log_probs[i, : most[i]]
        offer(whole[live.rows[i]], *text, beam_size)
    hopeful = set(live.rows[~dead & ~full].tolist())
    done = [len(whole[row]) >= beam_size or row not in hopeful for row in live.rows.tolist()]
    going = np.flatnonzero(~np.array(done))
    return live.select(going), going


def offer(texts: list[RowResult], tokens: Index, log_probs: Floats, beam_size: int) -> None:
    """Add a text that was stopped, where there is room for it."""
    if len(texts) < beam_size:
        texts.append(written(tokens, log_probs, end=-1))


def best_of(texts: Sequence[RowResult]) -> RowResult:
    """The one with the highest mean log-probability of its tokens; nothing where there is none."""
    ranked = max(texts, key=lambda text: text.log_prob / max(len(text.tokens), 1), default=None)
    return NOTHING_SAID if ranked is None else ranked
