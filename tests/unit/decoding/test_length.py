"""No text is longer than its audio has room for: whichever heads wrote it, however searched."""

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
from turnout.decoding.decode import decode, shortened
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
    # The double is sure of each word, and nearly as sure that the text goes on after the last.
    end = 0.02 / (tokenizer().size - 1)
    assert transcript.log_prob == pytest.approx(5 * np.log(0.98) + np.log(end), abs=1e-3)


@BOTH_SEARCHES
def test_ctc_alone_is_held_to_it_too(beam_size: int) -> None:
    config = model_config(decoder=CTC_ONLY)
    (hypothesis,) = run(1.0, beam_size, config, (Task.TRANSCRIBE,)).hypotheses
    assert hypothesis.text == "one two three four five"
    assert hypothesis.log_prob < np.log(1e-6), "of the text that is left, not of what was heard"


@BOTH_SEARCHES
def test_a_text_that_has_room_is_left_as_it_is(beam_size: int) -> None:
    transcript, translation = run(3.0, beam_size, model_config()).hypotheses
    assert transcript.text == HASTY.transcript
    assert translation.text == HASTY.translations["de"]
    assert transcript.log_prob == pytest.approx(15 * np.log(0.98), abs=1e-3)


@pytest.mark.parametrize(
    ("seconds", "characters"), [(0.0, 25), (0.2, 25), (1.0, 25), (1.99, 49), (6.0, 150)]
)
def test_25_characters_a_second(seconds: float, characters: int) -> None:
    assert most_characters(seconds) == characters


def test_no_character_is_cut_in_two() -> None:
    tokens = tuple(tokenizer().encode("日本語"))
    assert len(tokens) > 6, "spelled in bytes, three of them a character"
    for most, expected in ((3, "日本語"), (2, "日本"), (1, "日"), (0, "")):
        assert tokenizer().decode(shortened(tokenizer(), tokens, most)) == expected
