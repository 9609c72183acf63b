import json
from typing import Any

import pytest

from turnout.errors import UsageError
from turnout.guidance import Bandwidth, Task
from turnout.text.transcript import Segment, Transcript, Word
from turnout.text.writers import Format, clock, cue, render

WORD = Word(start=0.5, end=0.9, word="yes")
SEGMENTS = (
    Segment(id=0, start=0.5, end=1.25, text="yes no", words=(WORD,), avg_logprob=-0.25),
    Segment(id=1, start=2.0, end=2.5, text=""),
    Segment(id=2, start=3661.0009, end=3662.0, text="a\tb\n--> <c> &"),
)


def transcript(segments: tuple[Segment, ...] = SEGMENTS, **changes: Any) -> Transcript:
    fields: dict[str, Any] = {
        "text": " ".join(s.text for s in segments),
        "language": "en",
        "task": Task.TRANSCRIBE,
        "duration_seconds": 3700.0,
        "bandwidth": Bandwidth.WIDEBAND,
        "segments": segments,
    }
    return Transcript(**(fields | changes))


EXPECTED: dict[Format, str] = {
    "txt": "yes no\n\na b --> <c> &\n",
    "srt": (
        "1\n00:00:00,500 --> 00:00:01,250\nyes no\n\n"
        "2\n01:01:01,001 --> 01:01:02,000\na b -> <c> &\n\n"
    ),
    "vtt": (
        "WEBVTT\n\n00:00.500 --> 00:01.250\nyes no\n\n"
        "01:01:01.001 --> 01:01:02.000\na b -> &lt;c> &amp;\n\n"
    ),
    "tsv": ("start\tend\ttext\n500\t1250\tyes no\n2000\t2500\t\n3661001\t3662000\ta b --> <c> &\n"),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_formats(kind: Format) -> None:
    assert render(transcript(), kind) == EXPECTED[kind]


def test_json_is_whispers() -> None:
    content = json.loads(render(transcript(), "json"))
    assert list(content) == ["text", "segments", "language"]
    assert content["language"] == "en"
    assert content["segments"][0] == {
        "id": 0,
        "start": 0.5,
        "end": 1.25,
        "text": "yes no",
        "avg_logprob": -0.25,
        "words": [{"word": " yes", "start": 0.5, "end": 0.9}],
    }
    assert "words" not in content["segments"][1]


def test_words_have_a_space_before_them_where_their_language_has_spaces() -> None:
    words = tuple(Word(start=at, end=at + 0.1, word=word) for at, word in [(0, "今天"), (1, "好")])
    segment = Segment(id=0, start=0.0, end=1.1, text="今天好", words=words, language="zh")
    content = json.loads(render(transcript((segment,), language="zh"), "json"))
    assert [word["word"] for word in content["segments"][0]["words"]] == ["今天", "好"]


def test_json_holds_the_translation() -> None:
    german = transcript(
        (Segment(id=0, start=0.5, end=1.0, text="fünf"),), language="de", task=Task.TRANSLATE
    )
    written = render(transcript(translation=german), "json")
    content = json.loads(written)
    assert content["translation"] == {
        "text": "fünf",
        "segments": [{"id": 0, "start": 0.5, "end": 1.0, "text": "fünf"}],
        "language": "de",
    }
    assert "fünf" in written


def test_silence() -> None:
    empty = transcript(segments=())
    assert render(empty, "txt") == ""
    assert render(empty, "srt") == ""
    assert render(empty, "vtt") == "WEBVTT\n\n"
    assert render(empty, "tsv") == "start\tend\ttext\n"
    assert json.loads(render(empty, "json"))["segments"] == []


def test_unknown_format() -> None:
    with pytest.raises(UsageError, match="'doc': choose one of txt, vtt, srt, tsv, json"):
        render(transcript(), "doc")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "00:00.000"), (59.9996, "01:00.000"), (-0.01, "00:00.000"), (36000, "10:00:00.000")],
)
def test_clock_rounds_before_it_divides(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize("kind", ["srt", "vtt"])
@pytest.mark.parametrize(
    "text",
    [
        "a --> b",
        "a ---> b",
        "a ------> b -->",
        "-\n-> b",
        "--\x00> b",
        "a -->> b",
        "a\r\n\r\n1 --> b",
    ],
)
def test_no_text_begins_a_new_cue(kind: Format, text: str) -> None:
    written = render(transcript((Segment(id=0, start=0.0, end=1.0, text=text),)), kind)
    assert written.count("-->") == 1
    assert written.count("\n\n") == (2 if kind == "vtt" else 1)
    again = Segment(id=0, start=0.0, end=1.0, text=cue(Segment(id=0, start=0, end=1, text=text)))
    assert render(transcript((again,)), kind) == written


ENDS = [
    "\n",
    "\n\n",
    "\r",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x85",
    "\u2028",
    "\u2029",
    "\x00",
    "\x1b[2J",
    "\x9b",
]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", ["txt", "srt", "vtt", "tsv"])
def test_a_text_is_one_line_without_control_characters(kind: Format, end: str) -> None:
    written = render(transcript((Segment(id=0, start=0.0, end=1.0, text=f"a{end}NOTE b"),)), kind)
    shown = end[1:] if end[0] in "\x1b\x9b" else ""
    plain = render(transcript((Segment(id=0, start=0.0, end=1.0, text=f"a {shown}NOTE b"),)), kind)
    assert written == plain
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in written)


def test_marks_that_letters_need_stay() -> None:
    text = "می\u200cخواهم \u200fنعم"
    assert text in render(transcript((Segment(id=0, start=0.0, end=1.0, text=text),)), "vtt")


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_a_text_of_control_characters_alone_is_no_cue(kind: Format) -> None:
    written = render(transcript((Segment(id=0, start=0.0, end=1.0, text="\x00\x1b"),)), kind)
    assert "-->" not in written


def test_json_says_what_was_cut() -> None:
    cut = Segment(id=0, start=0.0, end=1.0, text="yes", cut=True)
    content = json.loads(render(transcript((cut, SEGMENTS[0]), warnings=("it was cut",)), "json"))
    assert content["warnings"] == ["it was cut"]
    assert [segment.get("cut") for segment in content["segments"]] == [True, None]
