"""From log-mel frames to hypotheses: one encoder pass, the language found once, and every task of
every utterance decoded together, each utterance as it was asked for.

Robust on short and noisy utterances by four rules. CTC alone decides that nothing was said where
it is sure of it. A transcript is the better, under both heads joined, of what the decoder's search
found and CTC's best path. Rows are bounded by the length of the audio, in tokens and in characters,
and stop at an n-gram that repeats itself more often than CTC hears; a text that was cut says so. A
translation of an empty transcript is empty.

Training's validation, the command line and the server all decode through `decode`.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import log

import numpy as np

from turnout.audio.features import FRAME_SECONDS
from turnout.config import ModelConfig
from turnout.decoding.alignment import Spikes, align
from turnout.decoding.backend import Backend
from turnout.decoding.beam import beam_search
from turnout.decoding.ctc import prefix_beam
from turnout.decoding.encoded_batch import (
    DecoderRow,
    EncodedBatch,
    Limits,
    RowResult,
    encode,
    most_repeats,
    shortened,
)
from turnout.decoding.greedy import find_languages, greedy, score_texts
from turnout.decoding.requests import (
    Decoded,
    Hypothesis,
    Request,
    Utterance,
    cancelled,
    check_request,
    known_language,
    most_characters,
    most_tokens,
    row_guidance,
)
from turnout.decoding.words import words_of
from turnout.errors import GuidanceError
from turnout.guidance import Guidance, Task
from turnout.text.spacing import spaced
from turnout.text.tokenizer import Tokenizer

REPEATS = 4
"""How often an n-gram may stand in succession, unless CTC hears it more often."""
SURELY_SILENT = log(0.9)
"""Log-probability of the empty text from which CTC alone decides that nothing is said."""
SEAM = 1
"""Characters kept free for the space that joins a text to its neighbour's."""
NOTHING_SAID = RowResult((), 0.0)


def decode(
    backend: Backend, tokenizer: Tokenizer, utterances: Sequence[Utterance]
) -> list[Decoded]:
    """One answer per utterance, in order; one that cannot be had has an error, and its batch-mates
    go on."""
    answers: dict[int, Decoded] = {}
    for i, utterance in enumerate(utterances):
        try:
            check_request(utterance.request, backend.config)
        except GuidanceError as error:
            answers[i] = Decoded(language=utterance.request.language, hypotheses=(), error=error)
            continue
        if utterance.is_cancelled is not None and utterance.is_cancelled():
            answers[i] = cancelled(known_language(utterance.request, backend.config))
        elif utterance.frames == 0:
            answers[i] = nothing(utterance.request, backend.config)
    left = [i for i in range(len(utterances)) if i not in answers]
    if left:
        batch = encode(backend, tokenizer, [utterances[i] for i in left])
        answers.update(zip(left, decode_batch(batch), strict=True))
    return [answers[i] for i in range(len(utterances))]


def nothing(request: Request, config: ModelConfig) -> Decoded:
    """The answer for an utterance without a single frame."""
    language = known_language(request, config)
    empty = [
        hypothesis(row_guidance(request, task, language, config), "", NOTHING_SAID)
        for task in request.tasks
    ]
    return Decoded(language=language, hypotheses=tuple(empty))


def decode_batch(batch: EncodedBatch) -> list[Decoded]:
    """One answer per utterance of an encoded batch."""
    # The encoder's pass takes a while, in which somebody may have left.
    batch.ask(range(len(batch.utterances)))
    languages = spoken_languages(batch)
    rows, errors = rows_of(batch, languages)
    hypotheses: list[list[Hypothesis]] = [[] for _ in batch.utterances]
    for row, text in zip(rows, write(batch, rows), strict=True):
        hypotheses[row.utterance].append(timed(batch, row, text))
    return [
        cancelled(language)
        if i in batch.cancelled
        else Decoded(
            language=language,
            hypotheses=tuple(hypotheses[i]),
            error=errors[i],
            expert_index=batch.experts(i, batch.utterances[i].request.tasks[0]),
        )
        for i, language in enumerate(languages)
    ]


def spoken_languages(batch: EncodedBatch) -> list[str | None]:
    """The language of each utterance: given, or found by the decoder with the transcribe expert;
    None where the model has no decoder."""
    requests = [utterance.request for utterance in batch.utterances]
    languages = [known_language(request, batch.config) for request in requests]
    unknown = [i for i, known in enumerate(languages) if known is None and i not in batch.cancelled]
    if not unknown or not batch.config.decoder.num_layers:
        return languages
    entries = np.array([batch.entries.find(i, Task.TRANSCRIBE) for i in unknown])
    guidance = [Guidance(bandwidth=requests[i].bandwidth, task=Task.TRANSCRIBE) for i in unknown]
    for i, language in zip(unknown, find_languages(batch, entries, guidance), strict=True):
        languages[i] = language
    return languages


def rows_of(
    batch: EncodedBatch, languages: Sequence[str | None]
) -> tuple[list[DecoderRow], list[GuidanceError | None]]:
    """A row for every task of every utterance; an error where its language cannot be translated
    as asked, so that the other utterances go on."""
    rows: list[DecoderRow] = []
    errors: list[GuidanceError | None] = []
    for i, (utterance, language) in enumerate(zip(batch.utterances, languages, strict=True)):
        request = utterance.request
        if i in batch.cancelled:
            errors.append(None)
            continue
        try:
            guidance = [
                row_guidance(request, task, language, batch.config) for task in request.tasks
            ]
        except GuidanceError as error:
            errors.append(error)
            continue
        errors.append(None)
        for task, known in zip(request.tasks, guidance, strict=True):
            rows.append(DecoderRow(utterance=i, entry=batch.entries.find(i, task), guidance=known))
    return rows, errors


def write(batch: EncodedBatch, rows: Sequence[DecoderRow]) -> list[RowResult]:
    """What is written in each row."""
    texts = [silence(batch, row) for row in rows]
    for beam_size in sorted({batch.utterances[row.utterance].options.beam_size for row in rows}):
        spoken = [
            i
            for i, row in enumerate(rows)
            if texts[i] is None and batch.utterances[row.utterance].options.beam_size == beam_size
        ]
        if spoken:
            chosen = [rows[i] for i in spoken]
            found = capped(batch, chosen, search(batch, chosen, beam_size))
            for i, text in zip(spoken, found, strict=True):
                texts[i] = text
    done = [NOTHING_SAID if text is None else text for text in texts]
    wordless = {
        row.utterance
        for row, text in zip(rows, done, strict=True)
        if row.guidance.task is Task.TRANSCRIBE and not text.tokens
    }
    return [
        NOTHING_SAID if row.utterance in wordless and text.tokens else text
        for row, text in zip(rows, done, strict=True)
    ]


def silence(batch: EncodedBatch, row: DecoderRow) -> RowResult | None:
    """The empty text where CTC is sure of it, so that the decoder has nothing to invent."""
    if batch.paths is None:
        return None
    path = batch.paths[row.entry]
    silent = not path.spikes.tokens and path.log_prob_empty >= SURELY_SILENT
    return RowResult((), path.log_prob_empty, ended=False) if silent else None


def search(batch: EncodedBatch, rows: Sequence[DecoderRow], beam_size: int) -> list[RowResult]:
    """What is written in rows that may hold speech, whichever heads the model has."""
    if batch.config.decoder.num_layers == 0:
        return by_ctc_alone(batch, rows, beam_size)
    limits = limits_of(batch, rows)
    if beam_size == 1:
        found = greedy(batch, rows, limits)
    else:
        found = beam_search(batch, rows, limits, beam_size)
    return joined(batch, rows, limits, found)


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
    prompt = batch.prompts(rows[:1]).shape[1]
    most = batch.config.decoder.max_tokens - prompt
    tokens = np.array([most_tokens(batch.utterances[row.utterance]) for row in rows])
    repeats = np.full(len(rows), REPEATS)
    if batch.paths is not None:
        heard = [most_repeats(batch.paths[row.entry].spikes.tokens) for row in rows]
        repeats = np.maximum(repeats, heard)
    return Limits(np.minimum(tokens, most), repeats)


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
    scored = score_texts(batch, both, texts)
    attention = np.array([text.log_prob for text in scored])
    ctc = scorer.score(np.array([row.entry for row in both]), texts)
    weight = np.array([batch.utterances[row.utterance].options.ctc_weight for row in both])
    joint = ((1 - weight) * attention + weight * ctc).reshape(2, -1)
    result = list(written)
    for place in np.flatnonzero(joint[1] > joint[0]):
        result[disputed[place]] = scored[place + len(disputed)]
    return result


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
        result[i] = replace(text, cut=True)
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


def hypothesis(guidance: Guidance, text: str, written: RowResult) -> Hypothesis:
    """What a row wrote, without times."""
    assert guidance.task is not None
    return Hypothesis(
        task=guidance.task,
        language=guidance.target_language,
        tokens=written.tokens,
        text=text,
        log_prob=written.log_prob,
        ended=written.ended,
        cut=written.cut,
    )


def timed(batch: EncodedBatch, row: DecoderRow, written: RowResult) -> Hypothesis:
    """What a row wrote, with the times that CTC gives; a translation has no word times."""
    tokenizer = batch.tokenizer
    result = hypothesis(row.guidance, tokenizer.decode(written.tokens), written)
    if batch.paths is None or not written.tokens or row.utterance in batch.cancelled:
        return result
    emissions, spikes = batch.emissions(row.entry), batch.paths[row.entry].spikes
    transcript = row.guidance.task is Task.TRANSCRIBE
    log_probs: tuple[float, ...] = ()
    if transcript:
        if written.tokens != spikes.tokens:
            spikes = align(emissions, written.tokens, tokenizer.blank)
        # CTC alone knows no token's probability but that of the frame where it is surest of it.
        log_probs = written.token_log_probs or spikes.peak_log_probs(emissions)
    factor = batch.config.encoder.subsampling_factor
    words = words_of(
        batch.log_mel(row), spikes, factor, tokenizer, log_probs, spaced(result.language)
    )
    if words:
        result = replace(result, start=words[0].start, end=words[-1].end)
    wanted = transcript and batch.utterances[row.utterance].options.word_timestamps
    return replace(result, words=words) if wanted else result
