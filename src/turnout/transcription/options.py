"""Transcription options before a model: whether it can ever serve them, and each stretch's request.

What an option is, and what it may be by itself, stands in `config/transcription.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from turnout.config import ModelConfig, TranscriptionOptions
from turnout.config.plain import nearest
from turnout.config.transcription import AUTO
from turnout.decoding.plan import check_request, check_translation
from turnout.decoding.request import DecodingOptions, Request
from turnout.errors import UsageError, shown
from turnout.guidance import Bandwidth, Task

DEFAULTS = TranscriptionOptions()


def options_of(
    options: TranscriptionOptions | None, changes: Mapping[str, Any]
) -> TranscriptionOptions:
    """The options with these keyword arguments in place of their own; the defaults for None.

    Raises UsageError for a name that none of them has, and ConfigError for a bad value.
    """
    known = {field.name: field for field in fields(TranscriptionOptions)}
    for name in changes:
        if name not in known:
            raise UsageError(f"unknown option {shown(name)}{nearest(name, known)}")
    return replace(options or DEFAULTS, **changes)


def options_for_model(options: TranscriptionOptions, config: ModelConfig) -> TranscriptionOptions:
    """The same with languages spelled as this model spells them.

    Raises GuidanceError where it can never do what is asked.
    """
    vocabulary = config.vocabulary
    options = replace(
        options,
        language=spelled(options.language, (AUTO, *vocabulary.languages)),
        target_language=spelled(options.target_language, vocabulary.all_languages),
    )
    request = request_of(options, Bandwidth.WIDEBAND, options.stated_language)
    check_request(request, config)
    if options.target_language is not None and Task.TRANSLATE not in options.tasks:
        check_translation(replace(request, language=None), config)
    return options


def request_of(
    options: TranscriptionOptions, bandwidth: Bandwidth, language: str | None
) -> Request:
    """The request of a stretch, with what has been found since."""
    return Request(
        tasks=options.tasks,
        bandwidth=bandwidth,
        language=language,
        target_language=options.target_language,
    )


def decoding_of(options: TranscriptionOptions) -> DecodingOptions:
    """How hypotheses are searched for."""
    return DecodingOptions(beam_size=options.beam_size, word_timestamps=options.word_timestamps)


def spelled(language: str | None, known: Sequence[str]) -> str | None:
    """The one known language that differs from this one in capitals alone, if any."""
    if language is None or language in known:
        return language
    same = [name for name in known if name.casefold() == language.casefold()]
    return same[0] if len(same) == 1 else language
