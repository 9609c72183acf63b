"""Rows -> what is written in them, whichever heads the model has and however it is searched.

Robust on short and noisy utterances by four rules. CTC alone decides that nothing was said where
it is sure of it. A transcript is the better, under both heads joined, of what the decoder's search
found and CTC's best path. Rows are bounded by the length of the audio, in tokens and in characters,
and stop at an n-gram that repeats itself more often than CTC hears. A translation of an empty
transcript is empty.
"""

from collections.abc import Sequence
from math import log

import numpy as np

from turnout.decoding.attention import Limits, Written, greedy, most_repeats, score_texts
from turnout.decoding.batch import Batch
from turnout.decoding.beam import beam_search
from turnout.decoding.ctc import BestPath, prefix_beam
from turnout.decoding.length import capped
from turnout.decoding.plan import Row
from turnout.decoding.words import FRAME_SECONDS
from turnout.guidance import Task

SPARE_TOKENS = 8
"""Allowed to every row beyond its share by length, so that a short word can be spelled."""
REPEATS = 4
"""How often an n-gram may stand in succession, unless CTC hears it more often."""
SURELY_SILENT = log(0.9)
"""Log-probability of the empty text from which CTC alone decides that nothing is said."""
SILENCE = Written((), 0.0)


def write_rows(batch: Batch, rows: Sequence[Row]) -> list[Written]:
    """What is written in each row."""
    written: list[Written | None] = [silence(batch, row) for row in rows]
    spoken = [i for i, known in enumerate(written) if known is None]
    if spoken:
        chosen = [rows[i] for i in spoken]
        found = capped(batch, chosen, search(batch, chosen))
        for i, text in zip(spoken, found, strict=True):
            written[i] = text
    done = [text or SILENCE for text in written]
    wordless = {
        row.utterance
        for row, text in zip(rows, done, strict=True)
        if row.guidance.task is Task.TRANSCRIBE and not text.tokens
    }
    return [
        SILENCE if row.utterance in wordless and text.tokens else text
        for row, text in zip(rows, done, strict=True)
    ]


def search(batch: Batch, rows: Sequence[Row]) -> list[Written]:
    """What is written in rows that may hold speech."""
    beam = batch.options.beam_size > 1
    if batch.config.decoder.num_layers == 0:
        return [ctc_beam(batch, row) for row in rows] if beam else ctc_greedy(batch, rows)
    limits = limits_of(batch, rows)
    found = beam_search(batch, rows, limits) if beam else greedy(batch, rows, limits)
    return joined(batch, rows, limits, found)


def silence(batch: Batch, row: Row) -> Written | None:
    """The empty text where CTC is sure of it, so that the decoder has nothing to invent."""
    if batch.paths is None:
        return None
    path = batch.paths[row.entry]
    silent = not path.tokens and path.log_prob_empty >= SURELY_SILENT
    return Written((), path.log_prob_empty) if silent else None


def limits_of(batch: Batch, rows: Sequence[Row]) -> Limits:
    """Bounds by the length of the audio and by what CTC hears repeated."""
    prompt = batch.prompts(rows[:1]).shape[1]
    most = batch.config.decoder.max_tokens - prompt
    frames = np.array([len(batch.utterances[row.utterance].log_mel) for row in rows])
    share = np.ceil(frames * FRAME_SECONDS * batch.options.max_tokens_per_second)
    repeats = np.full(len(rows), REPEATS)
    if batch.paths is not None:
        heard = [most_repeats(batch.paths[row.entry].tokens) for row in rows]
        repeats = np.maximum(repeats, heard)
    return Limits(np.minimum(share.astype(np.int64) + SPARE_TOKENS, most), repeats)


def joined(
    batch: Batch, rows: Sequence[Row], limits: Limits, written: list[Written]
) -> list[Written]:
    """In each transcript, CTC's best path instead of the decoder's where both heads together find
    it more probable: the decoder leaves out, repeats and invents, CTC does not."""
    weight, scorer, paths = batch.options.ctc_weight, batch.scorer, batch.paths
    if paths is None or scorer is None or weight == 0:
        return written
    disputed = [
        i
        for i, row in enumerate(rows)
        if row.guidance.task is Task.TRANSCRIBE
        and is_rival(batch, paths[row.entry], written[i], int(limits.tokens[i]))
    ]
    if not disputed:
        return written
    both = [rows[i] for i in disputed] * 2
    texts = [written[i].tokens for i in disputed]
    texts += [paths[rows[i].entry].tokens for i in disputed]
    attention = score_texts(batch, both, texts)
    ctc = scorer.score(np.array([row.entry for row in both]), texts)
    joint = ((1 - weight) * attention + weight * ctc).reshape(2, -1)
    result = list(written)
    for place in np.flatnonzero(joint[1] > joint[0]):
        rival = place + len(disputed)
        result[disputed[place]] = Written(texts[rival], float(attention[rival]))
    return result


def is_rival(batch: Batch, path: BestPath, written: Written, most_tokens: int) -> bool:
    """Whether CTC's best path is another text, of a length that the decoder can score."""
    if len(path.tokens) > most_tokens:
        return False
    return batch.tokenizer.decode(path.tokens) != batch.tokenizer.decode(written.tokens)


def ctc_greedy(batch: Batch, rows: Sequence[Row]) -> list[Written]:
    """CTC's best paths, with the probability of their texts."""
    assert batch.paths is not None and batch.scorer is not None
    texts = [batch.paths[row.entry].tokens for row in rows]
    scores = batch.scorer.score(np.array([row.entry for row in rows]), texts)
    return [Written(text, float(score)) for text, score in zip(texts, scores, strict=True)]


def ctc_beam(batch: Batch, row: Row) -> Written:
    """The most probable text of a row under CTC alone."""
    batch.check()
    emissions = batch.emissions(row.entry)
    beam_size = batch.options.beam_size
    return Written(*prefix_beam(emissions, batch.text, batch.tokenizer.blank, beam_size))
