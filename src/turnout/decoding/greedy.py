"""The decoder's own path: the spoken language, greedy or sampled rows, and the score of a given
text.

Rows that end leave the batch, so that a long row does not make the short ones wait in vain.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
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


@dataclass
class Text:
    """What is being written in one row."""

    most: int
    """Tokens, without the end."""
    repeats: int
    fewest: int
    tokens: list[int] = field(default_factory=list)
    """With the end."""
    log_probs: list[float] = field(default_factory=list)
    no_speech: float | None = None
    read: RowResult | None = None

    def add(self, token: int, log_prob: float, end: int) -> bool:
        """Another token; whether the row goes on, without an end, a limit, or a loop, which is cut
        off."""
        self.tokens.append(token)
        self.log_probs.append(log_prob)
        if token == end:
            return False
        surplus, full = surplus_of(self.tokens, self.repeats, self.fewest), self.most < self.length
        kept = min(self.length - surplus, self.most)
        del self.tokens[kept:], self.log_probs[kept:]
        return not (surplus or full)

    def verify(
        self, proposed: Sequence[int], found: Iterable[tuple[int, float]], end: int
    ) -> int | None:
        """Adds what was `found` before, and behind each of, the proposed tokens, as far as these
        are the same; how many were right, or None where the row is done."""
        for right, (token, log_prob) in enumerate(found):
            if not self.add(token, log_prob, end):
                return None
            if right == len(proposed) or token != proposed[right]:
                return right
        raise AssertionError("a token is found behind the last one that was proposed")

    @property
    def length(self) -> int:
        """Tokens, the end among them."""
        return len(self.tokens)

    def result(self, end: int) -> RowResult:
        """That of a row that is done."""
        log_probs = np.array(self.log_probs, dtype=np.float64)
        tokens = np.array(self.tokens, dtype=np.int64)
        return replace(written(tokens, log_probs, end, self.no_speech), read=self.read)


def surplus_of(tokens: Sequence[int], repeats: int, fewest: int = 0) -> int:
    """How many of the last tokens are repetitions beyond so many of an n-gram, where they are a
    whole n-gram more and `fewest` at least; 0 where there are none. As `Loops`, of one row."""
    for width in range(1, min(LONGEST_LOOP, len(tokens) - 1) + 1):
        most, run = width * (repeats - 1), 0
        while run + width < len(tokens) and tokens[-1 - run] == tokens[-1 - run - width]:
            run += 1
        if run >= max(most + width, fewest):
            return run - most
    return 0


def greedy(
    batch: EncodedBatch,
    rows: Sequence[DecoderRow],
    limits: Limits,
    sampling: Sampling | None = None,
) -> list[RowResult]:
    """Each row's most probable next token, or one that is drawn, until the end, a limit, or a
    loop; several at a step as far as a draft foresees them."""
    end, best = batch.tokenizer.end, 1 if sampling is None else WEIGHED
    drafts = drafts_of(batch, rows) if sampling is None else [Draft() for _ in rows]
    bounds = zip(limits.tokens.tolist(), limits.repeats.tolist(), strict=True)
    texts = [Text(most, repeats, limits.fewest) for most, repeats in bounds]
    entries, prompts = np.array([row.entry for row in rows]), batch.prompts(rows)
    state = batch.backend.start(batch.encoded, entries, [row.guidance for row in rows])
    # `alive` are rows of all, `going` those of the living ones that do not end at this step.
    alive, going = np.arange(len(rows)), np.arange(len(rows))
    unread, read = prompts.lists(), np.zeros(len(rows), dtype=np.int64)
    while len(going := going[batch.wanted([rows[i] for i in alive[going]])]):
        if len(going) < len(alive):
            state, alive, read = batch.backend.select(state, going), alive[going], read[going]
        known = prompts.counts[alive] + [texts[i].length for i in alive]
        if (read >= known).any():
            # Of a draft that was refused.
            state, read = batch.backend.keep(state, known - 1), known - 1
        proposed = [drafts[i].proposed(texts[i].most - texts[i].length) for i in alive]
        scored = left_aligned([[*tokens, end] for tokens in proposed], end)
        lengths = np.array([*map(len, proposed)])
        counts, asked = known - read + lengths, scored.shape[1]
        positions = (counts - 1)[:, None] + np.minimum(np.arange(asked) - lengths[:, None], 0)
        starts = None if read.any() else prompts.starts[alive]
        query = likeliest(batch, positions, best, end=True, starts=starts)
        # The places that are asked for a draft's sake are the last.
        query.scored[:, -asked:] = scored
        new = [[*unread[i], *tokens] for i, tokens in zip(alive, proposed, strict=True)]
        tokens = left_aligned(new, batch.tokenizer.blank)
        found, state = batch.backend.step(state, tokens, counts, query)
        read, going = known + lengths, []
        if starts is not None:
            note_first(batch, [texts[i] for i in alive], proposed, found)
        choices = chosen(found, asked, sampling, alive)
        for place, (i, tokens, choice) in enumerate(zip(alive, proposed, choices, strict=True)):
            right = texts[i].verify(tokens, choice, end)
            if right is not None:
                going.append(place)
                unread[i] = texts[i].tokens[-1:]
                drafts[i] = drafts[i].behind(right, texts[i].tokens[-1])
        going = np.array(going, dtype=np.int64)
    return [text.result(end) for text in texts]


def note_first(
    batch: EncodedBatch,
    texts: Sequence[Text],
    proposed: Sequence[tuple[int, ...]],
    found: StepOutput,
) -> None:
    """What the first step tells of each text beside its next ids: the no-speech probability, and
    the probability of what was proposed."""
    asked, end = max(map(len, proposed)) + 1, batch.tokenizer.end
    told = zip(texts, no_speech_of(batch, found), proposed, found.scored, strict=True)
    for text, no_speech, tokens, scores in told:
        log_probs = scores[-asked:][: len(tokens) + 1].astype(np.float64)
        text.no_speech, text.read = no_speech, written(np.array([*tokens, end]), log_probs, end)


def chosen(
    found: StepOutput, asked: int, sampling: Sampling | None, rows: Index
) -> list[list[tuple[int, float]]]:
    """The next id of each of these rows at each of the last places that were asked, and its
    log-probability."""
    tokens, log_probs = found.tokens[:, -asked:], found.log_probs[:, -asked:]
    if sampling is not None:
        which = sampling.choose(log_probs[:, 0], rows)[:, None, None]
        tokens = np.take_along_axis(tokens, which, axis=2)
        log_probs = np.take_along_axis(log_probs, which, axis=2)
    pairs = zip(tokens[..., 0].tolist(), log_probs[..., 0].tolist(), strict=True)
    return [list(zip(*pair, strict=True)) for pair in pairs]


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
