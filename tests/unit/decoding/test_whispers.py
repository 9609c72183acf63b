"""Models in Whisper's settings are decoded as transformers decodes them."""

from dataclasses import replace

import numpy as np
import pytest

from tests.tiny_whisper import MOST_TOKENS, backend, logits, utterance, whisper_tokenizer
from turnout.decoding.decode import decode
from turnout.decoding.requests import Hypothesis, Request
from turnout.guidance import Guidance, Task

TOKENIZER = whisper_tokenizer()
NO_THRESHOLDS = {
    "compression_ratio_threshold": None,
    "logprob_threshold": None,
    "no_speech_threshold": None,
}
SUPPRESSED = (5, 9, 200, 201, 202, 203)
FIRST = (11, 12, 13, TOKENIZER.end)


def prompt_of(language: str, task: Task = Task.TRANSCRIBE) -> list[int]:
    return TOKENIZER.prompt(Guidance(language=language, task=task), True)


def slow_greedy(index: int, prompt: list[int]) -> list[int]:
    """The likeliest allowed id at each step, all of the text read anew each time."""
    allowed = TOKENIZER.text_mask.copy()
    allowed[TOKENIZER.end] = True
    allowed[list(SUPPRESSED)] = False
    text: list[int] = []
    while len(text) < MOST_TOKENS - len(prompt):
        found = logits(index, [*prompt, *text])[-1].numpy().copy()
        found[~allowed] = -np.inf
        if not text:
            found[list(FIRST)] = -np.inf
        token = int(found.argmax())
        if token == TOKENIZER.end:
            break
        text.append(token)
    return text


def check_greedy(hypothesis: Hypothesis, index: int, prompt: list[int]) -> None:
    """Also where the text was cut, since a second has room for 25 characters."""
    expected = slow_greedy(index, prompt)
    tokens = list(hypothesis.tokens)
    assert tokens == (expected[: len(tokens)] if hypothesis.cut else expected)
    assert len(tokens) >= min(len(expected), 8)


def transcripts(requests: list[Request], **options: object) -> list[Hypothesis]:
    model = backend(suppressed=SUPPRESSED, suppressed_first=FIRST)
    asked = {**NO_THRESHOLDS, **options}
    utterances = [utterance(i, request, **asked) for i, request in enumerate(requests)]
    return [found.hypotheses[0] for found in decode(model, TOKENIZER, utterances)]


def test_greedy_rows_follow_transformers() -> None:
    languages = ("en", "zh", "haw", "en", "zh")
    found = transcripts([Request(language=code) for code in languages])
    for i, (code, hypothesis) in enumerate(zip(languages, found, strict=True)):
        prompt = prompt_of(code)
        check_greedy(hypothesis, i, prompt)
        tokens = hypothesis.tokens
        assert tokens[0] not in FIRST and not set(tokens) & set(SUPPRESSED)
    assert len({hypothesis.tokens for hypothesis in found}) > 1


def test_language_and_no_speech_are_those_behind_the_start() -> None:
    model = backend()
    requests = [Request(), Request(language="zh"), Request()]
    utterances = [utterance(i, request, **NO_THRESHOLDS) for i, request in enumerate(requests)]
    for i, found in enumerate(decode(model, TOKENIZER, utterances)):
        behind = logits(i, [TOKENIZER.start])[0].exp().numpy()
        shares = {code: behind[place] for code, place in TOKENIZER.language_ids.items()}
        best = max(shares, key=lambda code: shares[code])
        no_speech = found.hypotheses[0].no_speech_prob
        assert no_speech == pytest.approx(behind[TOKENIZER.no_speech], abs=1e-5)
        if requests[i].language is None:
            assert found.language == best
            assert found.language_probability == pytest.approx(
                shares[best] / sum(shares.values()), abs=1e-5
            )
        else:
            assert found.language_probability is None


@pytest.mark.parametrize("beam_size", [1, 3])
def test_prompts_of_one_batch_are_of_any_length(beam_size: int) -> None:
    before = tuple(TOKENIZER.encode("the cat sat"))
    requests = [
        Request(language="en", previous=(before,)),
        Request(language="en"),
        Request(language="zh", initial_prompt="cat", previous=(before[:1],)),
    ]
    found = transcripts(requests, beam_size=beam_size)
    for i, request in enumerate(requests):
        model = backend(suppressed=SUPPRESSED, suppressed_first=FIRST)
        asked = utterance(i, request, beam_size=beam_size, **NO_THRESHOLDS)
        (alone,) = decode(model, TOKENIZER, [asked])
        assert alone.hypotheses[0].tokens == found[i].tokens
        assert alone.hypotheses[0].log_prob == pytest.approx(found[i].log_prob, abs=1e-3)
    if beam_size == 1:
        previous = [TOKENIZER.previous, *before]
        prompt = [*previous, *prompt_of("en")]
        check_greedy(found[0], 0, prompt)
        start = logits(0, prompt)[len(previous), TOKENIZER.no_speech].exp()
        assert found[0].no_speech_prob == pytest.approx(float(start), abs=1e-5)
        initial = [*TOKENIZER.encode("cat"), *before[:1]]
        prompt = [TOKENIZER.previous, *initial, *prompt_of("zh")]
        check_greedy(found[2], 2, prompt)


def test_a_previous_text_takes_less_than_half_and_leaves_its_beginning_out() -> None:
    before = tuple(range(20, 80))
    initial = TOKENIZER.encode("the mat")
    request = Request(language="en", initial_prompt="the mat", previous=(before,))
    (found,) = transcripts([request])
    kept = [*initial, *before[-(19 - len(initial)) :]]
    prompt = [TOKENIZER.previous, *kept, *prompt_of("en")]
    assert len(kept) == 19
    check_greedy(found, 0, prompt)
    text = "the cat sat on the mat " * 9
    long = replace(request, initial_prompt=text)
    (found,) = transcripts([long])
    prompt = [TOKENIZER.previous, *TOKENIZER.encode(text)[-19:], *prompt_of("en")]
    check_greedy(found, 0, prompt)


def test_both_tasks_come_from_one_encoder_pass() -> None:
    model, passes = backend(), []
    encode = model.encode
    model.encode = lambda *given: passes.append(1) or encode(*given)  # type: ignore[method-assign]
    asked = utterance(0, Request(tasks=tuple(Task), language="zh"), **NO_THRESHOLDS)
    (found,) = decode(model, TOKENIZER, [asked])
    assert [one.task for one in found.hypotheses] == list(Task) and passes == [1]
    for hypothesis in found.hypotheses:
        (alone,) = decode(
            model,
            TOKENIZER,
            [replace(asked, request=Request(tasks=(hypothesis.task,), language="zh"))],
        )
        assert alone.hypotheses[0].tokens == hypothesis.tokens
        assert hypothesis.tokens
    assert found.hypotheses[0].tokens != found.hypotheses[1].tokens
