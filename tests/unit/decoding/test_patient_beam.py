"""The beam search of Whisper's models against openai/whisper's, written down plainly."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from tests.doubles import Script, scripted_utterance
from tests.tiny_whisper import whisper_tokenizer
from tests.unit.decoding.test_fallback import UNGUARDED, Whispering, whispering
from turnout.decoding.decode import decode
from turnout.decoding.requests import DecodingOptions, Hypothesis, Request

TOKENIZER = whisper_tokenizer()
WORDS = [TOKENIZER.encode(word)[0] for word in ("cat", "mat", "the")]
END = TOKENIZER.end
LONGEST = 4
Text = tuple[int, ...]


def random_script(seed: int) -> Script:
    """Every text of up to four of three words has its own next-token probabilities."""
    rng = np.random.default_rng(seed)
    table = {}
    for length in range(LONGEST + 1):
        for text in product(WORDS, repeat=length):
            end = 50.0 if length == LONGEST else 0.7
            weights = rng.dirichlet([1.0, 1.0, 1.0, end]) * 0.9999
            table[text] = dict(zip([*WORDS, END], weights.tolist(), strict=True))
    return Script("the cat", language="en", next_tokens=table)


def plain_search(script: Script, beam_size: int) -> tuple[Text, float]:
    """`BeamSearchDecoder` of openai/whisper with patience 1, and its `MaximumLikelihoodRanker`."""
    beams: dict[Text, float] = {(): 0.0}
    finished: dict[Text, float] = {}
    while len(finished) < beam_size:
        scores = {}
        for text, total in beams.items():
            best = sorted(script.next_tokens[text].items(), key=lambda item: -item[1])
            for token, probability in best[: beam_size + 1]:
                scores[*text, token] = total + float(np.log(probability))
        beams, ended = {}, {}
        for text in sorted(scores, key=lambda text: -scores[text]):
            if text[-1] == END:
                ended[text] = scores[text]
            else:
                beams[text] = scores[text]
                if len(beams) == beam_size:
                    break
        for text, total in ended.items():
            if len(finished) < beam_size:
                finished[text] = total
        beams = {text: total for text, total in beams.items() if text in script.next_tokens}
    best = max(finished, key=lambda text: finished[text] / max(len(text) - 1, 1))
    return best[:-1], finished[best]


def found(backend: Whispering, beam_size: int, **changes: object) -> Hypothesis:
    options = DecodingOptions(beam_size=beam_size, **UNGUARDED)
    utterance = scripted_utterance(0, Request(language="en"), 10.0, options=options)
    (answer,) = decode(backend, TOKENIZER, [replace(utterance, **changes)])
    return answer.hypotheses[0]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("beam_size", [2, 3])
def test_the_search_is_whisper_s(seed: int, beam_size: int) -> None:
    script = random_script(seed)
    text, total = plain_search(script, beam_size)
    hypothesis = found(whispering([script]), beam_size)
    assert hypothesis.tokens == text
    assert hypothesis.log_prob == pytest.approx(total, abs=1e-3)
    assert hypothesis.ended and not hypothesis.cut
    assert hypothesis.no_speech_prob == pytest.approx(0.1)


def test_a_row_at_its_limit_is_cut() -> None:
    script = Script("the cat sat on the mat", language="en")
    backend = whispering([script])
    prompt = 4
    config = backend.config
    backend.config = replace(config, decoder=replace(config.decoder, max_tokens=prompt + 4))
    hypothesis = found(backend, 3)
    assert (hypothesis.text, hypothesis.cut, hypothesis.ended) == ("the cat sat on", True, False)
    assert hypothesis.log_prob == pytest.approx(4 * np.log(0.999), abs=1e-4)


def test_batch_mates_change_nothing() -> None:
    scripts = [random_script(seed) for seed in (1, 2, 3)]
    options = DecodingOptions(beam_size=3, **UNGUARDED)
    utterances = [
        scripted_utterance(i, Request(language="en"), 10.0, options=options) for i in range(3)
    ]
    together = decode(whispering(scripts), TOKENIZER, utterances)
    for i, answer in enumerate(together):
        assert decode(whispering(scripts), TOKENIZER, [utterances[i]]) == [answer]
