"""Texts that are too long for their audio, cut, whatever search has found them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from turnout.decoding.attention import Written, score_texts
from turnout.decoding.batch import Batch
from turnout.decoding.plan import Row
from turnout.decoding.request import most_characters
from turnout.decoding.words import FRAME_SECONDS
from turnout.text.tokenizer import Tokenizer

SEAM = 1
"""Characters kept free for the space that joins a text to its neighbour's."""


def capped(batch: Batch, rows: Sequence[Row], written: list[Written]) -> list[Written]:
    """Each text up to the last whole token that its audio has room for; one that was cut is scored
    anew."""
    texts = [
        fitting(batch.tokenizer, text.tokens, room(batch, row))
        for row, text in zip(rows, written, strict=True)
    ]
    cut = [i for i, text in enumerate(texts) if len(text) < len(written[i].tokens)]
    if not cut:
        return written
    result = list(written)
    scores = score(batch, [rows[i] for i in cut], [texts[i] for i in cut])
    for i, log_prob in zip(cut, scores, strict=True):
        result[i] = Written(texts[i], float(log_prob))
    return result


def room(batch: Batch, row: Row) -> int:
    """How many characters a row may have."""
    frames = len(batch.utterances[row.utterance].log_mel)
    return most_characters(frames * FRAME_SECONDS) - SEAM


def fitting(tokenizer: Tokenizer, tokens: tuple[int, ...], most: int) -> tuple[int, ...]:
    """The longest beginning of the tokens that has at most so many characters, none of them cut in
    two."""
    text = tokenizer.decode(tokens)
    if len(text) <= most:
        return tokens
    for length in range(len(tokens) - 1, 0, -1):
        beginning = tokenizer.decode(tokens[:length])
        if len(beginning) <= most and text.startswith(beginning):
            return tokens[:length]
    return ()


def score(
    batch: Batch, rows: Sequence[Row], texts: Sequence[tuple[int, ...]]
) -> NDArray[np.float64]:
    """[rows]: log-probability of each text and its end, under CTC where there is no decoder."""
    if batch.config.decoder.num_layers:
        return score_texts(batch, rows, texts)
    assert batch.scorer is not None
    return batch.scorer.score(np.array([row.entry for row in rows]), texts)
