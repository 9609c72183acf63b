"""Which labels are kept."""

from typing import Any

import pytest

from tests.unit.labelling.hearer import segment
from turnout.config.labelling import LabelConfig
from turnout.errors import ConfigError
from turnout.labelling.choice import Reason, chosen, disagreement
from turnout.labelling.labels import Label, confidence


def label(text: str = "one two three four", stated: str | None = None, **more: Any) -> Label:
    """Of three seconds of English."""
    custom = {"confidence": -0.5, "language_probability": 0.9, **more.pop("custom", {})}
    said = {"text": text, "language": "en", "custom": custom, **more}
    cut = {"id": "a", "duration": 3.0, "supervisions": [said]}
    return Label(cut=cut, stated_language=stated)


def reasons(one: Label, **choice: Any) -> tuple[Reason, ...]:
    return chosen(one, LabelConfig(**choice)).reasons


@pytest.mark.parametrize(
    ("choice", "kept", "reason"),
    [
        ("min_confidence", (-0.5, -0.6, None), Reason.CONFIDENCE),
        ("min_language_probability", (0.9, 0.0, None), Reason.LANGUAGE_PROBABILITY),
        ("min_characters_per_second", (6.0, None), Reason.SLOW),
        ("max_characters_per_second", (6.0, None), Reason.FAST),
        ("languages", ((), ("en",), ("de", "en-GB"), ("English",)), Reason.LANGUAGE),
    ],
)
def test_each_bound_drops_what_lies_beyond_it(
    choice: str, kept: tuple[Any, ...], reason: Reason
) -> None:
    beyond = {
        "min_confidence": -0.49, "min_language_probability": 0.91, "languages": ("de",),
        "min_characters_per_second": 6.01, "max_characters_per_second": 5.99,
    }  # fmt: skip
    for value in kept:
        assert reasons(label(), **{choice: value}) == ()
    assert reasons(label(), **{choice: beyond[choice]}) == (reason,)


def test_texts_that_repeat_themselves_are_loops() -> None:
    assert reasons(label("so " * 30)) == (Reason.LOOP,)
    assert reasons(label("so " * 30), max_compression_ratio=None) == ()


def test_a_stated_language_is_held_against_the_one_that_was_found() -> None:
    assert reasons(label(stated="en-US")) == ()
    assert reasons(label(stated="de")) == (Reason.LANGUAGE,)
    assert reasons(label(language=None)) == (Reason.LANGUAGE,)


def test_what_is_not_known_is_no_reason() -> None:
    unknown = label(custom={"confidence": None, "language_probability": None})
    assert reasons(unknown, min_language_probability=0.99) == ()


@pytest.mark.parametrize(
    ("text", "second", "language", "percent"),
    [
        ("One two, three four.", "one two three four", "en", 0.0),
        ("one two three four", "one to three", "en", 50.0),
        ("one", "one two three", "en", 200.0),
        ("one two", "", "en", 100.0),
        ("你好世界", "你好世 间", "zh", 25.0),
        ("...", "", "en", 0.0),
        ("...", "one", "en", 100.0),
    ],
)
def test_two_texts_are_apart_by_their_errors(
    text: str, second: str, language: str, percent: float
) -> None:
    assert disagreement(text, second, language) == percent
    one = chosen(label(text, language=language), LabelConfig(), second, compared=True)
    assert (Reason.DISAGREEMENT in one.reasons) == (percent > 25)


def test_what_a_second_model_could_not_hear_is_dropped() -> None:
    one = chosen(label(), LabelConfig(), None, compared=True)
    assert one.reasons == (Reason.DISAGREEMENT,)
    assert one.disagreement is None


def test_confidence_is_the_mean_of_tokens_not_of_segments() -> None:
    short = segment(0, 1, "a", avg_logprob=-1.0, tokens=(1,))
    long = segment(1, 2, "b", avg_logprob=-0.2, tokens=(1, 2, 3))
    assert confidence([short, long]) == pytest.approx(-0.4)
    assert confidence([]) is None
    assert confidence([segment(0, 1, "a", avg_logprob=None)]) is None


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"min_confidence": 0.5}, "0 or below"),
        ({"min_language_probability": 2.0}, "between 0 and 1"),
        ({"max_compression_ratio": 0.0}, "above 0"),
        ({"max_disagreement": -1.0}, "at least 0"),
        ({"min_characters_per_second": 9.0, "max_characters_per_second": 5.0}, "nothing can be"),
        ({"min_confidence": float("nan")}, "0 or below"),
    ],
)
def test_bounds_that_cannot_be_are_refused(choice: dict[str, float], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        LabelConfig(**choice)  # type: ignore[arg-type]
