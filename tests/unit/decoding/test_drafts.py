"""What drafts save: steps of the decoder, whatever it is that CTC heard otherwise."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.doubles import Script, ScriptedBackend, model_config, scripted_utterance, tokenizer
from turnout.decoding.backend import DecoderState, StepOutput, StepQuery
from turnout.decoding.decode import decode
from turnout.decoding.drafts import FEWEST, Draft
from turnout.decoding.requests import DecodingOptions, Request

PROMPT = 4
"""Tokens."""
SAID = "one two three four five yes no stop"


@dataclass
class Counting(ScriptedBackend):
    """Knows how many tokens each step was given."""

    given: list[int] = field(default_factory=list)

    def step(
        self, state: DecoderState, tokens: np.ndarray, counts: np.ndarray, query: StepQuery
    ) -> tuple[StepOutput, DecoderState]:
        self.given.append(int(counts.sum()))
        return super().step(state, tokens, counts, query)


def given(heard: str, said: str = SAID, **options: float) -> list[int]:
    """Tokens that each step is given, of a text that CTC hears as `heard`."""
    backend = Counting([Script(said, language="en", heard=heard)])
    chosen = DecodingOptions(ctc_weight=0, **options)  # type: ignore[arg-type]
    request = Request(language="en")
    (decoded,) = decode(backend, tokenizer(), [scripted_utterance(0, request, 4, options=chosen)])
    words = decoded.hypotheses[0].text.split()
    assert words == said.split()[: len(words)]
    return backend.given


@pytest.mark.parametrize(
    ("heard", "steps"),
    [
        (SAID, [PROMPT + 8]),
        ("one two three no five yes no stop", [PROMPT + 8, 1 + 4]),  # another word
        ("one two three five yes no stop", [PROMPT + 7, 1 + 3, 1 + 3]),  # one left out
        ("one two three stop four five yes no stop", [PROMPT + 9, 1 + 4]),  # one put in
        ("one two three", [PROMPT + 3, 1, 1, 1, 1, 1]),
        (" ".join(["stop"] * 20), [PROMPT + 20, *[1 + FEWEST] * 7]),  # nothing that is right
    ],
)
def test_the_draft_goes_on_behind_what_ctc_heard_otherwise(heard: str, steps: list[int]) -> None:
    assert given(heard) == steps


def test_no_more_is_proposed_than_there_is_room_for() -> None:
    """Four seconds of half a token each, and eight to spare."""
    said = " ".join([SAID, SAID])
    assert given(said, said, max_tokens_per_second=0.5) == [PROMPT + 10]


def test_translations_and_models_without_ctc_go_step_by_step() -> None:
    script = Script(SAID, language="en")
    backend = Counting([script], model_config(ctc=False))
    decode(backend, tokenizer(), [scripted_utterance(0, Request(language="en"), 4)])
    assert backend.given == [PROMPT, *[1] * 8]


def test_a_text_of_ctc_alone_is_weighed_without_another_step() -> None:
    (first,) = tokenizer().encode("one")
    hasty = {(): {tokenizer().end: 0.6, first: 0.39}}
    script = Script("one two three", language="en", next_tokens=hasty)
    backend = Counting([script])
    (decoded,) = decode(backend, tokenizer(), [scripted_utterance(0, Request(language="en"))])
    found = decoded.hypotheses[0]
    assert (found.text, backend.given) == (script.transcript, [PROMPT + 3])
    assert found.log_prob == pytest.approx(np.log(0.39) + 3 * np.log(0.98), abs=1e-3)


def test_of_equally_near_places_the_later_one_is_taken() -> None:
    assert Draft((5, 1, 2, 1, 4)).behind(2, 1).place == 4  # behind 5 1, in place of 2
    draft = Draft((5, 1, 2, 3, 1, 4))
    assert draft.behind(3, 1).place == 5
    assert draft.behind(2, 1).place == 2
    assert draft.behind(2, 9).place == 3
    assert draft.behind(2, 9).proposed(100) == (3, 1, 4)
    assert Draft((7,) * 50).behind(0, 8).proposed(100) == (7,) * FEWEST
    assert Draft((7,) * 50).behind(3, 8).proposed(5) == (7,) * 5
