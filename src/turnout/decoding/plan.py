"""Requests -> what is encoded and which decoder rows are decoded; every impossible wish is refused
here, with the choices named. No numbers of any model here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from turnout.config import ModelConfig, RoutingConfig
from turnout.decoding.request import Request
from turnout.errors import GuidanceError
from turnout.guidance import Guidance, Guide, Task


@dataclass(frozen=True, kw_only=True)
class Row:
    """One decoder row: one task of one utterance."""

    utterance: int
    """Position among the utterances that are decoded."""
    entry: int
    """Position in the encoded batch."""
    guidance: Guidance
    """The whole request of this row; its language is known."""


@dataclass(frozen=True)
class Entries:
    """What the encoder is given: one entry per utterance, or one per task where the task or the
    target language chooses the encoder's experts."""

    utterances: tuple[int, ...]
    guidance: tuple[Guidance, ...]

    def find(self, utterance: int, task: Task) -> int:
        """The entry that serves this task of this utterance."""
        served = [i for i, position in enumerate(self.utterances) if position == utterance]
        exact = (i for i in served if self.guidance[i].task is task)
        return next(exact, served[0])


def guides_of(routing: RoutingConfig) -> frozenset[Guide]:
    """What this stack's experts are chosen by."""
    return frozenset(routing.guided_by if routing.guided else ())


def check_request(request: Request, config: ModelConfig) -> None:
    """Raise GuidanceError where this model can never do what is asked, whatever is spoken."""
    vocabulary = config.vocabulary
    if not request.tasks:
        raise GuidanceError(f"no task was given: choose from {', '.join(Task)}")
    if request.language is not None and request.language not in vocabulary.languages:
        raise GuidanceError(
            f"the language '{request.language}' is unknown to this model: choose one of "
            f"{', '.join(vocabulary.languages)}, or leave it out"
        )
    if Task.TRANSLATE in request.tasks:
        check_translation(request, config)
    if request.language is None:
        check_findable(config)


def check_translation(request: Request, config: ModelConfig) -> None:
    """Raise GuidanceError where no translation can come of this request."""
    if config.decoder.num_layers == 0 or not config.vocabulary.translations:
        raise GuidanceError("this model does not translate: the only task is transcribe")
    if request.language is not None:
        target_of(request, request.language, config)
        return
    targets = dict.fromkeys(target for _, target in config.vocabulary.translations)
    if request.target_language is not None and request.target_language not in targets:
        raise GuidanceError(
            f"this model does not translate to '{request.target_language}': "
            f"choose one of {', '.join(targets)}"
        )


def check_findable(config: ModelConfig) -> None:
    """Raise GuidanceError where the language must be said, since it chooses experts that would
    have to run before it is found."""
    guides = guides_of(config.encoder.routing)
    if config.decoder.num_layers:
        guides |= guides_of(config.decoder.routing)
    if len(config.vocabulary.languages) > 1 and guides & {Guide.LANGUAGE, Guide.TARGET_LANGUAGE}:
        raise GuidanceError(
            "the spoken language selects this model's experts and was not given: choose one of "
            f"{', '.join(config.vocabulary.languages)}"
        )


def target_of(request: Request, language: str, config: ModelConfig) -> str:
    """The language to translate to: the one asked for, or the only one there is.

    Raises GuidanceError, naming the choices.
    """
    targets = config.vocabulary.targets_of(language)
    if not targets:
        pairs = ", ".join(f"{a} to {b}" for a, b in config.vocabulary.translations)
        raise GuidanceError(f"this model does not translate from '{language}', only {pairs}")
    if request.target_language is None and len(targets) > 1:
        raise GuidanceError(
            f"this model translates '{language}' to several languages and no target language "
            f"was given: choose one of {', '.join(targets)}"
        )
    if request.target_language is None:
        return next(iter(targets))
    if request.target_language not in targets:
        raise GuidanceError(
            f"this model does not translate '{language}' to '{request.target_language}': "
            f"choose one of {', '.join(targets)}"
        )
    return request.target_language


def row_guidance(
    request: Request, task: Task, language: str | None, config: ModelConfig
) -> Guidance:
    """All that is known of one task of a request; a transcript's target is what is spoken."""
    target = language
    if task is Task.TRANSLATE and language is not None:
        target = target_of(request, language, config)
    return Guidance(
        bandwidth=request.bandwidth, task=task, language=language, target_language=target
    )


def known_language(request: Request, config: ModelConfig) -> str | None:
    """The language that was given, or the decoder's only one; None where it is to be found."""
    languages = config.vocabulary.languages
    if request.language is None and config.decoder.num_layers and len(languages) == 1:
        return languages[0]
    return request.language


def plan_entries(requests: Sequence[Request], config: ModelConfig) -> Entries:
    """What to encode."""
    per_task = guides_of(config.encoder.routing) & {Guide.TASK, Guide.TARGET_LANGUAGE}
    utterances: list[int] = []
    guidance: list[Guidance] = []
    for position, request in enumerate(requests):
        language = known_language(request, config)
        tasks = request.tasks if per_task else request.tasks[:1]
        if per_task and language is None and config.decoder.num_layers:
            tasks = tuple(dict.fromkeys((*tasks, Task.TRANSCRIBE)))  # finds the language
        for task in tasks:
            utterances.append(position)
            guidance.append(row_guidance(request, task, language, config))
    return Entries(tuple(utterances), tuple(guidance))
