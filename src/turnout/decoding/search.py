"""What is written in decoder rows in one attempt, by whichever heads the model has.

Robust on short and noisy utterances by three rules. CTC alone decides that nothing was said where
it is sure of it. A transcript is the better, under both heads joined, of what the decoder's search
found and CTC's best path. Rows are bounded by the length of the audio, in tokens and in characters,
and stop at an n-gram that repeats itself more often than CTC hears; a text that was cut says so.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import log

import numpy as np

from turnout.audio.features import FRAME_SECONDS
from turnout.decoding.alignment import Spikes
from turnout.decoding.beam import beam_search
from turnout.decoding.ctc import prefix_beam
from turnout.decoding.encoded_batch import (
    NOTHING_SAID,
    DecoderRow,
    EncodedBatch,
    Limits,
    RowResult,
    most_repeats,
    shortened,
)
from turnout.decoding.greedy import Sampling, greedy, score_texts
from turnout.decoding.patient_beam import patient_beam
from turnout.decoding.requests import most_characters, most_tokens
from turnout.guidance import Task

REPEATS = 4
"""How often an n-gram may stand in succession, unless CTC hears it more often."""
LOOP_TOKENS = 40
"""Of Whisper's models, fewer repeated tokens are no loop: a word may really be said six times, and
so many the compression ratio refuses in any text."""
SURELY_SILENT = log(0.9)
"""Log-probability of the empty text from which CTC alone decides that nothing is said."""
SEAM = 1
"""Characters kept free for the space that joins a text to its neighbour's."""


def silence(batch: EncodedBatch, row: DecoderRow) -> RowResult | None:
    """The empty text where CTC is sure of it, so that the decoder has nothing to invent."""
    if batch.paths is None:
        return None
    path = batch.paths[row.entry]
    silent = not path.spikes.tokens and path.log_prob_empty >= SURELY_SILENT
    return RowResult((), path.log_prob_empty, ended=False) if silent else None


def search(
    batch: EncodedBatch,
    rows: Sequence[DecoderRow],
    beam_size: int,
    sampling: Sampling | None = None,
) -> list[RowResult]:
    """What is written in rows that may hold speech; by `sampling` instead of a beam, if given."""
    if batch.config.decoder.num_layers == 0:
        return capped(batch, rows, by_ctc_alone(batch, rows, beam_size))
    limits = limits_of(batch, rows)
    if sampling is not None or beam_size == 1:
        found = greedy(batch, rows, limits, sampling)
    elif batch.whispers:
        found = patient_beam(batch, rows, limits, beam_size)
    else:
        found = beam_search(batch, rows, limits, beam_size)
    return capped(batch, rows, joined(batch, rows, limits, found))


def by_ctc_alone(
    batch: EncodedBatch, rows: Sequence[DecoderRow], beam_size: int
) -> list[RowResult]:
    """CTC's best path, or the most probable text of a beam, with the probability of the text."""
    assert batch.paths is not None
    if beam_size > 1:
        blank, mask = batch.tokenizer.blank, batch.text_mask
        return [
            RowResult(*prefix_beam(batch.emissions(row.entry), mask, blank, beam_size), ended=False)
            if batch.wanted([row]).all()
            else NOTHING_SAID
            for row in rows
        ]
    return score_again(batch, rows, [batch.paths[row.entry].spikes.tokens for row in rows])


def limits_of(batch: EncodedBatch, rows: Sequence[DecoderRow]) -> Limits:
    """Bounds by the length of the audio and by what CTC hears repeated."""
    most = batch.config.decoder.max_tokens - batch.prompts(rows).counts
    tokens = np.array([most_tokens(batch.utterances[row.utterance]) for row in rows])
    repeats = np.full(len(rows), REPEATS)
    if batch.paths is not None:
        heard = [most_repeats(batch.paths[row.entry].spikes.tokens) for row in rows]
        repeats = np.maximum(repeats, heard)
    fewest = LOOP_TOKENS if batch.whispers else 0
    return Limits(np.minimum(tokens, most), repeats, fewest)


def joined(
    batch: EncodedBatch, rows: Sequence[DecoderRow], limits: Limits, written: list[RowResult]
) -> list[RowResult]:
    """In each transcript, CTC's best path instead of the decoder's where both heads together find
    it more probable: the decoder leaves out, repeats and invents, CTC does not."""
    scorer, paths = batch.scorer, batch.paths
    if paths is None or scorer is None:
        return written
    disputed = [
        i
        for i, row in enumerate(rows)
        if row.guidance.task is Task.TRANSCRIBE
        and batch.utterances[row.utterance].options.ctc_weight > 0
        and is_rival(batch, paths[row.entry].spikes, written[i], int(limits.tokens[i]))
    ]
    disputed = [i for i in disputed if batch.wanted([rows[i]]).all()]
    written = [confirmed(batch, row, text) for row, text in zip(rows, written, strict=True)]
    if not disputed:
        return written
    both = [rows[i] for i in disputed] * 2
    texts = [written[i].tokens for i in disputed]
    texts += [paths[rows[i].entry].spikes.tokens for i in disputed]
    known = [written[i] for i in disputed] + [written[i].read for i in disputed]
    scored = scored_texts(batch, both, texts, known)
    attention = np.array([text.log_prob for text in scored])
    ctc = scorer.score(np.array([row.entry for row in both]), texts)
    weight = np.array([batch.utterances[row.utterance].options.ctc_weight for row in both])
    joint = ((1 - weight) * attention + weight * ctc).reshape(2, -1)
    result = list(written)
    for place in np.flatnonzero(joint[1] > joint[0]):
        result[disputed[place]] = scored[place + len(disputed)]
    return result


def scored_texts(
    batch: EncodedBatch,
    rows: Sequence[DecoderRow],
    texts: Sequence[tuple[int, ...]],
    known: Sequence[RowResult | None],
) -> list[RowResult]:
    """Each text with the decoder's probability of it and of its end: as it is `known`, or else
    found out."""
    result = [
        one if one is not None and one.ended and one.tokens == text else None
        for one, text in zip(known, texts, strict=True)
    ]
    missing = [i for i, one in enumerate(result) if one is None]
    if missing:
        found = score_texts(batch, [rows[i] for i in missing], [texts[i] for i in missing])
        for i, one in zip(missing, found, strict=True):
            result[i] = one
    return [one for one in result if one is not None]


def is_rival(batch: EncodedBatch, path: Spikes, written: RowResult, most_tokens: int) -> bool:
    """Whether CTC's best path is another text, of a length that the decoder can score."""
    if len(path.tokens) > most_tokens:
        return False
    return batch.tokenizer.decode(path.tokens) != batch.tokenizer.decode(written.tokens)


def confirmed(batch: EncodedBatch, row: DecoderRow, written: RowResult) -> RowResult:
    """What was written, with nothing cut off it where it is all that CTC hears."""
    if batch.paths is None or row.guidance.task is not Task.TRANSCRIBE:
        return written
    heard = batch.paths[row.entry].spikes.tokens
    return replace(written, cut=written.cut and heard != written.tokens)


def capped(
    batch: EncodedBatch, rows: Sequence[DecoderRow], written: list[RowResult]
) -> list[RowResult]:
    """Each text up to the last whole token that its audio has room for; one that was cut is scored
    anew."""
    texts = []
    for row, text in zip(rows, written, strict=True):
        utterance = batch.utterances[row.utterance]
        room = most_characters(utterance.frames * FRAME_SECONDS) - SEAM
        tokens = text.tokens[: most_tokens(utterance)]
        texts.append(shortened(batch.tokenizer, tokens, room))
    cut = [i for i, text in enumerate(texts) if len(text) < len(written[i].tokens)]
    if not cut:
        return written
    result = list(written)
    scored = score_again(batch, [rows[i] for i in cut], [texts[i] for i in cut])
    for i, text in zip(cut, scored, strict=True):
        result[i] = replace(text, cut=True, no_speech_prob=written[i].no_speech_prob)
    return result


def score_again(
    batch: EncodedBatch, rows: Sequence[DecoderRow], texts: Sequence[tuple[int, ...]]
) -> list[RowResult]:
    """Each text with its probability and its end's, under CTC where there is no decoder."""
    if batch.config.decoder.num_layers:
        return score_texts(batch, rows, texts)
    assert batch.scorer is not None
    found = batch.scorer.score(np.array([row.entry for row in rows]), texts)
    return [
        RowResult(text, float(log_prob), ended=False)
        for text, log_prob in zip(texts, found, strict=True)
    ]
