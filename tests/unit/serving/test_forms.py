from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.config.serving import ServingConfig
from turnout.guidance import Task
from turnout.serving.errors import Refused
from turnout.serving.forms import FORMATS, NOT_TAKEN, SEVERAL, SINGLE, Asked, asked_of, check_model
from turnout.serving.models import ModelFacts, ServedModel

CONFIG = ServingConfig(max_duration=77, batch_size=3)


def asked(*pairs, endpoint=Task.TRANSCRIBE):
    return asked_of(pairs, endpoint, CONFIG)


def refused(*pairs, endpoint=Task.TRANSCRIBE):
    with pytest.raises(Refused) as found:
        asked(*pairs, endpoint=endpoint)
    assert 400 <= found.value.status < 500
    return found.value


def test_without_fields_it_is_a_transcript_in_json_by_the_default_model():
    found = asked()
    assert found == Asked(model=None, options=found.options)
    assert found.options.task == "transcribe"
    assert found.options.language == "auto"
    assert found.options.max_duration == 77
    assert found.options.batch_size == 3


def test_the_other_endpoint_translates():
    assert asked(endpoint=Task.TRANSLATE).options.task == "translate"


def test_every_field_reaches_what_it_is_for():
    found = asked(
        ("model", "whisper-base"),
        ("language", "ar"),
        ("to_language", "en"),
        ("bandwidth", "narrowband"),
        ("domain", "calls"),
        ("task", "both"),
        ("prompt", "Names: Ada."),
        ("response_format", "verbose_json"),
        ("temperature", "0.25"),
        ("stream", "true"),
        ("chunking_strategy", "auto"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
    )
    assert found.model == "whisper-base"
    assert (found.options.language, found.options.target_language) == ("ar", "en")
    assert (found.options.bandwidth, found.options.domain) == ("narrowband", "calls")
    assert found.options.task == "both"
    assert found.options.initial_prompt == "Names: Ada."
    assert found.options.temperature == 0.25
    assert found.options.word_timestamps
    assert (found.format, found.stream) == ("verbose_json", True)
    assert (found.segments, found.words, found.logprobs) == (True, True, False)
    assert asked(("include[]", "logprobs")).logprobs


def test_every_field_that_is_taken_is_in_the_test_above():
    # `include` and the others in brackets count by their names.
    names = {
        "model",
        "language",
        "to_language",
        "bandwidth",
        "task",
        "prompt",
        "response_format",
        "temperature",
        "stream",
        "chunking_strategy",
        "domain",
        "timestamp_granularities",
        "include",
    }
    assert names == {*SINGLE, *SEVERAL}


def test_an_empty_field_is_one_that_is_left_out():
    assert asked(("language", ""), ("prompt", ""), ("model", ""), ("stream", "")) == asked()


@pytest.mark.parametrize("name", NOT_TAKEN)
@pytest.mark.parametrize("bracket", ["", "[]"])
def test_what_openai_takes_and_no_model_here_can_is_refused_by_name(name, bracket):
    found = refused((name + bracket, "x"))
    assert found.param == name
    assert found.message.startswith(f"{name} is not supported: ")
    assert found.code == "unsupported_parameter"


@pytest.mark.parametrize(
    ("pair", "param", "message"),
    [
        (("response_format", "diarized_json"), "response_format",
         "response_format is diarized_json, and no model here tells speakers apart: choose one of "
         "json, text, srt, verbose_json, vtt"),
        (("response_format", "xml"), "response_format",
         "response_format is 'xml': choose one of json, text, srt, verbose_json, vtt"),
        (("chunking_strategy[type]", "server_vad"), "chunking_strategy",
         "chunking_strategy: recordings are always cut where nobody speaks, and how is not to be "
         "set: leave it out, or give auto"),
        (("chunking_strategy", '{"type": "server_vad"}'), "chunking_strategy",
         "chunking_strategy: recordings are always cut where nobody speaks, and how is not to be "
         "set: leave it out, or give auto"),
        (("timestamp_granularities[]", "letter"), "timestamp_granularities",
         "timestamp_granularities is 'letter': choose one of word, segment"),
        (("include[]", "speakers"), "include",
         "include is 'speakers': choose one of logprobs"),
        (("stream", "yes"), "stream", "stream is 'yes': choose one of true, false"),
        (("bandwidth", "wide"), "bandwidth",
         "bandwidth is 'wide': choose one of auto, narrowband, wideband"),
        (("task", "sing"), "task", "task is 'sing': choose one of transcribe, translate, both"),
        (("language", "English please"), "language",
         "language is 'English please': a code such as en is wanted"),
        (("languge", "en"), None,
         "unknown field 'languge': did you mean 'language'?"),
        (("best_of", "5"), None,
         "unknown field 'best_of': the keys here are file, model, language, to_language, "
         "bandwidth, task, prompt, response_format, temperature, stream, chunking_strategy, "
         "domain, timestamp_granularities, include"),
    ],
)  # fmt: skip
def test_bad_values_are_refused_in_one_line(pair, param, message):
    found = refused(pair)
    assert (found.param, found.message) == (param, message)


@pytest.mark.parametrize(
    "value", ["nan", "inf", "-inf", "1e999", "-1", "1.01", "-0.0001", "warm", "0x1", "[]", "None"]
)
def test_a_temperature_is_a_number_from_0_to_1(value):
    found = refused(("temperature", value))
    assert found.param == "temperature"
    assert found.message == f"temperature is '{value}': a number from 0 to 1 is wanted"


@pytest.mark.parametrize("name", SINGLE)
def test_a_field_given_twice_is_refused(name):
    found = refused((name, ""), (name, ""))
    assert found.param == name
    assert found.message == f"{name} is given 2 times: give it once"


@pytest.mark.parametrize(
    ("pairs", "param", "message"),
    [
        ([("timestamp_granularities[]", "word")], "timestamp_granularities",
         "response_format is json, and timestamp_granularities needs verbose_json"),
        ([("include[]", "logprobs"), ("response_format", "text")], "include",
         "response_format is text, and include[]=logprobs needs json"),
        ([("stream", "true"), ("response_format", "srt")], "stream",
         "response_format is srt, and stream needs json, text, verbose_json"),
        ([("task", "both"), ("response_format", "text")], "task",
         "response_format is text, and task=both, of which two texts come, needs json or "
         "verbose_json"),
        ([("to_language", "en")], "to_language",
         "to_language is of a translation, and the task is transcribe: give task=translate or "
         "task=both, or leave it out"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(pairs, param, message):
    found = refused(*pairs)
    assert (found.param, found.message) == (param, message)


@pytest.mark.parametrize("task", ["transcribe", "both"])
def test_translations_only_translate(task):
    assert refused(("task", task), endpoint=Task.TRANSLATE).param == "task"


@given(st.lists(st.tuples(st.sampled_from([*SINGLE, *SEVERAL, "x"]), st.text())))
def test_any_form_is_understood_or_refused_in_one_line(pairs):
    try:
        found = asked(*pairs)
    except Refused as error:
        assert error.message.isprintable()
        assert error.message
        assert len(error.message) < 500
    else:
        assert found.format in FORMATS


FACTS = ModelFacts(
    tasks=("transcribe",), languages=("en",), translations=(), bandwidths=(), domains=(),
    adapters=(), word_timestamps=True, prompts=True, attempts=True, encoder=None, decoder=None,
    memory_bytes=1,
)  # fmt: skip


def served(**facts):
    return ServedModel(
        name="m", aliases=(), is_default=True, is_loaded=True, created=1,
        facts=replace(FACTS, **facts),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fact", "pairs", "param"),
    [
        ("prompts", [("prompt", "Ada")], "prompt"),
        ("attempts", [("temperature", "0.5")], "temperature"),
        ("word_timestamps",
         [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")],
         "timestamp_granularities"),
    ],
)  # fmt: skip
def test_what_a_model_would_pass_over_is_refused(fact, pairs, param):
    found = asked(*pairs)
    check_model(found, served())
    check_model(found, replace(served(), facts=None))
    with pytest.raises(Refused) as error:
        check_model(found, served(**{fact: False}))
    assert error.value.param == param
    assert error.value.message.startswith(f"{param}: the model m ")
