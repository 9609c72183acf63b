"""A language that nobody said, and that has experts of its own, is found on the base's path."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.doubles import tokenizer
from tests.models import SHAPES
from turnout.backends.torch import TorchBackend
from turnout.config import RoutingConfig
from turnout.decoding.backend import Encoded
from turnout.decoding.decode import decode
from turnout.decoding.requests import DecodingOptions, Request, Utterance, check_request
from turnout.errors import GuidanceError
from turnout.guidance import Guidance, Guide, Task
from turnout.model.build import build_model

OWN = RoutingConfig(kind="supervised", guided_by=(Guide.LANGUAGE,), experts_for=("en",))
OPTIONS = DecodingOptions(max_tokens_per_second=3)


class Watched(TorchBackend):
    """Keeps the guidance that each pass of the encoder was given."""

    def encode(
        self,
        log_mel: NDArray[np.float32],
        frame_mask: NDArray[np.bool_],
        guidance: "list[Guidance]",  # type: ignore[override]
    ) -> Encoded:
        """As it is."""
        self.passes = [*getattr(self, "passes", []), [one.language for one in guidance]]
        return super().encode(log_mel, frame_mask, guidance)


@pytest.fixture(scope="module", params=["encoder", "decoder", "both"])
def backend(request: pytest.FixtureRequest) -> Watched:
    shape = SHAPES["dense"]
    for stack in ("encoder", "decoder"):
        if request.param in (stack, "both"):
            part = replace(getattr(shape, stack), routing=OWN)
            shape = replace(shape, **{stack: part})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = build_model(shape)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "experts" in name or "cross" in name or "embedding" in name:
                    parameter.mul_(4)
    return Watched(model)


def utterances(count: int, **changes: object) -> list[Utterance]:
    rng = np.random.default_rng(0)
    request = Request(tasks=(Task.TRANSCRIBE,), **changes)  # type: ignore[arg-type]
    sounds = [rng.normal(rng.normal(0, 2, 80), 1, (20 + 7 * i, 80)) for i in range(count)]
    return [Utterance(sound.astype(np.float32), request, OPTIONS) for sound in sounds]


def test_each_is_what_it_is_where_its_language_is_said(backend: Watched) -> None:
    asked = utterances(12)
    backend.passes = []
    found = decode(backend, tokenizer(), asked)
    passes = list(backend.passes)
    languages = [one.language for one in found]
    assert {"ar", "en"} == set(languages)  # or nothing would be shown
    moved = languages.count("en") if backend.config.encoder.routing.guided else 0
    assert passes == [[None] * 12, *([["en"] * moved] if moved else [])]
    for utterance, one in zip(asked, found, strict=True):
        assert one.error is None and one.language_probability is not None
        said = replace(utterance, request=replace(utterance.request, language=one.language))
        (told,) = decode(backend, tokenizer(), [said])
        assert told.hypotheses[0].text == one.hypotheses[0].text
        assert one.hypotheses[0].log_prob == pytest.approx(told.hypotheses[0].log_prob, abs=1e-3)
        assert one.expert_index is not None and told.expert_index is not None
        assert np.array_equal(one.expert_index, told.expert_index)


def test_who_leaves_meanwhile_is_left_alone(backend: Watched) -> None:
    asked = [replace(one, is_cancelled=lambda: True) for one in utterances(3)]
    assert all(one.error is not None for one in decode(backend, tokenizer(), asked))


def test_without_a_base_or_a_decoder_the_language_must_be_said() -> None:
    everybody = replace(
        SHAPES["dense"],
        decoder=replace(SHAPES["dense"].decoder, routing=replace(OWN, experts_for=())),
    )
    for config in (
        everybody,
        replace(SHAPES["ctc_only"], encoder=replace(SHAPES["ctc_only"].encoder, routing=OWN)),
    ):
        with pytest.raises(GuidanceError, match="language selects .* choose one of ar, en"):
            check_request(Request(), config)
        check_request(Request(language="en"), config)


def test_domains_and_tasks_that_are_not_there() -> None:
    config = replace(SHAPES["dense"], domains=("base", "calls"), tasks=(Task.TRANSLATE,))
    check_request(Request(tasks=(Task.TRANSLATE,), domain="calls"), config)
    with pytest.raises(GuidanceError, match="domain 'films' is unknown .* one of base, calls, or"):
        check_request(Request(tasks=(Task.TRANSLATE,), domain="films"), config)
    with pytest.raises(GuidanceError, match="does not transcribe: it was cut out to translate"):
        check_request(Request(), config)
