"""Attempts at a text by Whisper's models, whose scripts say how sure they are."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from tests.doubles import SURE, Script, ScriptedBackend, scripted_utterance
from tests.tiny_whisper import whisper_config, whisper_tokenizer
from turnout.decoding.decode import decode
from turnout.decoding.requests import DecodingOptions, Hypothesis, Request
from turnout.guidance import Guidance, Task

TOKENIZER = whisper_tokenizer()
CAT, MAT = (TOKENIZER.encode(word)[0] for word in ("cat", "mat"))
SAID = "the cat sat on the mat"
SURELY, HARDLY = SURE, 0.25
"""Probabilities of each token of a script; the second's logarithm is below the threshold."""
UNGUARDED: dict[str, Any] = {
    "logprob_threshold": None,
    "compression_ratio_threshold": None,
    "no_speech_threshold": None,
}


@dataclass
class Whispering(ScriptedBackend):
    """Says each token of a script with the probability `heard_with`."""

    no_speech: float = 0.1

    def next(
        self, script: Script, guidance: Guidance, history: tuple[int, ...]
    ) -> Mapping[int, float]:
        """Probabilities of the next token; a previous text changes nothing."""
        history = history[history.index(TOKENIZER.start) :]
        if history == (TOKENIZER.start,):
            language = TOKENIZER.language(script.language)
            return {TOKENIZER.no_speech: self.no_speech, language: 0.99 - self.no_speech}
        found = super().next(script, guidance, history)
        prompt = len(TOKENIZER.prompt(guidance, True))
        if len(history) < prompt or history[prompt:] in script.next_tokens:
            return found
        return {token: p * script.heard_with / SURE for token, p in found.items()}


def whispering(scripts: Sequence[Script], no_speech: float = 0.1) -> Whispering:
    config = whisper_config()
    config = replace(config, decoder=replace(config.decoder, max_tokens=200))
    return Whispering(scripts, config, TOKENIZER, no_speech=no_speech)  # type: ignore[arg-type]


def said(
    *scripts: Script, backend: Whispering | None = None, seconds: float = 10.0, **options: Any
) -> list[Hypothesis]:
    asked = DecodingOptions(**{"temperatures": (0.0, 0.5, 1.0), **options})
    utterances = [
        scripted_utterance(i, Request(language="en"), seconds, options=asked)
        for i in range(len(scripts))
    ]
    found = decode(backend or whispering(scripts), TOKENIZER, utterances)
    return [one.hypotheses[0] for one in found]


def script(text: str, heard_with: float = SURELY, **more: Any) -> Script:
    return Script(text, language="en", heard_with=heard_with, **more)


def test_a_good_text_is_the_only_attempt() -> None:
    (found,) = said(script(SAID))
    assert (found.text, found.temperature, found.failed, found.cut) == (SAID, 0.0, False, False)
    data = SAID.encode()
    assert found.compression_ratio == len(data) / len(zlib.compress(data))
    assert found.no_speech_prob == pytest.approx(0.1)


def test_only_what_was_refused_is_decoded_anew() -> None:
    scripts = script(SAID), script(SAID, HARDLY), script("the mat")
    backend = whispering(scripts)
    good, bad, short = said(*scripts, backend=backend, best_of=4)
    assert (good.text, short.text) == (SAID, "the mat")
    assert not good.failed and not short.failed and bad.failed
    first = len(TOKENIZER.encode(SAID)) + 1
    assert max(backend.steps[:first]) == 3
    assert set(backend.steps[first:]) <= {1, 2, 3, 4} and backend.steps[first] == 4


def test_where_all_are_refused_the_most_probable_is_kept() -> None:
    """At a temperature of 0.5, the likeliest tokens are drawn as good as always."""
    (found,) = said(script(SAID, HARDLY))
    assert found.failed and not found.cut
    assert found.text == SAID
    assert found.avg_log_prob == pytest.approx(np.log(HARDLY), abs=1e-3)


def test_a_loop_is_left_by_drawing() -> None:
    """The likeliest token is always the same; a third of the draws ends."""
    table = {(CAT,) * n: {CAT: 0.6, TOKENIZER.end: 0.39} for n in range(1, 100)}
    looping = script("cat", next_tokens={(): {CAT: SURE}, **table})
    (found,) = said(looping)
    assert not found.failed and not found.cut
    assert found.temperature in {0.5, 1.0}
    (alone,) = said(looping, temperatures=(0.0,))
    assert alone.failed and alone.cut
    assert alone.text == "cat cat cat cat"


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_loop_that_nothing_leaves_is_said_to_have_failed(beam_size: int) -> None:
    (found,) = said(script(" ".join(["cat"] * 60)), beam_size=beam_size)
    assert found.failed and found.cut
    assert found.text == "cat cat cat cat"


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_word_may_be_said_six_times(beam_size: int) -> None:
    six = " ".join(["cat"] * 6)
    (found,) = said(script(six), beam_size=beam_size)
    assert (found.text, found.failed, found.cut) == (six, False, False)


def test_a_text_that_repeats_itself_in_long_parts_is_refused() -> None:
    """No n-gram that is watched: nine tokens and more."""
    part = "the cat sat on the mat and the naß cat ist die"
    assert len(TOKENIZER.encode(part)) > 8
    (found,) = said(script(" ".join([part] * 5)), seconds=20.0)
    assert found.failed and not found.cut
    assert found.compression_ratio is not None and found.compression_ratio > 2.4
    (found,) = said(script(" ".join([part] * 5)), seconds=20.0, compression_ratio_threshold=None)
    assert not found.failed


def test_an_improbable_text_is_silence_where_no_speech_is_probable() -> None:
    hardly = script(SAID, HARDLY)
    backend = whispering([hardly], no_speech=0.7)
    (found,) = said(hardly, backend=backend)
    assert (found.tokens, found.text, found.failed) == ((), "", False)
    assert found.no_speech_prob == pytest.approx(0.7)
    assert set(backend.steps) == {1}, "no other attempt"
    (kept,) = said(hardly, backend=whispering([hardly], no_speech=0.5))
    assert kept.text == SAID
    surely = script(SAID)
    (kept,) = said(surely, backend=whispering([surely], no_speech=0.7))
    assert kept.text == SAID
    (none,) = said(surely, backend=whispering([surely], no_speech=0.7), logprob_threshold=None)
    assert none.text == "", "without the other threshold, this one decides"


@pytest.mark.parametrize(
    ("no_speech", "heard_with", "kept"),
    [
        (0.61, 0.40, True),
        (0.84, 0.40, False),  # what whisper-base invents in a coffee shop
        (0.84, 0.55, False),
        (0.84, 0.70, True),  # what is surely said is kept, whatever a checkpoint takes for silence
        (0.95, SURELY, True),
        (0.70, 0.60, True),
        (0.35, 0.13, True),  # the worst that was seen of short words: refused, but never silence
    ],
)
def test_the_surer_no_speech_is_the_more_probable_a_text_must_be(
    no_speech: float, heard_with: float, kept: bool
) -> None:
    one = script(SAID, heard_with)
    (found,) = said(one, backend=whispering([one], no_speech=no_speech))
    assert bool(found.text) is kept
    assert found.no_speech_prob == pytest.approx(no_speech)
    (found,) = said(one, backend=whispering([one], no_speech=no_speech), no_speech_threshold=None)
    assert found.text == SAID


@pytest.mark.parametrize(("threshold", "no_speech"), [(0.0, 0.5), (0.6, 0.97), (1.0, 0.97)])
def test_any_threshold_can_be_asked_for(threshold: float, no_speech: float) -> None:
    one = script(SAID, 0.5)
    (found,) = said(
        one, backend=whispering([one], no_speech=no_speech), no_speech_threshold=threshold
    )
    assert bool(found.text) is (threshold == 1.0)


def test_draws_are_an_utterance_s_own() -> None:
    scripts = [script(SAID, 0.1), script(SAID, 0.1), script("the mat", 0.1)]
    asked = {"temperatures": (1.0,), "best_of": 1, **UNGUARDED}
    together = said(*scripts, **asked)
    assert said(*scripts, **asked) == together
    assert said(*scripts[:1], **asked) == together[:1]
    assert said(*scripts[:2], **asked) == together[:2]
    assert together[0].tokens != together[1].tokens, "they sound different"
    assert together[0].text != SAID and together[0].temperature == 1.0


def test_of_several_draws_the_most_probable_is_taken() -> None:
    asked = {"temperatures": (1.0,), **UNGUARDED}
    one, ten = (said(script(SAID, 0.1), best_of=n, **asked)[0] for n in (1, 10))
    assert ten.avg_log_prob > one.avg_log_prob


def test_whoever_is_cancelled_makes_no_other_attempt() -> None:
    hardly = script(SAID, HARDLY)
    backend = whispering([hardly])
    steps = len(TOKENIZER.encode(SAID)) + 1
    utterance = scripted_utterance(
        0,
        Request(language="en"),
        10.0,
        options=DecodingOptions(temperatures=(0.0, 0.2, 0.4)),
        is_cancelled=lambda: len(backend.steps) >= steps,
    )
    (found,) = decode(backend, TOKENIZER, [utterance])
    assert found.error is not None and len(backend.steps) == steps


def test_nothing_translated_of_nothing_said() -> None:
    hardly = Script(SAID, {"en": "naß"}, "zh", heard_with=HARDLY)
    backend = whispering([hardly], no_speech=0.9)
    utterance = scripted_utterance(0, Request(tasks=tuple(Task), language="zh"), 10.0)
    (found,) = decode(backend, TOKENIZER, [utterance])
    assert [one.text for one in found.hypotheses] == ["", ""]
