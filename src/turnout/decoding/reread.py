"""Texts that are written, read by the decoder once more and at once: what it attended to, and which
of its learned experts each token took.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import FRAME_SECONDS
from turnout.decoding.alignment import Spikes
from turnout.decoding.attention import attended_spans, heard_frames, last_heard, longest_unheard
from turnout.decoding.backend import TellsRouting
from turnout.decoding.encoded_batch import (
    DecoderRow,
    EncodedBatch,
    Prompts,
    RowResult,
    left_aligned,
)
from turnout.guidance import Guidance, Task

LEAST_FOLLOWED_SECONDS = 6.0
"""Of an utterance that may hold more speech than its text: what is shorter is one sentence."""

READ_AT_ONCE = 2
"""Texts, however many are decoded together: the weights of every layer are in memory for each token
and frame, and the longest texts of a recording would say how much it takes."""

PART_OF_LETTER = "\ufffd"
"""What bytes are decoded to that are none alone."""

Index = NDArray[np.int64]
Heard = tuple[float | None, tuple[float, float] | None]


class Asked(NamedTuple):
    """What `Backend.attention` is asked with, beside the encoded batch."""

    rows: Index
    guidance: list[Guidance]
    tokens: Index
    counts: Index


@dataclass(frozen=True)
class Followed:
    """Where in its sound the decoder attended to a text."""

    spans: Spikes | None
    """Of its tokens, where words want times."""
    until: float | None
    """Of its last words, in seconds, where it may have passed over what is behind them."""
    unheard: tuple[float, float] | None
    """The longest stretch before those in which no word was heard, in seconds, likewise."""


def may_pass_over(batch: EncodedBatch, row: DecoderRow) -> bool:
    """Whether a transcript may leave out speech, which its attention tells. A translation does not
    follow its sound."""
    utterance = batch.utterances[row.utterance]
    seconds = utterance.frames * FRAME_SECONDS
    return (
        batch.whispers
        and utterance.request.tasks == (Task.TRANSCRIBE,)
        and seconds > LEAST_FOLLOWED_SECONDS
    )


def attended(
    batch: EncodedBatch, rows: Sequence[DecoderRow], texts: Sequence[RowResult]
) -> dict[int, Followed]:
    """Where the decoder attended to those transcripts whose words want times, or that may have
    passed over some of the speech, by row; where CTC gives times, and where no heads are known to
    follow the speech, there are none."""
    wanted = [
        i
        for i in transcripts(batch, rows, texts)
        if batch.utterances[rows[i].utterance].options.word_timestamps
        or may_pass_over(batch, rows[i])
    ]
    if batch.paths is not None or not batch.config.decoder.alignment_heads:
        return {}
    found: dict[int, Followed] = {}
    for first in range(0, len(wanted), READ_AT_ONCE):
        found |= followed(batch, rows, texts, wanted[first : first + READ_AT_ONCE])
    return found


def followed(
    batch: EncodedBatch,
    rows: Sequence[DecoderRow],
    texts: Sequence[RowResult],
    wanted: Sequence[int],
) -> dict[int, Followed]:
    """The same of these rows, read at once."""
    prompts, asked = whole(batch, rows, texts, wanted)
    weights, counts = batch.backend.attention(batch.encoded, *asked), asked.counts
    found = {}
    for place, i in enumerate(wanted):
        own = weights[place][:, : counts[place], batch.sound_mask[rows[i].entry]]
        prompt, tokens = int(prompts.counts[place]), texts[i].tokens
        timed = batch.utterances[rows[i].utterance].options.word_timestamps
        spans = attended_spans(own, prompt, tokens) if timed else None
        heard: Heard = (None, None)
        if may_pass_over(batch, rows[i]):
            of_words = [is_of_word(batch.tokenizer.decode((token,))) for token in tokens]
            heard = heard_seconds(batch, heard_frames(own, prompt, of_words))
        found[i] = Followed(spans, *heard)
    return found


def is_of_word(spelled: str) -> bool:
    """Whether a token that is spelled so is of a word: a part of a letter is, as most are in some
    scripts."""
    return any(letter.isalnum() or letter == PART_OF_LETTER for letter in spelled)


def heard_seconds(batch: EncodedBatch, heard: Index) -> Heard:
    """Until where a text's words are heard, and the longest stretch before that in which none is;
    None where it has none."""
    seconds = batch.config.encoder.subsampling_factor * FRAME_SECONDS
    last, unheard = last_heard(heard), longest_unheard(heard)
    until = None if last is None else (last + 1) * seconds
    return until, unheard and (unheard[0] * seconds, unheard[1] * seconds)


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
