"""ONNX equals PyTorch; batch-mates and padding change nothing; both tasks equal two runs."""

import io
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from tests.doubles import hears_every_sound, tokenizer, tone
from tests.models import EXPORTED, SHAPES, exported, saved
from turnout.backends.onnx import OnnxBackend
from turnout.backends.torch import TorchBackend, load_model
from turnout.config import ModelConfig
from turnout.config.cutting import every_guidance
from turnout.decoding.backend import Backend, Encoded
from turnout.decoding.decode import decode
from turnout.decoding.requests import (
    DecodingOptions,
    Hypothesis,
    Request,
    Utterance,
    check_findable,
)
from turnout.errors import GuidanceError
from turnout.export.parity import check_parity
from turnout.guidance import Bandwidth, Guidance, Task
from turnout.model_folder import ModelFolder
from turnout.transcription.transcriber import Transcriber

TOLERANCE = 1e-4


def torch_backend(shape: str) -> TorchBackend:
    return TorchBackend(load_model(ModelFolder.open(saved(shape))))


def onnx_backend(shape: str) -> OnnxBackend:
    return OnnxBackend.open(ModelFolder.open(exported(shape)), threads=1)


def features(frames: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(frames, 80)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("shape", EXPORTED)
def test_onnx_gives_what_pytorch_gives(shape: str) -> None:
    worst = check_parity(torch_backend(shape), onnx_backend(shape))
    assert 0 < worst <= TOLERANCE


def encode(
    backend: Backend, utterances: list[np.ndarray], guidance: list[Guidance], frames: int
) -> Encoded:
    mask = np.arange(frames) < np.array([len(u) for u in utterances])[:, None]
    # Padding is filled with noise: whoever looks at it changes its answer.
    batch = features(len(utterances) * frames, 99).reshape(len(utterances), frames, 80) * 50
    for row, utterance in enumerate(utterances):
        batch[row, : len(utterance)] = utterance
    return backend.encode(batch, mask, guidance)


@pytest.mark.parametrize("shape", SHAPES)
def test_log_probs_know_neither_padding_nor_batch_mates(shape: str) -> None:
    backend = torch_backend(shape)
    known = every_guidance(backend.config)
    utterances = [features(frames, frames) for frames in (61, 9, 128, 77)]
    guidance = [known[i % len(known)] for i in range(4)]
    together = encode(backend, utterances, guidance, frames=150)
    for row, utterance in enumerate(utterances):
        alone = encode(backend, [utterance], [guidance[row]], frames=len(utterance))
        mask = together.frame_mask[row]
        assert mask.sum() == alone.frame_mask.sum() == alone.frame_mask.size
        if alone.ctc_log_probs is not None and together.ctc_log_probs is not None:
            found = together.ctc_log_probs[row][mask]
            np.testing.assert_allclose(found, alone.ctc_log_probs[0], atol=TOLERANCE)
        experts = together.expert_index[:, row, mask]
        assert np.array_equal(experts, alone.expert_index[:, 0])


def requests(config: ModelConfig) -> list[Request]:
    """What can be asked: languages found where the model can find them."""
    tasks = (Task.TRANSCRIBE, Task.TRANSLATE) if config.decoder.num_layers else (Task.TRANSCRIBE,)
    try:
        check_findable(config)
        languages: tuple[str | None, ...] = (None, "ar", "en")
    except GuidanceError:
        languages = ("ar", "en")
    return [
        Request(tasks=tasks, language=language, bandwidth=bandwidth)
        for bandwidth in Bandwidth
        for language in languages
    ]


def same(expected: Hypothesis, found: Hypothesis) -> None:
    assert found.tokens == expected.tokens
    assert (found.task, found.language) == (expected.task, expected.language)
    length = len(expected.tokens) + 1
    assert found.log_prob == pytest.approx(expected.log_prob, abs=TOLERANCE * length)


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_tokens_know_neither_padding_nor_batch_mates(shape: str, beam_size: int) -> None:
    backend = torch_backend(shape)
    options = DecodingOptions(beam_size=beam_size, max_tokens_per_second=4)
    utterances = [
        Utterance(features(30 + 21 * i, i), request, options)
        for i, request in enumerate(requests(backend.config))
    ]
    together = decode(backend, tokenizer(), utterances)
    for utterance, found in zip(utterances, together, strict=True):
        (alone,) = decode(backend, tokenizer(), [utterance])
        assert found.language == alone.language
        for one, other in zip(alone.hypotheses, found.hypotheses, strict=True):
            same(one, other)
    texts = {h.tokens for found in together for h in found.hypotheses}
    assert len(texts) > 1, "a model that always writes the same proves nothing"


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["supervised", "hybrid"])
def test_both_backends_write_the_same(shape: str) -> None:
    first, second = torch_backend(shape), onnx_backend(shape)
    options = DecodingOptions(max_tokens_per_second=4)
    utterances = [
        Utterance(features(40 + 30 * i, i), request, options)
        for i, request in enumerate(requests(first.config))
    ]
    expected = decode(first, tokenizer(), utterances)
    found = decode(second, tokenizer(), utterances)
    for one, other in zip(expected, found, strict=True):
        assert one.language == other.language
        for hypothesis, twin in zip(one.hypotheses, other.hypotheses, strict=True):
            same(hypothesis, twin)


@pytest.mark.parametrize("shape", ["supervised", "dense", "switch"])
def test_encoding_once_and_decoding_both_tasks_equals_two_runs(shape: str) -> None:
    backend = torch_backend(shape)
    for i, language in enumerate((None, "ar", "en")):
        log_mel = features(90 + i, i)
        options = DecodingOptions(max_tokens_per_second=4)
        both, first, second = (
            Utterance(log_mel, Request(tasks=tasks, language=language), options)
            for tasks in (tuple(Task), (Task.TRANSCRIBE,), (Task.TRANSLATE,))
        )
        answers = [decode(backend, tokenizer(), [each])[0] for each in (both, first, second)]
        assert len({answer.language for answer in answers}) == 1
        same(answers[1].hypotheses[0], answers[0].hypotheses[0])
        same(answers[2].hypotheses[0], answers[0].hypotheses[1])


def test_a_recording_of_several_windows_is_the_same_in_both_and_in_two_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("turnout.transcription.segments.finder", hears_every_sound)
    sound = np.concatenate(
        [tone(1.0, frequency_hz=200 * i, amplitude=0.1 * i) for i in range(1, 9)]
    )
    file = io.BytesIO()
    soundfile.write(file, sound, 16_000, format="WAV")
    transcriber = Transcriber(torch_backend("supervised"), tokenizer())
    both = transcriber.transcribe(file.getvalue(), task="both")
    transcript = transcriber.transcribe(file.getvalue())
    language = transcript.language
    translation = transcriber.transcribe(file.getvalue(), task="translate", language=language)
    assert both.translation is not None
    assert both.text == transcript.text
    assert both.translation.text == translation.text
    assert len(both.segments) > 1
    for earlier, later in pairwise(both.segments):
        assert earlier.end <= later.start + 1e-6
