"""From log-mel frames to hypotheses: one encoder pass, the language found once, and every task of
every utterance decoded together, each utterance as it was asked for.

Robust on short and noisy utterances by four rules. CTC alone decides that nothing was said where
it is sure of it. A transcript is the better, under both heads joined, of what the decoder's search
found and CTC's best path. Rows are bounded by the length of the audio, in tokens and in characters,
and stop at an n-gram that repeats itself more often than CTC hears; a text that was cut says so. A
translation of an empty transcript is empty.

Training's validation, the command line and the server all decode through `decode`.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from turnout.config import ModelConfig
from turnout.decoding.alignment import Spikes, align
from turnout.decoding.backend import Backend
from turnout.decoding.encoded_batch import (
    NOTHING_SAID,
    DecoderRow,
    EncodedBatch,
    RowResult,
    encode,
)
from turnout.decoding.fallback import attempts
from turnout.decoding.greedy import find_languages
from turnout.decoding.requests import (
    Decoded,
    Hypothesis,
    Request,
    Utterance,
    cancelled,
    check_request,
    compression_ratio,
    known_language,
    row_guidance,
)
from turnout.decoding.reread import Followed, attended, decoder_routing
from turnout.decoding.search import search, silence
from turnout.decoding.words import attended_words, words_of
from turnout.errors import GuidanceError, ModelFolderError
from turnout.guidance import Guidance, Task
from turnout.text.spacing import spaced
from turnout.text.tokenizer import Tokenizer


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
        found = decode_all(backend, tokenizer, [utterances[i] for i in left])
        answers.update(zip(left, found, strict=True))
    return [answers[i] for i in range(len(utterances))]


def decode_all(
    backend: Backend, tokenizer: Tokenizer, utterances: Sequence[Utterance]
) -> list[Decoded]:
    """One answer per utterance that has a frame at least. Where a path cannot be opened, each is
    decoded alone, and those of other paths go on."""
    try:
        return decode_batch(encode(backend, tokenizer, utterances))
    except ModelFolderError as error:
        if len(utterances) == 1:
            language = utterances[0].request.language
            return [Decoded(language=language, hypotheses=(), error=error)]
    return [one for each in utterances for one in decode_all(backend, tokenizer, [each])]


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
    languages, probabilities = spoken_languages(batch)
    anew = decoded_anew(batch, languages, probabilities)
    rows, errors = rows_of(batch, languages, anew)
    hypotheses: list[list[Hypothesis]] = [[] for _ in batch.utterances]
    texts = write(batch, rows)
    options = [utterance.options for utterance in batch.utterances]
    timed_words = any(one.word_timestamps for one in options)
    followed = attended(batch, rows, texts) if timed_words or batch.whispers else {}
    telling = any(one.decoder_routing for one in options)
    chosen = decoder_routing(batch, rows, texts) if telling else {}
    for i, (row, text) in enumerate(zip(rows, texts, strict=True)):
        told = timed(batch, row, text, followed.get(i))
        hypotheses[row.utterance].append(replace(told, router_probabilities=chosen.get(i)))
    return [
        anew[i]
        if i in anew
        else cancelled(language)
        if i in batch.cancelled
        else Decoded(
            language=language,
            hypotheses=tuple(hypotheses[i]),
            language_probability=probabilities.get(i),
            error=errors[i],
            expert_index=batch.experts(i, batch.utterances[i].request.tasks[0]),
            router_probabilities=batch.router_probabilities(
                i, batch.utterances[i].request.tasks[0]
            ),
        )
        for i, language in enumerate(languages)
    ]


def spoken_languages(batch: EncodedBatch) -> tuple[list[str | None], dict[int, float]]:
    """The language of each utterance: given, or found by the decoder with the transcribe expert,
    None where the model has no decoder; and how probable those are that were found."""
    requests = [utterance.request for utterance in batch.utterances]
    languages = [known_language(request, batch.config) for request in requests]
    unknown = [i for i, known in enumerate(languages) if known is None and i not in batch.cancelled]
    if not unknown or not batch.config.decoder.num_layers:
        return languages, {}
    entries = np.array([batch.entries.find(i, Task.TRANSCRIBE) for i in unknown])
    guidance = [row_guidance(requests[i], Task.TRANSCRIBE, None, batch.config) for i in unknown]
    found = find_languages(batch, entries, guidance)
    for i, (language, _) in zip(unknown, found, strict=True):
        languages[i] = language
    return languages, {i: share for i, (_, share) in zip(unknown, found, strict=True)}


def decoded_anew(
    batch: EncodedBatch, languages: Sequence[str | None], probabilities: Mapping[int, float]
) -> dict[int, Decoded]:
    """The answers of those utterances whose language, found on the base's path, has experts of its
    own in the encoder: they are encoded once more, on their own path."""
    elsewhere = on_other_paths(batch, languages)
    known = [
        replace(utterance, request=replace(utterance.request, language=languages[i]))
        for i, utterance in enumerate(batch.utterances)
        if i in elsewhere
    ]
    answers = zip(elsewhere, decode(batch.backend, batch.tokenizer, known), strict=True)
    return {i: replace(one, language_probability=probabilities.get(i)) for i, one in answers}


def on_other_paths(batch: EncodedBatch, languages: Sequence[str | None]) -> list[int]:
    """The utterances that the encoder has another expert for, now that their language is found."""
    experts = batch.config.expert_map(batch.config.encoder.routing)
    found: dict[int, None] = {}
    for i, before in zip(batch.entries.utterances, batch.entries.guidance, strict=True):
        language, task = languages[i], before.task
        if before.language is not None or language is None or task is None:
            continue
        try:
            now = row_guidance(batch.utterances[i].request, task, language, batch.config)
        except GuidanceError:  # `rows_of` says so
            continue
        if experts.index(now) != experts.index(before):
            found[i] = None
    return list(found)


def rows_of(
    batch: EncodedBatch, languages: Sequence[str | None], without: Container[int]
) -> tuple[list[DecoderRow], list[GuidanceError | None]]:
    """A row for every task of every utterance but those `without`; an error where its language
    cannot be translated as asked, so that the other utterances go on."""
    rows: list[DecoderRow] = []
    errors: list[GuidanceError | None] = []
    for i, (utterance, language) in enumerate(zip(batch.utterances, languages, strict=True)):
        request = utterance.request
        if i in batch.cancelled or i in without:
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
    done = attempts(batch, rows) if batch.whispers else guarded(batch, rows)
    wordless = {
        row.utterance
        for row, text in zip(rows, done, strict=True)
        if row.guidance.task is Task.TRANSCRIBE and not text.tokens
    }
    return [
        NOTHING_SAID if row.utterance in wordless and text.tokens else text
        for row, text in zip(rows, done, strict=True)
    ]


def guarded(batch: EncodedBatch, rows: Sequence[DecoderRow]) -> list[RowResult]:
    """What is written in each row in a single attempt: nothing, where CTC is sure of silence."""
    texts = [silence(batch, row) for row in rows]
    for beam_size in sorted({batch.utterances[row.utterance].options.beam_size for row in rows}):
        spoken = [
            i
            for i, row in enumerate(rows)
            if texts[i] is None and batch.utterances[row.utterance].options.beam_size == beam_size
        ]
        if spoken:
            found = search(batch, [rows[i] for i in spoken], beam_size)
            for i, text in zip(spoken, found, strict=True):
                texts[i] = text
    return [NOTHING_SAID if text is None else text for text in texts]


def hypothesis(guidance: Guidance, text: str, written: RowResult) -> Hypothesis:
    """What a row wrote, without times."""
    assert guidance.task is not None
    return Hypothesis(
        task=guidance.task,
        language=guidance.target_language,
        tokens=written.tokens,
        text=text,
        log_prob=written.log_prob,
        token_log_probs=written.token_log_probs,
        ended=written.ended,
        cut=written.cut,
        failed=written.failed,
        temperature=written.temperature,
        compression_ratio=None if written.temperature is None else compression_ratio(text),
        no_speech_prob=written.no_speech_prob,
    )


def timed(
    batch: EncodedBatch, row: DecoderRow, written: RowResult, followed: Followed | None
) -> Hypothesis:
    """What a row wrote, with the times that CTC gives, or what the decoder `followed`; a
    translation has no word times."""
    tokenizer = batch.tokenizer
    result = hypothesis(row.guidance, tokenizer.decode(written.tokens), written)
    factor = batch.config.encoder.subsampling_factor
    if followed is not None:
        result = replace(result, heard_until=followed.until, unheard=followed.unheard)
    if followed is not None and followed.spans is not None:
        words = attended_words(
            batch.log_mel(row),
            followed.spans,
            factor,
            tokenizer,
            written.token_log_probs,
            spaced(result.language),
        )
        bounds = {"start": words[0].start, "end": words[-1].end} if words else {}
        return replace(result, words=words, token_frames=frames_of(followed.spans), **bounds)
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
        result = replace(result, token_log_probs=log_probs)
    words = words_of(
        batch.log_mel(row), spikes, factor, tokenizer, log_probs, spaced(result.language)
    )
    if words:
        result = replace(result, start=words[0].start, end=words[-1].end)
    wanted = transcript and batch.utterances[row.utterance].options.word_timestamps
    return replace(result, words=words, token_frames=frames_of(spikes)) if wanted else result


def frames_of(spikes: Spikes) -> NDArray[np.int64]:
    """[2, tokens]: first and last frame of each."""
    return np.stack((spikes.first, spikes.last))
