from dataclasses import replace

import pytest

from tests.doubles import CTC_ONLY, model_config
from turnout.config import EncoderConfig, ModelConfig, RoutingConfig, VocabularyConfig
from turnout.decoding.encoded_batch import plan_entries
from turnout.decoding.requests import Request, check_request, row_guidance, target_of
from turnout.errors import GuidanceError
from turnout.guidance import Bandwidth, Guide, Task

TRANSLATE = (Task.TRANSLATE,)
BOTH = (Task.TRANSCRIBE, Task.TRANSLATE)
MANY = replace(
    model_config(),
    vocabulary=VocabularyConfig(
        languages=("ar", "en", "sv"), translations=(("ar", "en"), ("en", "de"), ("en", "fr"))
    ),
)


def guided_encoder(*guides: Guide) -> ModelConfig:
    routing = RoutingConfig(kind="supervised", guided_by=guides)
    return model_config(encoder=EncoderConfig(routing=routing))


@pytest.mark.parametrize(
    ("request_", "config", "message"),
    [
        (Request(tasks=()), MANY, "no task was given: choose from transcribe, translate"),
        (Request(language="xx"), MANY, "language 'xx' is unknown .* one of ar, en, sv, or leave"),
        (Request(tasks=TRANSLATE), model_config(decoder=CTC_ONLY), "does not translate: the only"),
        (Request(tasks=TRANSLATE, language="sv"), MANY, "from 'sv', only ar to en, en to de, en"),
        (Request(tasks=TRANSLATE, language="en"), MANY, "target language was given: .* de, fr"),
        (Request(tasks=BOTH, language="en", target_language="ar"), MANY, "'ar': choose .* de, fr"),
        (Request(tasks=TRANSLATE, target_language="sv"), MANY, "to 'sv': choose .* en, de, fr"),
        (Request(), guided_encoder(Guide.LANGUAGE), "was not given: choose one of ar, en"),
        (Request(), guided_encoder(Guide.BANDWIDTH, Guide.TARGET_LANGUAGE), "choose one of ar, en"),
    ],
)
def test_the_impossible_is_refused_with_choices(
    request_: Request, config: ModelConfig, message: str
) -> None:
    with pytest.raises(GuidanceError, match=message) as caught:
        check_request(request_, config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "config"),
    [
        (Request(), MANY),
        (Request(tasks=BOTH), MANY),  # what is spoken may have one target
        (Request(tasks=BOTH, language="en", target_language="fr"), MANY),
        (Request(tasks=BOTH, language="ar"), MANY),
        (Request(target_language="xx"), MANY),  # nothing is translated
        (Request(language="en"), guided_encoder(Guide.LANGUAGE)),
        (Request(), guided_encoder(Guide.BANDWIDTH)),
        (Request(), model_config(decoder=CTC_ONLY)),
    ],
)
def test_the_possible_is_taken(request_: Request, config: ModelConfig) -> None:
    check_request(request_, config)


def test_the_only_target_is_the_default() -> None:
    assert target_of(Request(), "ar", MANY) == "en"
    assert target_of(Request(target_language="fr"), "en", MANY) == "fr"


def test_row_guidance_targets_what_is_spoken_when_transcribing() -> None:
    request = Request(tasks=BOTH, bandwidth=Bandwidth.NARROWBAND, target_language="fr")
    transcript, translation = (row_guidance(request, task, "en", MANY) for task in BOTH)
    assert (transcript.language, transcript.target_language) == ("en", "en")
    assert (translation.language, translation.target_language) == ("en", "fr")
    assert transcript.bandwidth is translation.bandwidth is Bandwidth.NARROWBAND


def test_one_entry_serves_all_tasks() -> None:
    entries = plan_entries([Request(tasks=BOTH), Request()], model_config())
    assert entries.utterances == (0, 1)
    assert entries.find(0, Task.TRANSLATE) == entries.find(0, Task.TRANSCRIBE) == 0


def test_an_encoder_guided_by_task_gets_an_entry_per_task() -> None:
    config = guided_encoder(Guide.TASK)
    entries = plan_entries([Request(tasks=TRANSLATE), Request(tasks=BOTH, language="en")], config)
    assert entries.utterances == (0, 0, 1, 1)
    tasks = [guidance.task for guidance in entries.guidance]
    # The first has no transcript to write, but its language is found by the transcribe expert.
    assert tasks == [Task.TRANSLATE, Task.TRANSCRIBE, Task.TRANSCRIBE, Task.TRANSLATE]
    assert entries.find(1, Task.TRANSLATE) == 3
