"""The decoder's own path: the spoken language, greedy rows, and the score of a given text.

Rows that end leave the batch, so that a long row does not make the short ones wait in vain.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from turnout.decoding.backend import StepQuery
from turnout.decoding.encoded_batch import DecoderRow, EncodedBatch, Limits, Loops, RowResult
from turnout.guidance import Guidance


def find_languages(
    batch: EncodedBatch, entries: NDArray[np.int64], guidance: Sequence[Guidance]
) -> list[str]:
    """The spoken language of these entries of the batch: the decoder's first token."""
    tokenizer = batch.tokenizer
    languages = {tokenizer.language(code): code for code in batch.config.vocabulary.languages}
    allowed = np.zeros((len(entries), batch.config.vocabulary.size), dtype=bool)
    allowed[:, list(languages)] = True
    nowhere = np.zeros((len(entries), 1), dtype=np.int64)
    query = StepQuery(positions=nowhere, allowed=allowed, best=1, scored=nowhere)
    state = batch.backend.start(batch.encoded, entries, guidance)
    starts = np.full((len(entries), 1), tokenizer.start)
    found, _ = batch.backend.step(state, starts, np.ones(len(entries), dtype=np.int64), query)
    return [languages[int(token)] for token in found.tokens[:, 0, 0]]


def greedy(batch: EncodedBatch, rows: Sequence[DecoderRow], limits: Limits) -> list[RowResult]:
    """Each row's most probable next token until the end, a limit, or a loop."""
    end = batch.tokenizer.end
    entries = np.array([row.entry for row in rows])
    state = batch.backend.start(batch.encoded, entries, [row.guidance for row in rows])
    # `alive` are rows of all, `going` those of the living ones that do not end at this step.
    alive, going = np.arange(len(rows)), np.arange(len(rows))
    new = batch.prompts(rows)
    tokens = np.zeros((len(rows), int(limits.tokens.max()) + 1), dtype=np.int64)
    log_probs = np.zeros(tokens.shape)
    kept = np.zeros(len(rows), dtype=np.int64)
    loops = Loops.start(limits.repeats)
    for length in range(tokens.shape[1]):
        going = going[batch.wanted([rows[i] for i in alive[going]])]
        if len(going) == 0:
            break
        if len(going) < len(alive):
            state = batch.backend.select(state, going)
            alive, loops, new = alive[going], loops.select(going), new[going]
        counts = np.full(len(alive), new.shape[1])
        found, state = batch.backend.step(state, new, counts, likeliest(batch, new))
        choice = found.tokens[:, 0, 0]
        tokens[alive, length], log_probs[alive, length] = choice, found.log_probs[:, 0, 0]
        loops, surplus = loops.extend(tokens[alive, : length + 1])
        ended, full = choice == end, limits.tokens[alive] <= length
        kept[alive] = np.minimum(
            length + 1 - surplus, np.where(ended, length + 1, limits.tokens[alive])
        )
        going = np.flatnonzero(~(ended | full | (surplus > 0)))
        new = choice[:, None]
    return [
        written(tokens[row, : kept[row]], log_probs[row, : kept[row]], end)
        for row in range(len(rows))
    ]


def likeliest(batch: EncodedBatch, new: NDArray[np.int64], best: int = 1) -> StepQuery:
    """Asks for the likeliest ids of text behind the last of the new tokens [rows, new], and for the
    log-probability of the end."""
    allowed = batch.text_mask.copy()
    # A greedy row takes the end for its next token; a beam weighs it for every hypothesis apart.
    allowed[batch.tokenizer.end] = best == 1
    rows = len(new)
    return StepQuery(
        positions=np.full((rows, 1), new.shape[1] - 1),
        allowed=np.broadcast_to(allowed, (rows, len(allowed))),
        best=best,
        scored=np.full((rows, 1), batch.tokenizer.end),
    )


def written(tokens: NDArray[np.int64], log_probs: NDArray[np.float64], end: int) -> RowResult:
    """The row without its end, whose probability counts; without an end, it was stopped."""
    ended = len(tokens) > 0 and bool(tokens[-1] == end)
    length = len(tokens) - ended
    text, parts = tokens[:length].tolist(), log_probs[:length].tolist()
    return RowResult(tuple(text), float(log_probs.sum()), tuple(parts), ended, cut=not ended)


def score_texts(
    batch: EncodedBatch, rows: Sequence[DecoderRow], texts: Sequence[Sequence[int]]
) -> list[RowResult]:
    """Each row's text with the decoder's log-probabilities of it and of its end, in one pass."""
    tokenizer, prompts = batch.tokenizer, batch.prompts(rows)
    lengths = np.array([len(text) for text in texts])
    whole = [[*text, tokenizer.end] for text in texts]
    scored = np.full((len(rows), int(lengths.max()) + 1), tokenizer.blank)
    for row, text in enumerate(whole):
        scored[row, : len(text)] = text
    tokens = np.concatenate([prompts, scored[:, :-1]], axis=1)
    # The token before each: the prompt's last, then the text's own.
    positions = np.broadcast_to(prompts.shape[1] - 1 + np.arange(scored.shape[1]), scored.shape)
    query = StepQuery(
        positions=np.minimum(positions, prompts.shape[1] - 1 + lengths[:, None]),
        allowed=np.zeros((len(rows), batch.config.vocabulary.size), dtype=bool),
        best=0,
        scored=scored,
    )
    entries = np.array([row.entry for row in rows])
    state = batch.backend.start(batch.encoded, entries, [row.guidance for row in rows])
    found, _ = batch.backend.step(state, tokens, prompts.shape[1] + lengths, query)
    return [
        written(np.array(text), log_probs[: len(text)].astype(np.float64), tokenizer.end)
        for text, log_probs in zip(whole, found.scored, strict=True)
    ]
