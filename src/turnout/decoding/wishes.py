"""Options of a transcription -> what is asked of a model, in the model's own spelling."""

from collections.abc import Sequence
from dataclasses import replace

from turnout.config import ModelConfig, TranscriptionOptions
from turnout.config.transcription import AUTO
from turnout.decoding.requests import Request, check_request, check_translation
from turnout.errors import GuidanceError
from turnout.guidance import Bandwidth, Task, Window
from turnout.text.languages import CODES


def options_for_model(options: TranscriptionOptions, config: ModelConfig) -> TranscriptionOptions:
    """The same with languages spelled as this model spells them.

    Raises GuidanceError where it can never do what is asked.
    """
    if options.window == Window.SPEECH and config.features.padding != "window":
        raise GuidanceError(
            f"the window is '{options.window}', and this model hears every segment as long as it "
            "is: leave it out"
        )
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


def spelled(language: str | None, known: Sequence[str]) -> str | None:
    """The one known language that differs from this one in capitals alone, or whose English name
    this is, if any."""
    if language is None or language in known:
        return language
    wanted = language.casefold()
    same = [code for code in known if code.casefold() in (wanted, CODES.get(wanted))]
    return same[0] if len(same) == 1 else language


def request_of(
    options: TranscriptionOptions,
    bandwidth: Bandwidth,
    language: str | None,
    previous: tuple[tuple[int, ...], ...] = (),
) -> Request:
    """What these options want of an utterance, with what has been found of it."""
    return Request(
        tasks=options.tasks,
        bandwidth=bandwidth,
        language=language,
        target_language=options.target_language,
        domain=options.domain,
        window=Window(options.window),
        initial_prompt=options.initial_prompt,
        previous=previous,
    )
