"""Attempts at a text, for Whisper's models, which no CTC head guards (arXiv 2212.04356, section
4.5).

A text is refused that repeats itself (zlib makes little of it), is improbable, or was cut; its row,
and no other, is decoded anew at the next temperature. Where no speech is probable, a text is
silence unless it is more probable for that.

Where all are refused, the most probable of those that do not repeat themselves is kept, as
faster-whisper has it: the last one, which openai/whisper keeps, is the one that was sampled most
wildly.
"""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from math import log

import numpy as np

from turnout.decoding.encoded_batch import NOTHING_SAID, DecoderRow, EncodedBatch, RowResult
from turnout.decoding.greedy import Sampling
from turnout.decoding.requests import DecodingOptions, compression_ratio
from turnout.decoding.search import search
from turnout.guidance import Task

SURELY_NOT = 1e-6
SURELY_SAID = -0.5
"""Mean log-probability above which a text counts, whatever no speech's probability is: checkpoints
differ in that, and what whisper-base invents in noise has -0.66 at most (counted by hand)."""
MOST_ROWS = 8
"""Sampled at once: each has what the decoder attends to in memory."""


def attempts(batch: EncodedBatch, rows: Sequence[DecoderRow]) -> list[RowResult]:
    """What is written in each row."""
    tried: list[list[RowResult]] = [[] for _ in rows]
    options = [batch.utterances[row.utterance].options for row in rows]
    pending = list(range(len(rows)))
    for place in range(max((len(each.temperatures) for each in options), default=0)):
        texts = attempt(batch, [rows[i] for i in pending], place)
        for i, text in zip(pending, texts, strict=True):
            tried[i].append(text)
        pending = [
            i
            for i in pending
            if rows[i].utterance not in batch.cancelled
            and place + 1 < len(options[i].temperatures)
            and refused(batch, rows[i], tried[i][-1])
        ]
        if not pending:
            break
    return [settled(batch, row, texts) for row, texts in zip(rows, tried, strict=True)]


def attempt(batch: EncodedBatch, rows: Sequence[DecoderRow], place: int) -> list[RowResult]:
    """One text for each row, at the temperature at this place of its options."""
    options = [batch.utterances[row.utterance].options for row in rows]
    heats = [each.temperatures[place] for each in options]
    beams = [each.beam_size if not heat else 0 for each, heat in zip(options, heats, strict=True)]
    found: dict[int, RowResult] = {}
    for beam_size in sorted(set(beams)):
        same = [i for i, beam in enumerate(beams) if beam == beam_size]
        chosen = [rows[i] for i in same]
        texts = search(batch, chosen, beam_size) if beam_size else sampled(batch, chosen, place)
        found.update(zip(same, texts, strict=True))
    return [replace(found[i], temperature=heat) for i, heat in enumerate(heats)]


def sampled(batch: EncodedBatch, rows: Sequence[DecoderRow], place: int) -> list[RowResult]:
    """The most probable of the texts that are drawn for each row."""
    options = [batch.utterances[row.utterance].options for row in rows]
    draws = [(i, n) for i, each in enumerate(options) for n in range(each.best_of)]
    texts: list[list[RowResult]] = [[] for _ in rows]
    for first in range(0, len(draws), MOST_ROWS):
        some = draws[first : first + MOST_ROWS]
        sampling = Sampling(
            np.array([options[i].temperatures[place] for i, _ in some]),
            [generator(batch, rows[i], place, n) for i, n in some],
        )
        found = search(batch, [rows[i] for i, _ in some], 1, sampling)
        for (i, _), text in zip(some, found, strict=True):
            texts[i].append(text)
    return [max(each, key=lambda text: text.avg_log_prob) for each in texts]


def generator(batch: EncodedBatch, row: DecoderRow, place: int, draw: int) -> np.random.Generator:
    """Randomness by what is heard and what is asked of it, whoever is decoded beside it."""
    heard = zlib.crc32(np.ascontiguousarray(batch.log_mel(row)).tobytes())
    task = list(Task).index(row.guidance.task or Task.TRANSCRIBE)
    return np.random.default_rng((heard, task, place, draw))


def refused(batch: EncodedBatch, row: DecoderRow, text: RowResult) -> bool:
    """Whether another attempt is to be made."""
    options = batch.utterances[row.utterance].options
    if silent(text, options):
        return False
    return improbable(text, options) or repetitive(batch, text, options)


def improbable(text: RowResult, options: DecodingOptions) -> bool:
    """Whether the text's mean log-probability is below the threshold."""
    return options.logprob_threshold is not None and text.avg_log_prob < options.logprob_threshold


def repetitive(batch: EncodedBatch, text: RowResult, options: DecodingOptions) -> bool:
    """Whether the text repeats itself: by how small it can be made, or because it was cut."""
    most, ratio = options.compression_ratio_threshold, ratio_of(batch, text)
    return text.cut or (most is not None and ratio > most)


def silent(text: RowResult, options: DecodingOptions) -> bool:
    """Whether nothing is said: no speech is probable, and the text is not.

    The surer no speech is, the more probable a text must be: by as much as its log-odds are above
    the threshold's, though never more than `SURELY_SAID`. At both thresholds this is
    openai/whisper's rule, which keeps the short phrases that are invented in noise.
    """
    most, found = options.no_speech_threshold, text.no_speech_prob
    if most is None or found is None or found <= most:
        return False
    least = options.logprob_threshold
    if least is None:
        return True
    needed = least + log_odds(found) - log_odds(most)
    return text.avg_log_prob < min(needed, max(SURELY_SAID, least))


def log_odds(probability: float) -> float:
    """Of a probability; of 0 and 1, which have none, those of their neighbours."""
    inside = min(max(probability, SURELY_NOT), 1 - SURELY_NOT)
    return log(inside) - log(1 - inside)


def settled(batch: EncodedBatch, row: DecoderRow, tried: Sequence[RowResult]) -> RowResult:
    """What is kept of the attempts at a row."""
    last, options = tried[-1], batch.utterances[row.utterance].options
    if silent(last, options):
        kept = {"no_speech_prob": last.no_speech_prob, "temperature": last.temperature}
        return replace(NOTHING_SAID, **kept)
    if not refused(batch, row, last):
        return last
    varied = [text for text in tried if not repetitive(batch, text, options)]
    if varied:
        return replace(max(varied, key=lambda text: text.avg_log_prob), failed=True)
    return replace(min(tried, key=lambda text: ratio_of(batch, text)), failed=True)


def ratio_of(batch: EncodedBatch, text: RowResult) -> float:
    """Of what the tokens say."""
    return compression_ratio(batch.tokenizer.decode(text.tokens))
