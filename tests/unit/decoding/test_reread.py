"""What learned routers did comes out beside the text, from the one pass that wrote it; and where in
its sound the decoder attended to it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from tests import models
from tests.doubles import tokenizer
from tests.unit.decoding.test_fallback import SAID, TOKENIZER, Whispering, said, script, whispering
from turnout.audio.features import FRAME_SECONDS
from turnout.backends.torch import TorchBackend, load_model
from turnout.decoding.decode import decode
from turnout.decoding.requests import Decoded, DecodingOptions, Request, Utterance, row_guidance
from turnout.guidance import Bandwidth, Task
from turnout.model_folder import ModelFolder

ASKED = DecodingOptions(word_timestamps=True, decoder_routing=True, max_tokens_per_second=8)


def decoded(shape: str, options: DecodingOptions = ASKED) -> tuple[TorchBackend, list[Decoded]]:
    """Two utterances of different lengths, so that one is padded."""
    backend = TorchBackend(load_model(ModelFolder.open(models.saved(shape))))
    random = np.random.default_rng(0)
    request = Request(bandwidth=Bandwidth.WIDEBAND, language="ar")
    sounds = [random.standard_normal((frames, 80), np.float32) for frames in (120, 70)]
    utterances = [Utterance(sound, request, options) for sound in sounds]
    return backend, decode(backend, tokenizer(), utterances)


def test_the_encoder_s_probabilities_choose_its_experts_and_padding_has_none() -> None:
    _, answers = decoded("switch")
    for answer, frames in zip(answers, (120, 70), strict=True):
        found, index = answer.router_probabilities, answer.expert_index
        assert found is not None and index is not None
        assert found.shape == (2, -(-frames // 4), 3)
        assert np.array_equal(found.argmax(axis=-1), index)
        np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)


def test_guidance_has_no_probabilities() -> None:
    _, answers = decoded("supervised")
    assert all(answer.router_probabilities is None for answer in answers)


def test_each_token_tells_the_decoder_s_routers() -> None:
    _, answers = decoded("switch")
    written = [answer.hypotheses[0] for answer in answers]
    assert any(one.tokens for one in written)
    for one in written:
        if not one.tokens:
            continue
        assert one.router_probabilities is not None and one.token_frames is not None
        assert one.router_probabilities.shape == (2, len(one.tokens), 2)
        assert one.token_frames.shape == (2, len(one.tokens))
        np.testing.assert_allclose(one.router_probabilities.sum(axis=-1), 1, atol=1e-6)


def test_a_token_s_router_is_asked_while_the_one_before_it_is_read() -> None:
    """Against the decoder itself, token by token."""
    backend, answers = decoded("switch")
    place = next(i for i, answer in enumerate(answers) if len(answer.hypotheses[0].tokens) > 1)
    one = answers[place].hypotheses[0]
    assert one.router_probabilities is not None
    model, words = backend.model, tokenizer()
    random = np.random.default_rng(0)
    sounds = [random.standard_normal((frames, 80), np.float32) for frames in (120, 70)]
    request = Request(bandwidth=Bandwidth.WIDEBAND, language="ar")
    guidance = row_guidance(request, Task.TRANSCRIBE, "ar", backend.config)
    mask = np.ones((1, len(sounds[place])), bool)
    encoded = backend.encode(sounds[place][None], mask, [guidance])
    prompt = words.prompt(guidance, backend.config.task_token)
    state = backend.start(encoded, np.zeros(1, np.int64), [guidance])
    read = torch.tensor([[*prompt, *one.tokens[:-1]]])
    with torch.inference_mode():
        held = state.cache
        assert model.decoder is not None
        output = model.decoder(
            read, torch.tensor([read.shape[1]]), held.guide, held.memory, held.cache
        )
    expected = torch.stack([routing.probabilities[0] for routing in output.routings])
    np.testing.assert_allclose(
        one.router_probabilities, expected[:, len(prompt) - 1 :].numpy(), atol=1e-5
    )


def test_what_nobody_asks_for_is_not_read_again() -> None:
    _, answers = decoded("switch", DecodingOptions(max_tokens_per_second=8))
    assert all(one.hypotheses[0].router_probabilities is None for one in answers)
    assert all(one.hypotheses[0].token_frames is None for one in answers)


@dataclass
class Attends(Whispering):
    """Attends to these seconds while the tokens of a text are written, and to the first before."""

    seconds: Sequence[float] = ()

    def attention(self, encoded: Any, rows: Any, guidance: Any, tokens: Any, counts: Any) -> Any:
        weights = np.zeros_like(super().attention(encoded, rows, guidance, tokens, counts))
        places = np.zeros(tokens.shape[1], int)
        hidden = 1 / (FRAME_SECONDS * self.config.encoder.subsampling_factor)
        first = int(counts[0]) - len(self.seconds) - 2  # before the token that writes the first
        places[first:-2] = np.round(np.array(self.seconds) * hidden)
        weights[:, :, np.arange(len(places)), places] = 1
        return weights


def test_a_text_tells_where_nothing_of_it_is_heard() -> None:
    """A word a token, the third of which seems to be heard elsewhere."""
    like = whispering([script(SAID)])
    config = replace(like.config, decoder=replace(like.config.decoder, alignment_heads=((0, 0),)))
    seconds = (0.4, 0.8, 0.1, 7.0, 7.4, 7.6)
    backend = Attends(like.scripts, config, TOKENIZER, seconds=seconds)  # type: ignore[arg-type]
    (found,) = said(script(SAID), backend=backend)
    assert found.unheard == pytest.approx((0.8, 7.0))
    assert found.heard_until == pytest.approx(7.6, abs=0.03)
    (short,) = said(script(SAID), backend=backend, seconds=5.0)
    assert short.unheard is None, "what is shorter is one sentence"


@dataclass
class Counted(Attends):
    """Notes how many texts it was given at once."""

    given: list[int] = field(default_factory=list)

    def attention(self, encoded: Any, rows: Any, guidance: Any, tokens: Any, counts: Any) -> Any:
        self.given.append(len(rows))
        return super().attention(encoded, rows, guidance, tokens, counts)


def test_few_texts_are_read_at_once_however_many_are_decoded_together() -> None:
    """The weights of all of them would be most of what a recording takes of memory."""
    scripts = [script(SAID) for _ in range(5)]
    like = whispering(scripts)
    config = replace(like.config, decoder=replace(like.config.decoder, alignment_heads=((0, 0),)))
    seconds = (0.4, 0.8, 1.1, 7.0, 7.4, 7.6)
    backend = Counted(like.scripts, config, TOKENIZER, seconds=seconds)  # type: ignore[arg-type]
    found = said(*scripts, backend=backend)
    assert len(found) == 5 and sum(backend.given) == 5 and max(backend.given) == 2
    assert all(one.heard_until == pytest.approx(7.6, abs=0.03) for one in found)
