"""The few messages of a live stream: what is taken, what is refused by name, what is told."""

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.errors import ConfigError
from turnout.guidance import Bandwidth, Task
from turnout.serving import live_messages
from turnout.serving.live_messages import (
    BUSY,
    REASONS,
    REFUSED,
    TOO_LARGE,
    UNEXPECTED,
    UNREADABLE,
    Start,
    StreamError,
    check_end,
    error_event,
    final_event,
    read_start,
    warnings_of,
    written,
)
from turnout.text.transcript import Segment, Transcript, Word


def start(**changes: Any) -> str:
    return json.dumps({"type": "start", **changes})


def test_what_is_left_out_of_the_first_message_is_the_default() -> None:
    asked = read_start(start())
    assert (asked.format, asked.rate, asked.model, asked.key) == ("pcm16", None, None, None)
    assert asked.options.task == "transcribe"
    assert asked.options.word_timestamps
    assert asked.options.stated_language is None
    assert asked.options.stated_bandwidth is None


def test_what_is_wished_for_reaches_the_options() -> None:
    asked = read_start(
        start(
            task="both", language="ar", to_language="en", bandwidth="narrowband", words=False,
            prompt="Names", beam_size=4, domain="x", silence_ms=300,
        )
    )  # fmt: skip
    options = asked.options
    assert (options.task, options.language, options.target_language) == ("both", "ar", "en")
    assert options.stated_bandwidth is Bandwidth.NARROWBAND
    assert (options.initial_prompt, options.beam_size, options.domain) == ("Names", 4, "x")
    assert not options.word_timestamps
    assert asked.silence_ms == 300


@pytest.mark.parametrize(
    ("text", "said", "closing"),
    [
        ("", "a text message is no JSON", UNREADABLE),
        ("{'type': 'start'}", "in double quotes, is needed", UNREADABLE),
        ("[" * 5_000, "is no JSON", UNREADABLE),
        ('{"type": "start", "beam_size": ' + "9" * 5_000 + "}", "is no JSON", UNREADABLE),
        (r'{"type": "start", "model": "\ud800"}', "is no JSON", UNREADABLE),
        ('"start"', "a message is 'start': an object is needed", UNREADABLE),
        ("{}", "the first message has the type None: it must be {\"type\": \"start\"}", UNEXPECTED),
        ('{"type": "end"}', "the first message has the type 'end'", UNEXPECTED),
        (start(prompt="a" * 20_000), "has 20031 characters: at most 16384", TOO_LARGE),
        (start(rates=8000), "unknown key 'rates': did you mean 'rate'", REFUSED),
        (start(rate="8000"), "'rate' is '8000': a whole number is needed", REFUSED),
        (start(rate=8000.5), "'rate' is 8000.5: a whole number is needed", REFUSED),
        (start(format="opus"), "one of pcm16, mulaw, alaw is needed", REFUSED),
        (start(task="summarise"), "one of transcribe, translate, both is needed", REFUSED),
        (start(words="yes"), "'words' is 'yes': true or false is needed", REFUSED),
        (start(to_language="en"), "to_language is of a translation, and the task is", REFUSED),
        (start(silence_ms=100), "silence_ms is 100: it must be 200 to 2000", REFUSED),
        (start(beam_size=17), "beam_size is 17: it must be 1 to 16", REFUSED),
        (start(beam_size=0), "beam_size is 0: it must be 1 to 16", REFUSED),
        (start(key=["k"]), "'key' is", REFUSED),
        ('{"type": "start", "silence_ms": NaN}', "'silence_ms' is nan", REFUSED),
    ],
)  # fmt: skip
def test_first_messages_that_are_none_are_refused_by_name(
    text: str, said: str, closing: int
) -> None:
    with pytest.raises(StreamError) as refused:
        read_start(text)
    assert said in str(refused.value)
    assert refused.value.closing == closing


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner),
    max_leaves=6,
)
NAMES = [field.name for field in fields(Start)]
NEARLY = st.fixed_dictionaries(
    {"type": st.just("start")}, optional={name: ANYTHING for name in NAMES if name != "type"}
)


def is_one_line(error: StreamError) -> bool:
    told = json.loads(written(error_event(error)).encode())
    return len(told["error"]["message"].splitlines()) == 1


@given(text=st.one_of(st.text(), ANYTHING.map(json.dumps)))
@settings(deadline=None, max_examples=60)
def test_whatever_is_sent_is_told_of_in_one_line(text: str) -> None:
    for read in (read_start, check_end):
        with pytest.raises(StreamError) as refused:
            read(text)
        assert is_one_line(refused.value)


@given(start=NEARLY)
@settings(deadline=None, max_examples=60)
def test_what_is_nearly_a_first_message_is_one_or_is_refused(start: Any) -> None:
    try:
        read_start(json.dumps(start)).options  # noqa: B018 - it checks them
    except StreamError as error:
        assert is_one_line(error)
    except ConfigError as error:
        assert is_one_line(StreamError(str(error), REFUSED))


def test_only_the_end_is_said_behind_the_first_message() -> None:
    check_end('{"type": "end"}')
    for text, said in (
        (start(), "has the type 'start': behind the first one, only sound"),
        ('{"type": "end", "now": true}', "takes no other keys"),
    ):
        with pytest.raises(StreamError, match=said):
            check_end(text)


def test_every_code_of_a_closing_has_its_error() -> None:
    numbers = [value for name, value in vars(live_messages).items() if name.isupper()]
    codes = {value for value in numbers if isinstance(value, int) and 1000 < value < 1100}
    assert codes == set(REASONS)
    event = error_event(StreamError("two\nlines", BUSY))
    assert event["error"] == {
        "message": "two\\nlines",
        "type": "rate_limit_error",
        "param": None,
        "code": "server_busy",
    }
    assert error_event(StreamError("x", REFUSED, "stalled"))["error"]["code"] == "stalled"


def test_a_final_text_has_its_words_at_their_place_in_the_stream() -> None:
    words = (Word(start=0.61, end=0.9, word="سبعة", probability=0.98765),)
    segment = Segment(id=0, start=0.6, end=1.0, text="سبعة", words=words, language="ar")
    translation = Transcript(
        text="seven", language="en", task=Task.TRANSLATE, duration_seconds=2.0,
        bandwidth=Bandwidth.NARROWBAND,
    )  # fmt: skip
    transcript = Transcript(
        text="سبعة", language="ar", task=Task.TRANSCRIBE, duration_seconds=2.0,
        bandwidth=Bandwidth.NARROWBAND, segments=(segment,), translation=translation,
        warnings=("cut\there",),
    )  # fmt: skip
    assert final_event(3, 100.0, 102.0, transcript) == {
        "type": "final", "turn": 3, "start": 100.0, "end": 102.0, "task": "transcribe",
        "text": "سبعة", "language": "ar", "language_probability": None,
        "bandwidth": "narrowband",
        "words": [{"word": "سبعة", "start": 100.61, "end": 100.9, "probability": 0.9877}],
        "translation": {"text": "seven", "language": "en"},
    }  # fmt: skip
    assert warnings_of(3, transcript) == [{"type": "warning", "turn": 3, "message": "cut\\there"}]
