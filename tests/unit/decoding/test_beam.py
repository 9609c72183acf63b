from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from tests.doubles import Script, ScriptedBackend, model_config, scripted_utterance, tokenizer
from turnout.decoding.beam import best_continuations, penalty
from turnout.decoding.ctc import PrefixScorer
from turnout.decoding.decode import decode
from turnout.decoding.requests import DecodingOptions, Hypothesis, Request
from turnout.guidance import Task

WORDS = [tokenizer().encode(word)[0] for word in ("one", "two", "no")]
END = tokenizer().end
LONGEST = 3


def random_script(seed: int, heard: str | None = None) -> Script:
    """Every text of up to three of three words has its own next-token probabilities."""
    rng = np.random.default_rng(seed)
    table = {}
    for length in range(LONGEST + 1):
        for text in product(WORDS, repeat=length):
            end = 50.0 if length == LONGEST else 0.5
            weights = rng.dirichlet([1.0, 1.0, 1.0, end]) * 0.999
            table[text] = dict(zip([*WORDS, END], weights.tolist(), strict=True))
    return Script("one two no", language="en", heard=heard, next_tokens=table)


def decoder_scores(script: Script) -> dict[tuple[int, ...], float]:
    """The decoder's log-probability of every text: the slow twin of the search."""
    scores = {}
    for text in script.next_tokens:
        steps = [script.next_tokens[text[:i]][token] for i, token in enumerate(text)]
        steps.append(script.next_tokens[text][END])
        scores[text] = float(np.log(steps).sum())
    return scores


def search(script: Script, *, ctc: bool, **options: object) -> Hypothesis:
    backend = ScriptedBackend([script], model_config(ctc=ctc))
    asked = DecodingOptions(**options)  # type: ignore[arg-type]
    utterance = scripted_utterance(0, Request(language="en"), options=asked)
    (decoded,) = decode(backend, tokenizer(), [utterance])
    return decoded.hypotheses[0]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("weight", [0.1, 0.3, 0.6, 1.0])
def test_a_wide_beam_finds_the_best_joint_text(seed: int, weight: float) -> None:
    script = replace(random_script(seed, heard="two no"), heard_with=0.5)
    emissions = ScriptedBackend([script]).emissions(script, 50)
    scores = decoder_scores(script)
    scorer = PrefixScorer(emissions[None], np.ones((1, 50), dtype=bool), tokenizer().blank)
    ctc = scorer.score(np.zeros(len(scores), dtype=np.int64), list(scores))
    joint = (1 - weight) * np.array(list(scores.values())) + weight * ctc
    best = list(scores)[int(joint.argmax())]
    options = DecodingOptions(beam_size=40, ctc_weight=weight)
    utterance = scripted_utterance(0, Request(language="en"), options=options)
    (decoded,) = decode(ScriptedBackend([script]), tokenizer(), [utterance])
    assert decoded.hypotheses[0].tokens == best
    assert decoded.hypotheses[0].log_prob == pytest.approx(scores[best], abs=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_without_ctc_the_score_is_normalised_by_length(seed: int) -> None:
    script = random_script(seed)
    scores = decoder_scores(script)
    best = max(scores, key=lambda text: scores[text] / ((5 + len(text)) / 6) ** 0.6)
    found = search(script, ctc=False, beam_size=40)
    assert found.tokens == best
    assert found.log_prob == pytest.approx(scores[best], abs=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_greedy_follows_the_likeliest_token(seed: int) -> None:
    script = random_script(seed)
    written: tuple[int, ...] = ()
    while True:
        table = script.next_tokens[written]
        token = max(table, key=lambda t: table[t])
        if token == END:
            break
        written = (*written, token)
    found = search(script, ctc=False)
    assert found.tokens == written
    assert found.log_prob == pytest.approx(decoder_scores(script)[written], abs=1e-4)


def test_a_beam_sees_past_a_wrong_first_step() -> None:
    one, two, _ = WORDS
    table = {
        (): {one: 0.55, two: 0.44},
        (one,): {END: 0.3, one: 0.3, two: 0.3},
        (one, one): {END: 0.5},
        (one, two): {END: 0.5},
        (two,): {END: 0.95},
    }
    script = Script("two", language="en", next_tokens=table)
    assert search(script, ctc=False).tokens[:1] == (one,)
    assert search(script, ctc=False, beam_size=2).tokens == (two,)


def test_rows_of_all_tasks_share_every_step() -> None:
    scripts = [
        Script("one two", {"de": "eins zwei"}, "en"),
        Script("نعم", {"en": "yes"}, "ar"),
    ]
    backend = ScriptedBackend(scripts)
    both = (Task.TRANSCRIBE, Task.TRANSLATE)
    options = DecodingOptions(beam_size=3)
    utterances = [scripted_utterance(i, Request(tasks=both), options=options) for i in range(2)]
    decode(backend, tokenizer(), utterances)
    # The language, the prompt, then three hypotheses per row; short rows leave when they end.
    assert backend.steps == [2, 4, 12, 6]


def test_select_takes_the_best_of_each_row() -> None:
    rows = np.array([0, 0, 2, 2])
    joint = np.array([[0.1, 0.9], [0.8, 0.2], [-np.inf, -1.0], [-2.0, -3.0]])
    hypotheses, places = best_continuations(rows, joint, beam_size=3)
    assert hypotheses.tolist() == [0, 1, 1, 2, 3, 3]
    assert places.tolist() == [1, 0, 1, 1, 0, 1]


def test_penalty_is_for_rows_without_ctc() -> None:
    found = penalty(np.array([1, 13]), np.array([0.3, 0.0]))
    assert found.tolist() == [1.0, pytest.approx(3**0.6)]
