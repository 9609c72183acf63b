"""The check is held against backends that are wrong in one place each."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny_whisper
from tests.models import SHAPES, saved
from turnout.backends.torch import TorchBackend, load_model
from turnout.config import RoutingConfig
from turnout.config.upcycling import upcycled
from turnout.decoding.backend import DecoderState, Encoded, StepOutput, StepQuery
from turnout.errors import ExportError
from turnout.export.parity import cases, check_parity, difference
from turnout.guidance import Guidance, Guide
from turnout.model_folder import ModelFolder

LANGUAGES = ("en", *(f"{first}{second}" for first in "abcdef" for second in "abcde"), "es")


def backend(shape: str = "supervised") -> TorchBackend:
    return TorchBackend(load_model(ModelFolder.open(saved(shape))))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_backend_agrees_with_itself(shape: str) -> None:
    assert check_parity(backend(shape), backend(shape)) == 0.0


class Wrong(TorchBackend):
    """Changes what the encoder or the decoder gives."""

    def __init__(
        self,
        encoded: Callable[[Encoded], Encoded] = lambda found: found,
        output: Callable[[StepOutput], StepOutput] = lambda found: found,
        attention: Callable[[np.ndarray], np.ndarray] = lambda found: found,
        shape: str = "supervised",
    ) -> None:
        super().__init__(backend(shape).model)
        self._encoded, self._output, self._attention = encoded, output, attention

    def encode(
        self, log_mel: np.ndarray, frame_mask: np.ndarray, guidance: list[Guidance]
    ) -> Encoded:  # type: ignore[override]
        return self._encoded(super().encode(log_mel, frame_mask, guidance))

    def step(
        self, state: DecoderState, tokens: np.ndarray, counts: np.ndarray, query: StepQuery
    ) -> tuple[StepOutput, DecoderState]:
        found, grown = super().step(state, tokens, counts, query)
        return self._output(found), grown

    def attention(self, *given: Any) -> np.ndarray:
        return self._attention(super().attention(*given))


def failing(_: Encoded) -> Encoded:
    raise ValueError("not a shape that was traced")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Wrong(encoded=lambda e: replace(e, ctc_log_probs=e.ctc_log_probs + 2e-4)), "of CTC"),
        (Wrong(encoded=lambda e: replace(e, ctc_log_probs=e.ctc_log_probs * np.nan)), "of CTC"),
        (Wrong(encoded=lambda e: replace(e, expert_index=1 - e.expert_index)), "other experts"),
        (Wrong(encoded=lambda e: replace(e, frame_mask=~e.frame_mask)), "another frame mask"),
        (Wrong(encoded=failing), "the graphs fail on a batch of 1x7 frames: not a shape"),
        (
            Wrong(output=lambda o: replace(o, log_probs=o.log_probs + 2e-4)),
            "of the decoder differ by 0.0002",
        ),
        (Wrong(output=lambda o: replace(o, scored=o.scored + 2e-4)), "decoder differ by 0.0002"),
        (Wrong(output=lambda o: replace(o, tokens=o.tokens[..., ::-1])), "the decoder differ by"),
    ],
)
def test_what_differs_is_found(wrong: Wrong, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        check_parity(backend(), wrong)


def test_large_log_probabilities_may_differ_by_their_rounding_at_their_place_alone() -> None:
    expected = np.array([[0.0, -5.0, -40.0], [-1.0, -2.0, -0.7]], np.float32)
    rounded = np.array([[0.0, 3e-4, -3e-4], [1e-5, 0.0, -9e-5]], np.float32)
    assert difference("x", expected, expected + rounded) == pytest.approx(3e-4, rel=0.02)
    for place, wrong in (((0, 2), 5e-4), ((0, 1), -5e-4), ((1, 0), 2e-4), ((1, 1), np.nan)):
        found = expected.copy()
        found[place] += wrong
        with pytest.raises(ExportError, match=r"the x differ by (0\.000\d|nan)"):
            difference("x", expected, found)


def test_a_graph_that_is_a_little_wrong_is_found_in_a_loud_model() -> None:
    """One weight of it is another, and the log-probabilities go down to those of Whisper."""
    right = tiny_whisper.backend()
    check_parity(right, tiny_whisper.backend())
    for name, by in (
        ("decoder.norm.weight", 1.0001),
        ("encoder.blocks.1.attention.value.weight", 1.001),
    ):
        wrong = tiny_whisper.backend()
        with torch.no_grad():
            wrong.model.get_parameter(name)[3] *= by
        with pytest.raises(ExportError, match="decoder differ by"):
            check_parity(right, wrong)


def test_another_attention_is_found() -> None:
    """In the right heads' order it is none."""
    turned = Wrong(attention=lambda weights: weights[:, ::-1], shape="omni")
    with pytest.raises(ExportError, match=r"the weights of the attention differ by 0\.\d+ between"):
        check_parity(backend("omni"), turned)
    check_parity(backend("omni"), Wrong(shape="omni"))


def test_some_batches_leave_experts_without_frames() -> None:
    config = SHAPES["supervised"]
    mixed = {len({known.bandwidth for known in case.guidance}) for case in cases(config)}
    assert mixed == {1, 2}


@pytest.mark.parametrize("experts", [("es",), LANGUAGES[1:]])
def test_every_expert_is_among_the_cases(experts: tuple[str, ...]) -> None:
    """Whether one language of 32 has one, or almost all."""
    dense = SHAPES["dense"]
    config = upcycled(
        replace(dense, vocabulary=replace(dense.vocabulary, languages=LANGUAGES, translations=())),
        RoutingConfig(kind="supervised", guided_by=(Guide.LANGUAGE,), experts_for=experts),
        None,
    )
    experts_of = config.expert_map(config.encoder.routing)
    taken = {i for case in cases(config) for i in experts_of.indices(case.guidance)}
    assert taken == set(range(len(experts) + 1))
