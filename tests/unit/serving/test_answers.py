import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.config import TranscriptionOptions
from turnout.guidance import Bandwidth, Task
from turnout.serving.answers import NO_WORDS, answer
from turnout.serving.errors import Refused
from turnout.serving.events import Deltas, encoded, ends, failed
from turnout.serving.forms import Asked
from turnout.text.spacing import joined_text
from turnout.text.transcript import Segment, Transcript, Word


def segment(number, text, task=Task.TRANSCRIBE, language="en", **more):
    return Segment(
        id=number, start=number * 2.0, end=number * 2.0 + 1.5, text=text, task=task,
        language=language, tokens=(5, 6), token_logprobs=(-0.25, -0.5), avg_logprob=-0.375, **more,
    )  # fmt: skip


def transcript(*texts, task=Task.TRANSCRIBE, language="en", **more):
    segments = tuple(segment(n, text, task, language) for n, text in enumerate(texts))
    return Transcript(
        text=joined_text(texts, language), language=language, task=task, duration_seconds=4.2504,
        bandwidth=Bandwidth.NARROWBAND, segments=segments, **more,
    )  # fmt: skip


def asked(kind="json", task="transcribe", **more):
    return Asked(model=None, options=TranscriptionOptions(task=task), format=kind, **more)


def spelled(one):
    return [b"\xd9", b"\x85a"] if one.tokens else []


def body(wanted, found):
    return json.loads(answer(wanted, found, spelled).body)


def test_json_is_text_and_usage():
    assert body(asked(), transcript("one two")) == {
        "text": "one two",
        "usage": {"type": "duration", "seconds": 4.25},
    }


def test_json_says_what_a_listener_should_know():
    assert body(asked(), transcript("a", warnings=("it ends early",)))["warnings"] == [
        "it ends early"
    ]


def test_logprobs_are_of_all_tokens_with_their_bytes():
    found = body(asked(logprobs=True), transcript("a", "b"))["logprobs"]
    assert (
        found
        == [
            {"token": "\ufffd", "bytes": [0xD9], "logprob": -0.25},
            {"token": "\ufffda", "bytes": [0x85, 0x61], "logprob": -0.5},
        ]
        * 2
    )


def test_verbose_json_whole():
    assert body(asked("verbose_json"), transcript("one")) == {
        "task": "transcribe",
        "language": "en",
        "duration": 4.2504,
        "text": "one",
        "segments": [
            {
                "id": 0, "seek": 0, "start": 0.0, "end": 1.5, "text": "one", "tokens": [5, 6],
                "temperature": 0.0, "avg_logprob": -0.375, "compression_ratio": 3 / 11,
                "no_speech_prob": 0.0,
            }
        ],
        "bandwidth": "narrowband",
        "usage": {"type": "duration", "seconds": 4.25},
    }  # fmt: skip


def test_what_a_model_knows_stands_as_it_says():
    whisper = segment(0, "a", temperature=0.4, compression_ratio=1.5, no_speech_prob=0.25)
    found = Transcript(
        text="a", language=None, task=Task.TRANSCRIBE, duration_seconds=1.0,
        bandwidth=Bandwidth.WIDEBAND, segments=(whisper,), language_probability=0.5,
    )  # fmt: skip
    content = body(asked("verbose_json"), found)
    (entry,) = content["segments"]
    assert (entry["temperature"], entry["compression_ratio"], entry["no_speech_prob"]) == (
        0.4, 1.5, 0.25,
    )  # fmt: skip
    assert content["language"] == "unknown"
    assert content["language_probability"] == 0.5


def test_words_are_flat_and_with_their_segments():
    word = Word(start=0.25, end=0.5, word="one", probability=0.75)
    bare = Word(start=0.5, end=0.75, word="two")
    found = Transcript(
        text="one two", language="en", task=Task.TRANSCRIBE, duration_seconds=1.0,
        bandwidth=Bandwidth.WIDEBAND, segments=(segment(0, "one two", words=(word, bare)),),
    )  # fmt: skip
    content = body(asked("verbose_json", words=True), found)
    assert content["words"] == [
        {"word": "one", "start": 0.25, "end": 0.5, "probability": 0.75},
        {"word": "two", "start": 0.5, "end": 0.75},
    ]
    assert content["segments"][0]["words"] == content["words"]
    assert "segments" not in body(asked("verbose_json", words=True, segments=False), found)


def test_a_translation_says_that_its_words_have_no_times():
    found = transcript("eins", task=Task.TRANSLATE, language="de")
    content = body(asked("verbose_json", task="translate", words=True), found)
    assert content["words"] == []
    assert content["warnings"] == [NO_WORDS]


def test_both_texts_stand_beside_each_other():
    second = transcript("eins", "zwei", task=Task.TRANSLATE, language="de")
    found = transcript("one", "two", translation=second)
    assert body(asked(task="both"), found)["translation"] == {"text": "eins zwei", "language": "de"}
    translation = body(asked("verbose_json", task="both"), found)["translation"]
    assert (translation["task"], translation["language"]) == ("translate", "de")
    assert [one["text"] for one in translation["segments"]] == ["eins", "zwei"]


@pytest.mark.parametrize(
    ("kind", "start", "media"),
    [("text", "one\n", "text/plain"), ("srt", "1\n00:00:00,000", "application/x-subrip"),
     ("vtt", "WEBVTT\n\n00:00", "text/vtt")],
)  # fmt: skip
def test_texts_and_subtitles_are_utf_8(kind, start, media):
    response = answer(asked(kind), transcript("one"), spelled)
    assert bytes(response.body).decode().startswith(start)
    assert response.headers["content-type"] == f"{media}; charset=utf-8"


def test_a_number_that_json_lacks_is_none():
    found = transcript("a")
    odd = Transcript(**{**vars(found), "segments": (segment(0, "a", no_speech_prob=float("nan")),)})
    assert body(asked("verbose_json"), odd)["segments"][0]["no_speech_prob"] == 0.0


TEXTS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), max_size=5)


@given(TEXTS, st.sampled_from(["en", "zh", "ar", None]))
def test_deltas_together_are_the_text(texts, language):
    found = transcript(*texts, language=language)
    deltas = Deltas(asked(), spelled)
    events = [deltas.of(one) for one in found.segments]
    (end,) = ends(asked(), found, spelled)
    assert "".join(event["delta"] for event in events) == end["text"] == found.text
    for event in (*events, end):
        line = encoded(event).decode()
        assert line.startswith("data: {")
        assert line.endswith("}\n\n")
        assert line.count("\n") == 2, "an event has one line"


def test_events_of_both_texts():
    wanted = asked("verbose_json", task="both")
    second = transcript("eins", "zwei", task=Task.TRANSLATE, language="de")
    found = transcript("one", "two", translation=second)
    deltas = Deltas(wanted, spelled)
    pairs = zip(found.segments, second.segments, strict=True)
    events = [deltas.of(one) for pair in pairs for one in pair]
    assert [(event["type"], event["delta"]) for event in events] == [
        ("transcript.text.delta", "one"), ("translation.text.delta", "eins"),
        ("transcript.text.delta", " two"), ("translation.text.delta", " zwei"),
    ]  # fmt: skip
    assert events[2]["segment"]["start"] == 2.0
    translated, end = ends(wanted, found, spelled)
    assert translated == {
        "type": "translation.text.done", "text": "eins zwei", "task": "translate", "language": "de",
    }  # fmt: skip
    assert end["type"] == "transcript.text.done"
    assert end["text"] == "one two"
    assert end["translation"]["text"] == "eins zwei"


def test_a_translation_alone_is_what_standard_clients_join():
    wanted = asked(task="translate", logprobs=True)
    found = transcript("eins", task=Task.TRANSLATE, language="de")
    event = Deltas(wanted, spelled).of(found.segments[0])
    assert event["type"] == "transcript.text.delta"
    assert len(event["logprobs"]) == 2


def test_an_error_in_a_stream_is_what_clients_raise():
    event = failed(Refused(503, "the server is stopping", code="server_stopping"))
    assert event == {
        "type": "error",
        "error": {"message": "the server is stopping", "type": "server_error", "param": None,
                  "code": "server_stopping"},
    }  # fmt: skip
