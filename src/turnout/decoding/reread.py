"""Texts that are written, read by the decoder once more and at once: what it attended to, and which
of its learned experts each token took.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from turnout.decoding.alignment import Spikes
from turnout.decoding.attention import attended_spans
from turnout.decoding.backend import TellsRouting
from turnout.decoding.encoded_batch import (
    DecoderRow,
    EncodedBatch,
    Prompts,
    RowResult,
    left_aligned,
)
from turnout.guidance import Guidance, Task

Index = NDArray[np.int64]


class Asked(NamedTuple):
    """What `Backend.attention` is asked with, beside the encoded batch."""

    rows: Index
    guidance: list[Guidance]
    tokens: Index
    counts: Index


def attended(
    batch: EncodedBatch, rows: Sequence[DecoderRow], texts: Sequence[RowResult]
) -> dict[int, Spikes]:
    """Where the decoder attended to the tokens of those transcripts whose words want times, by row;
    where CTC gives times, and where no heads are known to follow the speech, there are none."""
    wanted = [
        i
        for i in transcripts(batch, rows, texts)
        if batch.utterances[rows[i].utterance].options.word_timestamps
    ]
    if batch.paths is not None or not batch.config.decoder.alignment_heads or not wanted:
        return {}
    prompts, asked = whole(batch, rows, texts, wanted)
    weights, counts = batch.backend.attention(batch.encoded, *asked), asked.counts
    return {
        i: attended_spans(
            weights[place][:, : counts[place], batch.sound_mask[rows[i].entry]],
            int(prompts.counts[place]),
            texts[i].tokens,
        )
        for place, i in enumerate(wanted)
    }


def decoder_routing(
    batch: EncodedBatch, rows: Sequence[DecoderRow], texts: Sequence[RowResult]
) -> dict[int, NDArray[np.float32]]:
    """[routings, tokens, experts] of those transcripts for which it was asked, by row; none where
    no router of the decoder is learned, or the backend does not tell."""
    wanted = [
        i
        for i in transcripts(batch, rows, texts)
        if batch.utterances[rows[i].utterance].options.decoder_routing
    ]
    backend, learned = batch.backend, batch.config.decoder.routing.learned
    if not (wanted and learned and isinstance(backend, TellsRouting)):
        return {}
    prompts, asked = whole(batch, rows, texts, wanted)
    found = backend.decoder_probabilities(batch.encoded, *asked)
    told = {}
    for place, i in enumerate(wanted):
        # A token is written while the one before it is read.
        first = int(prompts.counts[place]) - 1
        told[i] = found[:, place, first : first + len(texts[i].tokens)]
    return told


def transcripts(
    batch: EncodedBatch, rows: Sequence[DecoderRow], texts: Sequence[RowResult]
) -> list[int]:
    """The rows of transcripts that say something and that somebody still waits for."""
    return [
        i
        for i, (row, text) in enumerate(zip(rows, texts, strict=True))
        if text.tokens
        and row.guidance.task is Task.TRANSCRIBE
        and row.utterance not in batch.cancelled
    ]


def whole(
    batch: EncodedBatch,
    rows: Sequence[DecoderRow],
    texts: Sequence[RowResult],
    wanted: Sequence[int],
) -> tuple[Prompts, Asked]:
    """The prompts of these rows, and what a backend is asked with: prompts, texts and ends."""
    chosen = [rows[i] for i in wanted]
    # Without a previous text, of which nothing is heard.
    prompts = batch.prompts(chosen, previous=False)
    lists = [
        [*prompt, *texts[i].tokens, batch.tokenizer.end]
        for prompt, i in zip(prompts.lists(), wanted, strict=True)
    ]
    entries, counts = np.array([row.entry for row in chosen]), np.array([*map(len, lists)])
    tokens = left_aligned(lists, batch.tokenizer.blank)
    return prompts, Asked(entries, [row.guidance for row in chosen], tokens, counts)
