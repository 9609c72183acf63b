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
from turnout.decoding.drafts import Draft, drafts_of
from turnout.decoding.encoded_batch import (
    LONGEST_LOOP,
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


class Texts:
    """What is being written in each row."""

    def __init__(self, limits: Limits, end: int) -> None:
        self.limits, self.end = limits, end
        rows, most = len(limits.tokens), int(limits.tokens.max()) + 1
        # What stands before a text equals no token.
        self._tokens = np.full((rows, LONGEST_LOOP + most), -1, dtype=np.int64)
        self._log_probs = np.zeros((rows, most))
        self._runs = Loops.start(limits.repeats).runs
        self.lengths: Index = np.zeros(rows, dtype=np.int64)
        """[rows]: tokens of each, the end among them."""

    def add(self, rows: Index, tokens: Index, log_probs: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Another token of each of these rows; which of them go on, without an end, a limit, or a
        loop, which is cut off."""
        places, limits = self.lengths[rows], self.limits
        self._tokens[rows, LONGEST_LOOP + places] = tokens
        self._log_probs[rows, places] = log_probs
        newest = self._tokens[rows[:, None], places[:, None] + np.arange(LONGEST_LOOP + 1)]
        loops = Loops(limits.repeats[rows], self._runs[rows], limits.fewest)
        loops, surplus = loops.extend(newest)
        self._runs[rows] = loops.runs
        ended, full = tokens == self.end, limits.tokens[rows] <= places
        most = np.where(ended, places + 1, limits.tokens[rows])
        self.lengths[rows] = np.minimum(places + 1 - surplus, most)
        return ~(ended | full | (surplus > 0))

    def last(self, row: int) -> int:
        """The newest token of a row."""
        return int(self._tokens[row, LONGEST_LOOP + self.lengths[row] - 1])

    def result(self, row: int, no_speech: float | None) -> RowResult:
        """A row that is done."""
        length = self.lengths[row]
        tokens = self._tokens[row, LONGEST_LOOP : LONGEST_LOOP + length]
        return written(tokens, self._log_probs[row, :length], self.end, no_speech)


def greedy(
    batch: EncodedBatch,
    rows: Sequence[DecoderRow],
    limits: Limits,
    sampling: Sampling | None = None,
) -> list[RowResult]:
    """Each row's most probable next token, or one that is drawn, until the end, a limit, or a
    loop; several at a step as far as a draft foresees them."""
    best = 1 if sampling is None else WEIGHED
    drafts = drafts_of(batch, rows) if sampling is None else [Draft() for _ in rows]
    prompts, texts = batch.prompts(rows), Texts(limits, batch.tokenizer.end)
    entries = np.array([row.entry for row in rows])
    state = batch.backend.start(batch.encoded, entries, [row.guidance for row in rows])
    no_speech: list[float | None] = [None] * len(rows)
    # `alive` are rows of all, `going` those of the living ones that do not end at this step.
    alive, going = np.arange(len(rows)), np.arange(len(rows))
    unread, read, first = prompts.lists(), np.zeros(len(rows), dtype=np.int64), True
    while len(going := going[batch.wanted([rows[i] for i in alive[going]])]):
        if len(going) < len(alive):
            state, alive = batch.backend.select(state, going), alive[going]
        known = prompts.counts[alive] + texts.lengths[alive]
        if (read[alive] >= known).any():
            read[alive] = known - 1
            state = batch.backend.keep(state, known - 1)
        proposed = [drafts[i].proposed(int(limits.tokens[i] - texts.lengths[i])) for i in alive]
        new = left_aligned(
            [[*unread[i], *tokens] for i, tokens in zip(alive, proposed, strict=True)],
            batch.tokenizer.blank,
        )
        lengths = np.array([*map(len, proposed)])
        counts = known - read[alive] + lengths
        behind = np.minimum(np.arange(lengths.max() + 1) - lengths[:, None], 0)
        starts = prompts.starts[alive] if first else None
        query = likeliest(batch, counts[:, None] - 1 + behind, best, end=True, starts=starts)
        found, state = batch.backend.step(state, new, counts, query)
        read[alive] = known + lengths
        if first:
            for row, probability in zip(alive, no_speech_of(batch, found), strict=True):
                no_speech[row] = probability
            first = False
        going, right = verified(texts, alive, proposed, found, sampling)
        for i, row in zip(going, alive[going], strict=True):
            unread[row] = [texts.last(row)]
            drafts[row] = drafts[row].behind(int(right[i]), texts.last(row))
    return [texts.result(row, no_speech[row]) for row in range(len(rows))]


def verified(
    texts: Texts,
    alive: Index,
    proposed: Sequence[Sequence[int]],
    found: StepOutput,
    sampling: Sampling | None,
) -> tuple[Index, Index]:
    """Writes what was found in the living rows, as far as the proposed tokens before it are the
    same; those of them that go on, and how many [alive] of the proposed tokens were right."""
    expected = left_aligned([[*tokens, -1] for tokens in proposed], -1)
    right = np.zeros(len(alive), dtype=np.int64)
    going, same = np.zeros(len(alive), dtype=bool), np.arange(len(alive))
    # The places that were asked for a draft's sake are the last.
    offset = found.tokens.shape[1] - expected.shape[1]
    for place in range(expected.shape[1]):
        tokens, log_probs = chosen(found, same, offset + place, sampling, alive[same])
        going[same] = texts.add(alive[same], tokens, log_probs)
        same = same[going[same] & (tokens == expected[same, place])]
        right[same] += 1
    return np.flatnonzero(going), right


def chosen(
    found: StepOutput, rows: Index, place: int, sampling: Sampling | None, drawn: Index
) -> tuple[Index, NDArray[np.float32]]:
    """The id of each of these rows at one of the places that were asked, and its log-probability;
    `drawn` are the rows of the sampling."""
    tokens, log_probs = found.tokens[rows, place], found.log_probs[rows, place]
    if sampling is None:
        return tokens[:, 0], log_probs[:, 0]
    which = np.arange(len(rows)), sampling.choose(log_probs, drawn)
    return tokens[which], log_probs[which]


def likeliest(
    batch: EncodedBatch, positions: Index, best: int, *, end: bool, starts: Index | None = None
) -> StepQuery:
    """Asks for the likeliest ids of text, the end among them where `end`, behind the new tokens at
    `positions` [rows, asked], and for the log-probability of the end there.

    `starts` are the places of the token `start` at a row's first step, and None at the others: its
    no-speech probability is asked for there, where there is such an id.
    """
    allowed, ids = batch.writable_mask.copy(), batch.tokenizer
    allowed[ids.end] = end
    if starts is not None:
        allowed[list(batch.config.decoder.suppressed_first)] = False
    scored = np.full_like(positions, ids.end)
    if starts is not None and ids.no_speech is not None:
        positions = np.concatenate([starts[:, None], positions], axis=1)
        scored = np.concatenate([np.full_like(starts, ids.no_speech)[:, None], scored], axis=1)
    return StepQuery(
        positions=positions,
        allowed=np.broadcast_to(allowed, (len(positions), len(allowed))),
        best=min(best, int(np.count_nonzero(allowed))),
        scored=scored,
    )


def no_speech_of(batch: EncodedBatch, found: StepOutput) -> list[float | None]:
    """The no-speech probability of each row at its first step, where there is such an id."""
    asked = batch.tokenizer.no_speech is not None
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
