"""From log-mel frames to hypotheses: one encoder pass, the language found once, and every task of
every utterance decoded in one batch.

Training's validation, the command line and the server all decode through `decode`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from turnout.config import ModelConfig
from turnout.decoding.attention import Written, find_languages
from turnout.decoding.backend import Backend
from turnout.decoding.batch import Batch
from turnout.decoding.ctc import align
from turnout.decoding.plan import Row, check_request, known_language, row_guidance
from turnout.decoding.request import Decoded, DecodingOptions, Hypothesis, Request, Utterance
from turnout.decoding.words import Spikes, speech_span, words_of
from turnout.decoding.write import SILENCE, write_rows
from turnout.errors import GuidanceError
from turnout.guidance import Guidance, Task
from turnout.text.tokenizer import Tokenizer


def decode(
    backend: Backend,
    tokenizer: Tokenizer,
    utterances: Sequence[Utterance],
    options: DecodingOptions,
    cancelled: Callable[[], bool] | None = None,
) -> list[Decoded]:
    """One answer per utterance, in order; `cancelled` is asked at every step.

    Raises GuidanceError for a request that this model can never serve, and Cancelled.
    """
    for utterance in utterances:
        check_request(utterance.request, backend.config)
    heard = [i for i, utterance in enumerate(utterances) if len(utterance.log_mel)]
    answers = {
        i: nothing(utterance.request, backend.config)
        for i, utterance in enumerate(utterances)
        if len(utterance.log_mel) == 0
    }
    if heard:
        chosen = [utterances[i] for i in heard]
        batch = Batch.encode(backend, tokenizer, chosen, options, cancelled)
        answers.update(zip(heard, decode_batch(batch), strict=True))
    return [answers[i] for i in range(len(utterances))]


def decode_batch(batch: Batch) -> list[Decoded]:
    """One answer per utterance of an encoded batch."""
    batch.check()
    languages = spoken_languages(batch)
    rows, errors = rows_of(batch, languages)
    hypotheses: list[list[Hypothesis]] = [[] for _ in batch.utterances]
    for row, written in zip(rows, write_rows(batch, rows), strict=True):
        hypotheses[row.utterance].append(timed(batch, row, written))
    return [
        Decoded(language=language, hypotheses=tuple(found), error=error)
        for language, found, error in zip(languages, hypotheses, errors, strict=True)
    ]


def nothing(request: Request, config: ModelConfig) -> Decoded:
    """The answer for an utterance without a single frame."""
    language = known_language(request, config)
    empty = [
        untimed(row_guidance(request, task, language, config), "", SILENCE)
        for task in request.tasks
    ]
    return Decoded(language=language, hypotheses=tuple(empty))


def spoken_languages(batch: Batch) -> list[str | None]:
    """The language of each utterance: given, or found by the decoder with the transcribe expert;
    None where the model has no decoder."""
    requests = [utterance.request for utterance in batch.utterances]
    languages = [known_language(request, batch.config) for request in requests]
    unknown = [i for i, language in enumerate(languages) if language is None]
    if not unknown or not batch.config.decoder.num_layers:
        return languages
    entries = np.array([batch.entries.find(i, Task.TRANSCRIBE) for i in unknown])
    guidance = [Guidance(bandwidth=requests[i].bandwidth, task=Task.TRANSCRIBE) for i in unknown]
    for i, language in zip(unknown, find_languages(batch, entries, guidance), strict=True):
        languages[i] = language
    return languages


def rows_of(
    batch: Batch, languages: Sequence[str | None]
) -> tuple[list[Row], list[GuidanceError | None]]:
    """A row for every task of every utterance; an error where its language cannot be translated
    as asked, so that the other utterances go on."""
    rows: list[Row] = []
    errors: list[GuidanceError | None] = []
    for i, (utterance, language) in enumerate(zip(batch.utterances, languages, strict=True)):
        request = utterance.request
        try:
            guidance = [
                row_guidance(request, task, language, batch.config) for task in request.tasks
            ]
        except GuidanceError as error:
            errors.append(error)
            continue
        errors.append(None)
        for task, known in zip(request.tasks, guidance, strict=True):
            rows.append(Row(utterance=i, entry=batch.entries.find(i, task), guidance=known))
    return rows, errors


def untimed(guidance: Guidance, text: str, written: Written) -> Hypothesis:
    """What a row wrote, without times."""
    assert guidance.task is not None
    return Hypothesis(
        task=guidance.task,
        language=guidance.target_language,
        tokens=written.tokens,
        text=text,
        log_prob=written.log_prob,
    )


def timed(batch: Batch, row: Row, written: Written) -> Hypothesis:
    """What a row wrote, with the times that CTC gives; a translation has no word times."""
    tokenizer = batch.tokenizer
    result = untimed(row.guidance, tokenizer.decode(written.tokens), written)
    if batch.paths is None or not written.tokens:
        return result
    log_mel = batch.utterances[row.utterance].log_mel
    factor = batch.config.encoder.subsampling_factor
    path = batch.paths[row.entry]
    spikes = Spikes(path.tokens, path.first, path.last)
    transcript = row.guidance.task is Task.TRANSCRIBE
    if transcript and written.tokens != path.tokens:
        found = align(batch.emissions(row.entry), written.tokens, tokenizer.blank)
        spikes = Spikes(written.tokens, *found)
    if transcript and batch.options.word_timestamps:
        result = replace(result, words=words_of(log_mel, spikes, factor, tokenizer))
    start, end = speech_span(log_mel, spikes, factor, tokenizer) or (None, None)
    return replace(result, start=start, end=end)
