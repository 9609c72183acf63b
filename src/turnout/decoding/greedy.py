"""The decoder's own path: the spoken language, greedy or sampled rows, and the score of a given
text.

Rows that end leave the batch, so that a long row does not make the short ones wait in vain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from turnout.decoding.backend import StepOutput, StepQuery
from turnout.decoding.encoded_batch import (
    DecoderRow,
    EncodedBatch,
    Limits,
    Loops,
    RowResult,
    left_aligned,
)
from turnout.guidance import Guidance

Index = NDArray[np.int64]
WEIGHED = 50
"""Ids among which one is drawn: what is rarer is hardly ever meant (Fan et al. 2018, arXiv
1805.04833, top-k sampling)."""


@dataclass(frozen=True)
class Sampling:
    """How the next id of each row is drawn: independently of what other rows there are."""

    temperatures: NDArray[np.float64]
    """[rows]: above 0."""
    generators: Sequence[np.random.Generator]
    """One per row."""

    def choose(self, log_probs: NDArray[np.float32], rows: Index) -> Index:
        """Which of the likeliest ids [rows, ids] is taken in each of these rows: drawn from their
        softmax at the row's temperature (Gumbel's maximum)."""
        noise = [self.generators[row].gumbel(size=log_probs.shape[1]) for row in rows]
        return (log_probs / self.temperatures[rows, None] + np.array(noise)).argmax(axis=1)


def find_languages(
    batch: EncodedBatch, entries: Index, guidance: Sequence[Guidance]
) -> list[tuple[str, float]]:
    """The spoken language of these entries of the batch, and its probability among the model's
    languages: the decoder's first token."""
    tokenizer = batch.tokenizer
    languages = {tokenizer.language(code): code for code in batch.config.vocabulary.languages}
    allowed = np.zeros((len(entries), batch.config.vocabulary.size), dtype=bool)
    allowed[:, list(languages)] = True
    nowhere = np.zeros((len(entries), 1), dtype=np.int64)
    query = StepQuery(positions=nowhere, allowed=allowed, best=len(languages), scored=nowhere)
    state = batch.backend.start(batch.encoded, entries, guidance)
    starts = np.full((len(entries), 1), tokenizer.start)
    found, _ = batch.backend.step(state, starts, np.ones(len(entries), dtype=np.int64), query)
    log_probs = found.log_probs[:, 0].astype(np.float64)
    shares = np.exp(log_probs[:, 0] - np.logaddexp.reduce(log_probs, axis=1))
    best = found.tokens[:, 0, 0].tolist()
    return [(languages[i], float(p)) for i, p in zip(best, shares, strict=True)]


def greedy(
    batch: EncodedBatch,
    rows: Sequence[DecoderRow],
    limits: Limits,
    sampling: Sampling | None = None,
) -> list[RowResult]:
    """Each row's most probable next token, or one that is drawn, until the end, a limit, or a
    loop."""
    end, best = batch.tokenizer.end, 1 if sampling is None else WEIGHED
    entries = np.array([row.entry for row in rows])
    state = batch.backend.start(batch.encoded, entries, [row.guidance for row in rows])
    # `alive` are rows of all, `going` those of the living ones that do not end at this step.
    alive, going = np.arange(len(rows)), np.arange(len(rows))
    prompts = batch.prompts(rows)
    new, counts, query = prompts.tokens, prompts.counts, None
    no_speech: list[float | None] = [None] * len(rows)
    tokens = np.zeros((len(rows), int(limits.tokens.max()) + 1), dtype=np.int64)
    log_probs = np.zeros(tokens.shape)
    kept = np.zeros(len(rows), dtype=np.int64)
    loops = Loops.start(limits.repeats, limits.fewest)
    for length in range(tokens.shape[1]):
        going = going[batch.wanted([rows[i] for i in alive[going]])]
        if len(going) == 0:
            break
        if len(going) < len(alive):
            state = batch.backend.select(state, going)
            alive, loops, new, counts = alive[going], loops.select(going), new[going], counts[going]
        starts = prompts.starts[alive] if length == 0 else None
        query = likeliest(batch, counts, best, end=True, starts=starts)
        found, state = batch.backend.step(state, new, counts, query)
        for row, probability in zip(alive, no_speech_of(found), strict=True):
            no_speech[row] = probability if length == 0 else no_speech[row]
        choice, log_probs[alive, length] = chosen(found, sampling, alive)
        tokens[alive, length] = choice
        loops, surplus = loops.extend(tokens[alive, : length + 1])
        ended, full = choice == end, limits.tokens[alive] <= length
        kept[alive] = np.minimum(
            length + 1 - surplus, np.where(ended, length + 1, limits.tokens[alive])
        )
        going = np.flatnonzero(~(ended | full | (surplus > 0)))
        new, counts = choice[:, None], np.ones(len(alive), dtype=np.int64)
    return [
        written(tokens[row, : kept[row]], log_probs[row, : kept[row]], end, no_speech[row])
        for row in range(len(rows))
    ]


def chosen(
    found: StepOutput, sampling: Sampling | None, rows: Index
) -> tuple[Index, NDArray[np.float32]]:
    """The next id of each of these rows, and its log-probability."""
    tokens, log_probs = found.tokens[:, -1], found.log_probs[:, -1]
    if sampling is None:
        return tokens[:, 0], log_probs[:, 0]
    place = np.arange(len(rows)), sampling.choose(log_probs, rows)
    return tokens[place], log_probs[place]


def likeliest(
    batch: EncodedBatch, counts: Index, best: int, *, end: bool, starts: Index | None = None
) -> StepQuery:
    """Asks for the likeliest ids of text, the end among them where `end`, behind the last of each
    row's new tokens, and for the log-probability of the end there.

    `starts` are the places of the token `start` at a row's first step, and None at the others: its
    no-speech probability is asked for there, where there is such an id.
    """
    allowed, ids = batch.writable_mask.copy(), batch.tokenizer
    allowed[ids.end] = end
    if starts is not None:
        allowed[list(batch.config.decoder.suppressed_first)] = False
    positions, scored = (counts - 1)[:, None], np.full((len(counts), 1), ids.end)
    if starts is not None and ids.no_speech is not None:
        positions = np.concatenate([starts[:, None], positions], axis=1)
        scored = np.concatenate([np.full_like(scored, ids.no_speech), scored], axis=1)
    return StepQuery(
        positions=positions,
        allowed=np.broadcast_to(allowed, (len(counts), len(allowed))),
        best=min(best, int(np.count_nonzero(allowed))),
        scored=scored,
    )


def no_speech_of(found: StepOutput) -> list[float | None]:
    """The no-speech probability of each row, where it was asked for."""
    asked = found.scored.shape[1] == 2
    return [exp(scores[0]) if asked else None for scores in found.scored.tolist()]


def written(
    tokens: Index, log_probs: NDArray[np.float64], end: int, no_speech: float | None = None
) -> RowResult:
    """The row without its end, whose probability counts; without an end, it was stopped."""
    ended = len(tokens) > 0 and bool(tokens[-1] == end)
    length = len(tokens) - ended
    text, parts = tokens[:length].tolist(), log_probs[:length].tolist()
    return RowResult(
        tuple(text),
        float(log_probs.sum()),
        tuple(parts),
        ended,
        cut=not ended,
        no_speech_prob=no_speech,
    )


def score_texts(
    batch: EncodedBatch, rows: Sequence[DecoderRow], texts: Sequence[Sequence[int]]
) -> list[RowResult]:
    """Each row's text with the decoder's log-probabilities of it and of its end, in one pass."""
    tokenizer, prompts = batch.tokenizer, batch.prompts(rows)
    lengths = np.array([len(text) for text in texts])
    whole = [[*text, tokenizer.end] for text in texts]
    scored = left_aligned(whole, tokenizer.blank)
    tokens = [[*a, *b] for a, b in zip(prompts.lists(), texts, strict=True)]
    # The token before each: the prompt's last, then the text's own.
    last = (prompts.counts - 1)[:, None]
    query = StepQuery(
        positions=np.minimum(last + np.arange(scored.shape[1]), last + lengths[:, None]),
        allowed=np.zeros((len(rows), batch.config.vocabulary.size), dtype=bool),
        best=0,
        scored=scored,
    )
    entries = np.array([row.entry for row in rows])
    state = batch.backend.start(batch.encoded, entries, [row.guidance for row in rows])
    new = left_aligned(tokens, tokenizer.blank)
    found, _ = batch.backend.step(state, new, prompts.counts + lengths, query)
    return [
        written(np.array(text), log_probs[: len(text)].astype(np.float64), tokenizer.end)
        for text, log_probs in zip(whole, found.scored, strict=True)
    ]
