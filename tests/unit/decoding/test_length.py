"""No text is longer than its audio has room for: whichever heads wrote it, however searched."""

from dataclasses import replace

import numpy as np
import pytest

from tests.doubles import (
    CTC_ONLY,
    Script,
    ScriptedBackend,
    model_config,
    scripted_utterance,
    tokenizer,
)
from turnout.config import ModelConfig
from turnout.decoding.decode import decode
from turnout.decoding.encoded_batch import shortened
from turnout.decoding.requests import Decoded, DecodingOptions, Request, most_characters
from turnout.guidance import Task

BOTH_SEARCHES = pytest.mark.parametrize("beam_size", [1, 4], ids=["greedy", "beam"])
HASTY = Script(
    "one two three four five yes no stop one two three four five yes",
    {"de": "eins zwei drei vier fünf ja nein halt eins zwei drei vier fünf ja"},
    "en",
)


def run(
    seconds: float, beam_size: int, config: ModelConfig, tasks: tuple[Task, ...] = tuple(Task)
) -> Decoded:
    backend = ScriptedBackend((HASTY,), config)
    options = DecodingOptions(beam_size=beam_size)
    utterance = scripted_utterance(0, Request(tasks=tasks), seconds, options=options)
    (decoded,) = decode(backend, tokenizer(), [utterance])
    return decoded


@BOTH_SEARCHES
@pytest.mark.parametrize("ctc", [True, False], ids=["both heads", "decoder"])
def test_a_text_stops_at_the_last_word_that_its_second_has_room_for(
    ctc: bool, beam_size: int
) -> None:
    transcript, translation = run(1.0, beam_size, model_config(ctc=ctc)).hypotheses
    assert transcript.text == "one two three four five"
    assert translation.text == "eins zwei drei vier fünf"
    assert transcript.tokens == tuple(tokenizer().encode(transcript.text))
    assert transcript.cut and translation.cut
    # The double is sure of each word, and nearly as sure that the text goes on after the last.
    end = 0.02 / (tokenizer().size - 1)
    assert transcript.log_prob == pytest.approx(5 * np.log(0.98) + np.log(end), abs=1e-3)


@BOTH_SEARCHES
def test_ctc_alone_is_held_to_it_too(beam_size: int) -> None:
    config = model_config(decoder=CTC_ONLY)
    (hypothesis,) = run(1.0, beam_size, config, (Task.TRANSCRIBE,)).hypotheses
    assert hypothesis.text == "one two three four five"
    assert hypothesis.log_prob < np.log(1e-6), "of the text that is left, not of what was heard"
    assert hypothesis.cut
    assert hypothesis.avg_log_prob == hypothesis.log_prob / 5, "CTC knows no end"


@BOTH_SEARCHES
def test_a_text_that_has_room_is_left_as_it_is(beam_size: int) -> None:
    transcript, translation = run(3.0, beam_size, model_config()).hypotheses
    assert transcript.text == HASTY.transcript
    assert translation.text == HASTY.translations["de"]
    assert not transcript.cut and not translation.cut
    assert transcript.avg_log_prob == transcript.log_prob / 15
    assert transcript.log_prob == pytest.approx(15 * np.log(0.98), abs=1e-3)


@pytest.mark.parametrize(
    ("seconds", "characters"),
    [(0.0, 12), (0.3, 12), (0.5, 12), (0.6, 15), (1.0, 25), (1.99, 49), (6.0, 150)],
)
def test_25_characters_a_second_and_half_a_second_at_least(seconds: float, characters: int) -> None:
    assert most_characters(seconds) == characters


def test_no_character_is_cut_in_two() -> None:
    tokens = tuple(tokenizer().encode("日本語"))
    assert len(tokens) > 6, "spelled in bytes, three of them a character"
    for most, expected in ((3, "日本語"), (2, "日本"), (1, "日"), (0, "")):
        assert tokenizer().decode(shortened(tokenizer(), tokens, most)) == expected


@BOTH_SEARCHES
def test_a_short_word_and_its_translation_fit_into_a_third_of_a_second(beam_size: int) -> None:
    spoken = Script("stop", {"de": "weiterhin"}, "en")
    options = DecodingOptions(beam_size=beam_size)
    utterance = scripted_utterance(0, Request(tasks=tuple(Task)), 0.3, options=options)
    (decoded,) = decode(ScriptedBackend((spoken,)), tokenizer(), [utterance])
    assert [(found.text, found.cut) for found in decoded.hypotheses] == [
        ("stop", False),
        ("weiterhin", False),
    ]


def limited(script: Script, beam_size: int, per_second: float, config: ModelConfig) -> Decoded:
    options = DecodingOptions(beam_size=beam_size, max_tokens_per_second=per_second)
    utterance = scripted_utterance(0, Request(tasks=tuple(Task)), 2.0, options=options)
    if config.decoder.num_layers == 0:
        utterance = replace(utterance, request=Request())
    (decoded,) = decode(ScriptedBackend((script,), config), tokenizer(), [utterance])
    return decoded


@BOTH_SEARCHES
def test_a_row_at_its_limit_may_still_end(beam_size: int) -> None:
    """Two seconds of one token each and eight to spare: ten words end, the eleventh is cut off, and
    no end is scored behind it."""
    ten = " ".join(["one two three four five yes no stop one two"])
    whole = Script(ten, {"de": "ja"}, "en")
    found = limited(whole, beam_size, 1.0, model_config(ctc=False)).hypotheses[0]
    assert (found.text, found.cut, found.ended) == (ten, False, True)
    assert found.log_prob == pytest.approx(11 * np.log(0.98), abs=1e-3)
    assert found.avg_log_prob == pytest.approx(np.log(0.98), abs=1e-3)
    longer = replace(whole, transcript=ten + " three")
    found = limited(longer, beam_size, 1.0, model_config(ctc=False)).hypotheses[0]
    assert (found.text, found.cut, found.ended) == (ten, True, False)
    assert found.log_prob == pytest.approx(10 * np.log(0.98), abs=1e-3)
    assert found.avg_log_prob == pytest.approx(np.log(0.98), abs=1e-3)


@BOTH_SEARCHES
def test_ctc_alone_has_no_more_tokens_than_a_decoder(beam_size: int) -> None:
    config = model_config(decoder=CTC_ONLY)
    (found,) = limited(HASTY, beam_size, 1.0, config).hypotheses
    assert (found.text, found.cut) == ("one two three four five yes no stop one two", True)
    (found,) = run(3.0, beam_size, config, (Task.TRANSCRIBE,)).hypotheses
    assert (found.text, found.cut) == (HASTY.transcript, False)


@BOTH_SEARCHES
def test_a_text_that_was_stopped_in_a_loop_says_so(beam_size: int) -> None:
    """A model without CTC cannot know whether five was said six times: four stay, with a word."""
    five = Script(" ".join(["five"] * 6), {"de": "ja"}, "en")
    found = limited(five, beam_size, 25.0, model_config(ctc=False)).hypotheses[0]
    assert (found.text.count("five"), found.cut) == (4, True)
    found = limited(five, beam_size, 25.0, model_config()).hypotheses[0]
    assert (found.text, found.cut) == (five.transcript, False)


@BOTH_SEARCHES
def test_nothing_is_cut_off_what_is_all_that_ctc_hears(beam_size: int) -> None:
    heard = " ".join(["five"] * 5)
    endless = Script(" ".join(["five"] * 12), {"de": "ja"}, "en", heard=heard)
    found = limited(endless, beam_size, 25.0, model_config()).hypotheses[0]
    assert (found.text, found.cut) == (heard, False)
