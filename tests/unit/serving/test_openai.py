"""The server as OpenAI's own Python client sees it, with the embedded model and real speech."""

import re

import openai
import pytest
from openai import OpenAI
from openai.types.audio import (
    Transcription,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionVerbose,
    Translation,
    TranslationVerbose,
)

import turnout
from tests.served import ARABIC, ENGLISH, ROOT, Served, served

KEY = "a-key-of-the-tests"
MODEL = turnout.load(threads=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("uploads"), api_keys=(KEY,)) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Served):
    with OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as found:
        yield found


def of_english(**options):
    return MODEL.transcribe(ENGLISH, **options)


def test_the_lines_of_the_readme(server, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "README.md").read_text("utf-8")
    (lines,) = re.findall(r"```python\n(from pathlib .*?)```", text, re.DOTALL)
    here = lines.replace("http://127.0.0.1:8000", server.url).replace('"none"', repr(KEY))
    exec(compile(here, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip() == of_english().text


def test_json_is_a_transcription_with_its_usage(client):
    answer = client.audio.transcriptions.create(model="commands", file=ENGLISH)
    assert isinstance(answer, Transcription)
    expected = of_english()
    assert answer.text == expected.text
    assert answer.usage is not None
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == round(expected.duration_seconds, 3)
    assert answer.logprobs is None


@pytest.mark.parametrize(("kind", "render"), [("srt", "srt"), ("vtt", "vtt")])
def test_subtitles_are_what_the_command_line_writes(client, kind, render):
    from turnout.text.writers import render as rendered

    answer = client.audio.transcriptions.create(
        model="whisper-1", file=ENGLISH, response_format=kind
    )
    assert answer == rendered(of_english(), render)
    assert "-->" in answer


def test_text_is_the_text_and_a_line_end(client):
    answer = client.audio.transcriptions.create(
        model="whisper-1", file=ENGLISH, response_format="text"
    )
    assert answer == of_english().text + "\n"


def test_verbose_json_has_every_field_of_the_clients_types(client):
    answer = client.audio.transcriptions.create(
        model="whisper-1",
        file=ENGLISH,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert isinstance(answer, TranscriptionVerbose)
    # With validation: the client's own way of making it takes anything.
    TranscriptionVerbose.model_validate(answer.model_dump())
    expected = of_english(word_timestamps=True)
    assert answer.text == expected.text
    assert answer.language == "en"
    assert answer.duration == expected.duration_seconds
    assert [(one.start, one.end, one.text) for one in answer.segments or ()] == [
        (one.start, one.end, one.text) for one in expected.segments
    ]
    assert [one.tokens for one in answer.segments or ()] == [
        list(one.tokens) for one in expected.segments
    ]
    said = [word for segment in expected.segments for word in segment.words]
    assert [(word.word, word.start, word.end) for word in answer.words or ()] == [
        (word.word, word.start, word.end) for word in said
    ]
    assert " ".join(word.word for word in answer.words or ()) == expected.text


@pytest.mark.parametrize(
    ("asked", "segments", "words"),
    [([], True, False), (["segment"], True, False), (["word"], False, True)],
)
def test_granularities_say_which_times_come(client, asked, segments, words):
    more = {"timestamp_granularities": asked} if asked else {}
    answer = client.audio.transcriptions.create(
        model="whisper-1", file=ENGLISH, response_format="verbose_json", **more
    )
    assert (answer.segments is not None, answer.words is not None) == (segments, words)


def test_logprobs_spell_the_text_and_sum_to_the_segments(client):
    answer = client.audio.transcriptions.create(
        model="whisper-1", file=ENGLISH, include=["logprobs"]
    )
    assert answer.logprobs
    spelled = b"".join(bytes(map(int, one.bytes or ())) for one in answer.logprobs)
    assert spelled.decode().strip() == answer.text
    assert all(one.logprob is not None and one.logprob <= 0 for one in answer.logprobs)
    assert "".join(one.token or "" for one in answer.logprobs).strip() == answer.text


def test_a_stream_has_deltas_that_are_the_text_and_one_end(client):
    stream = client.audio.transcriptions.create(
        model="whisper-1", file=ENGLISH, stream=True, include=["logprobs"]
    )
    *deltas, end = list(stream)
    assert all(isinstance(event, TranscriptionTextDeltaEvent) for event in deltas)
    assert all(event.logprobs for event in deltas)
    assert isinstance(end, TranscriptionTextDoneEvent)
    assert "".join(event.delta for event in deltas) == end.text == of_english().text
    assert end.usage is not None
    assert end.usage.type == "duration"
    assert end.logprobs


def test_a_long_stream_comes_segment_by_segment(client, tmp_path):
    import numpy as np
    import soundfile

    parts = [soundfile.read(path, dtype="float32")[0] for path in (ENGLISH, ENGLISH)]
    gap = np.zeros(16_000 * 25, np.float32)
    path = tmp_path / "long.wav"
    soundfile.write(path, np.concatenate([parts[0], gap, parts[1]]), 16_000)
    stream = client.audio.transcriptions.create(model="whisper-1", file=path, stream=True)
    *deltas, end = list(stream)
    assert len(deltas) == 2
    expected = MODEL.transcribe(path)
    assert "".join(event.delta for event in deltas) == end.text == expected.text
    assert [event.delta.strip() for event in deltas] == [one.text for one in expected.segments]


# OpenAI has deprecated its endpoint, and the client says so of each call.
@pytest.mark.filterwarnings("ignore:deprecated")
def test_translations_are_of_the_translating_expert(client):
    expected = MODEL.transcribe(ARABIC, task="translate")
    answer = client.audio.translations.create(model="whisper-1", file=ARABIC)
    assert isinstance(answer, Translation)
    assert answer.text == expected.text
    verbose = client.audio.translations.create(
        model="whisper-1", file=ARABIC, response_format="verbose_json"
    )
    assert isinstance(verbose, TranslationVerbose)
    TranslationVerbose.model_validate(verbose.model_dump())
    assert verbose.language == "en"
    assert verbose.text == expected.text
    text = client.audio.translations.create(model="whisper-1", file=ARABIC, response_format="text")
    assert text == expected.text + "\n"


def test_the_extensions_travel_in_extra_body(client):
    answer = client.audio.transcriptions.create(
        model="whisper-1",
        file=ARABIC,
        language="ar",
        response_format="verbose_json",
        extra_body={"task": "both", "to_language": "en", "bandwidth": "narrowband"},
    )
    expected = MODEL.transcribe(
        ARABIC, language="ar", task="both", target_language="en", bandwidth="narrowband"
    )
    assert answer.text == expected.text
    more = answer.model_extra or {}
    assert more["bandwidth"] == "narrowband"
    assert expected.translation is not None
    assert more["translation"]["text"] == expected.translation.text
    assert more["translation"]["language"] == "en"
    assert more["translation"]["segments"][0]["text"] == expected.translation.segments[0].text


def test_a_stream_of_both_has_events_of_each(client):
    stream = client.audio.transcriptions.create(
        model="whisper-1", file=ARABIC, stream=True, extra_body={"task": "both"}
    )
    events = [(event.type, event) for event in stream]
    expected = MODEL.transcribe(ARABIC, task="both")
    assert [kind for kind, _ in events] == [
        "transcript.text.delta", "translation.text.delta",
        "translation.text.done", "transcript.text.done",
    ]  # fmt: skip
    assert expected.translation is not None
    assert events[1][1].delta == events[2][1].text == expected.translation.text
    assert events[0][1].delta == events[3][1].text == expected.text


def test_models_are_listed_and_found_by_name_and_alias(client):
    (model,) = client.models.list()
    assert (model.id, model.object, model.owned_by) == ("commands", "model", "turnout")
    assert model.model_extra["languages"] == ["ar", "en"]
    assert model.model_extra["tasks"] == ["transcribe", "translate"]
    assert client.models.retrieve("commands").id == "commands"
    assert client.models.retrieve("whisper-1").id == "whisper-1"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o-transcribe")


def test_a_wrong_key_is_an_authentication_error(server):
    with (
        OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as found,
    ):
        stranger.models.list()
    assert found.value.code == "invalid_api_key"


def test_errors_of_the_form_are_bad_requests_that_name_the_field(client):
    with pytest.raises(openai.BadRequestError) as found:
        client.audio.transcriptions.create(
            model="whisper-1", file=ENGLISH, response_format="diarized_json"
        )
    assert found.value.param == "response_format"
    assert "diarized_json" in found.value.message
    with pytest.raises(openai.NotFoundError) as missing:
        client.audio.transcriptions.create(model="gpt-4o-transcribe", file=ENGLISH)
    assert missing.value.param == "model"
    with pytest.raises(openai.BadRequestError) as prompted:
        client.audio.transcriptions.create(model="whisper-1", file=ENGLISH, prompt="Names: Ada")
    assert prompted.value.param == "prompt"
    assert prompted.value.body["message"] == (
        "prompt: the model commands takes no text before what is said: leave it out, or choose a "
        "model that does, such as Whisper's"
    )
    with pytest.raises(openai.BadRequestError) as warm:
        client.audio.transcriptions.create(model="whisper-1", file=ENGLISH, temperature=0.5)
    assert warm.value.param == "temperature"


def test_what_is_no_audio_is_refused_by_the_name_that_the_client_gave(client):
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as found:
            client.audio.transcriptions.create(
                model="whisper-1", file=("song.wav", b"no sound at all"), stream=stream
            )
        assert found.value.body["message"].startswith("song.wav: not a recording")
        assert found.value.param == "file"


def test_an_answer_carries_the_requests_number(client):
    raw = client.audio.transcriptions.with_raw_response.create(model="whisper-1", file=ENGLISH)
    assert raw.request_id is not None
    assert raw.request_id.startswith("req_")
