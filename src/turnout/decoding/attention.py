"""The decoder's own path: the spoken language, greedy rows, and the score of a given text.

Rows that end leave the batch, so that a long row does not make the short ones wait in vain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout.decoding.batch import Batch
from turnout.decoding.plan import Row
from turnout.guidance import Guidance

LONGEST_LOOP = 8
"""Tokens of the longest n-gram whose repetition is watched."""


@dataclass(frozen=True)
class Limits:
    """Where rows are stopped that do not end by themselves."""

    tokens: NDArray[np.int64]
    """[rows]: most tokens."""
    repeats: NDArray[np.int64]
    """[rows]: how often an n-gram may stand in succession."""


@dataclass(frozen=True)
class Written:
    """What one row wrote."""

    tokens: tuple[int, ...]
    log_prob: float
    """Of the tokens, and of the end where the row ended by itself."""


def find_languages(
    batch: Batch, entries: NDArray[np.int64], guidance: Sequence[Guidance]
) -> list[str]:
    """The spoken language of these entries of the batch: the decoder's first token."""
    tokenizer = batch.tokenizer
    languages = batch.config.vocabulary.languages
    ids = np.array([tokenizer.language(code) for code in languages])
    state = batch.backend.start(batch.encoded, entries, guidance)
    starts = np.full((len(entries), 1), tokenizer.start)
    log_probs, _ = batch.backend.step(state, starts, np.ones(len(entries), dtype=np.int64))
    return [languages[i] for i in log_probs[:, 0, ids].argmax(axis=1)]


def greedy(batch: Batch, rows: Sequence[Row], limits: Limits) -> list[Written]:
    """Each row's most probable next token until the end, a limit, or a loop."""
    entries = np.array([row.entry for row in rows])
    state = batch.backend.start(batch.encoded, entries, [row.guidance for row in rows])
    new, bias, end = batch.prompts(rows), batch.bias, batch.tokenizer.end
    alive = np.arange(len(rows))
    tokens = np.zeros((len(rows), int(limits.tokens.max()) + 1), dtype=np.int64)
    log_probs = np.zeros(tokens.shape)
    kept = np.zeros(len(rows), dtype=np.int64)
    loops = Loops.start(limits.repeats)
    for length in range(tokens.shape[1]):
        batch.check()
        full = np.full(len(alive), new.shape[1])
        step, state = batch.backend.step(state, new, full)
        choice = (step[:, -1] + bias).argmax(axis=1)
        tokens[alive, length] = choice
        log_probs[alive, length] = step[np.arange(len(alive)), -1, choice]
        loops, surplus = loops.extend(tokens[alive, : length + 1])
        ended, full = choice == end, limits.tokens[alive] <= length
        kept[alive] = np.where(full & ~ended, length, length + 1 - surplus)
        going = np.flatnonzero(~(ended | full | (surplus > 0)))
        if len(going) == 0:
            break
        if len(going) < len(alive):
            state = batch.backend.select(state, going)
            alive, loops = alive[going], loops.select(going)
        new = tokens[alive, length][:, None]
    return [
        written(tokens[row, : kept[row]], log_probs[row, : kept[row]], end)
        for row in range(len(rows))
    ]


def written(tokens: NDArray[np.int64], log_probs: NDArray[np.float64], end: int) -> Written:
    """The row without its end."""
    text = tokens[:-1] if len(tokens) and tokens[-1] == end else tokens
    return Written(tuple(text.tolist()), float(log_probs.sum()))


@dataclass(frozen=True)
class Loops:
    """How long each row has been repeating itself, for every length of n-gram."""

    limits: NDArray[np.int64]
    """[rows]: how often an n-gram may stand in succession."""
    runs: NDArray[np.int64]
    """[rows, LONGEST_LOOP]: tokens in succession that equal the one n before."""

    @classmethod
    def start(cls, limits: NDArray[np.int64]) -> "Loops":
        """No token yet."""
        return cls(limits, np.zeros((len(limits), LONGEST_LOOP), dtype=np.int64))

    def extend(self, tokens: NDArray[np.int64]) -> tuple["Loops", NDArray[np.int64]]:
        """After the newest column of `tokens` [rows, length]; and, for each row, how many tokens
        the repetition that is one too many has (0 where there is none)."""
        widths = np.arange(1, LONGEST_LOOP + 1)
        same = np.zeros(self.runs.shape, dtype=bool)
        known = min(LONGEST_LOOP, tokens.shape[1] - 1)
        if known:
            earlier = tokens[:, -2 : -2 - known : -1]
            same[:, :known] = earlier == tokens[:, -1:]
        runs = np.where(same, self.runs + 1, 0)
        looping = runs >= widths * self.limits[:, None]
        surplus = np.where(looping.any(axis=1), widths[looping.argmax(axis=1)], 0)
        return Loops(self.limits, runs), surplus

    def select(self, rows: NDArray[np.int64]) -> "Loops":
        """These rows."""
        return Loops(self.limits[rows], self.runs[rows])


def most_repeats(tokens: Sequence[int]) -> int:
    """How often an n-gram stands in succession, at most, in these tokens."""
    ids = np.array(tokens, dtype=np.int64)
    most = 1
    for width in range(1, min(LONGEST_LOOP, len(ids) - 1) + 1):
        same = ids[width:] == ids[:-width]
        breaks = np.flatnonzero(np.concatenate([[True], ~same, [True]]))
        most = max(most, 1 + int(np.diff(breaks).max() - 1) // width)
    return most


def score_texts(
    batch: Batch, rows: Sequence[Row], texts: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """[rows]: the decoder's log-probability of each text and of its end, in one pass."""
    end = batch.tokenizer.end
    prompts = batch.prompts(rows)
    lengths = np.array([len(text) for text in texts])
    width = prompts.shape[1] + int(lengths.max())
    tokens = np.full((len(rows), width), batch.tokenizer.blank)
    tokens[:, : prompts.shape[1]] = prompts
    for row, text in enumerate(texts):
        tokens[row, prompts.shape[1] :][: len(text)] = text
    entries = np.array([row.entry for row in rows])
    state = batch.backend.start(batch.encoded, entries, [row.guidance for row in rows])
    batch.check()
    log_probs, _ = batch.backend.step(state, tokens, prompts.shape[1] + lengths)
    total = np.empty(len(rows))
    for row, text in enumerate(texts):
        places = prompts.shape[1] - 1 + np.arange(len(text) + 1)
        total[row] = log_probs[row, places, [*text, end]].sum(dtype=np.float64)
    return total
