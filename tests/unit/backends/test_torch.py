import numpy as np
import pytest

from tests.models import saved
from turnout.backends.guides import bandwidths, expert_guides
from turnout.backends.torch import TorchBackend, load_model, open_backend
from turnout.decoding.backend import DecoderState
from turnout.errors import GuidanceError, UsageError
from turnout.guidance import Bandwidth, Guidance, Task
from turnout.model_folder import ModelFolder

KNOWN = Guidance(
    bandwidth=Bandwidth.WIDEBAND, task=Task.TRANSLATE, language="ar", target_language="en"
)


@pytest.fixture(scope="module")
def backend() -> TorchBackend:
    return TorchBackend(load_model(ModelFolder.open(saved("supervised"))))


def start(backend: TorchBackend, rows: list[int]) -> DecoderState:
    log_mel = np.random.default_rng(0).normal(size=(2, 50, 80)).astype(np.float32)
    mask = np.arange(50) < np.array([50, 31])[:, None]
    encoded = backend.encode(log_mel, mask, [KNOWN, KNOWN])
    return backend.start(encoded, np.array(rows), [KNOWN] * len(rows))


def test_a_prompt_equals_single_steps(backend: TorchBackend) -> None:
    tokens = np.array([[2, 17, 5, 16], [2, 16, 5, 17]])
    at_once, _ = backend.step(start(backend, [0, 1]), tokens, np.array([4, 4]))
    state, single = start(backend, [0, 1]), []
    for i in range(4):
        log_probs, state = backend.step(state, tokens[:, i : i + 1], np.array([1, 1]))
        single.append(log_probs[:, 0])
    np.testing.assert_allclose(np.stack(single, axis=1), at_once, atol=1e-5)
    np.testing.assert_allclose(np.exp(at_once).sum(axis=-1), 1, rtol=1e-5)


def test_padding_tokens_do_not_enter_the_cache(backend: TorchBackend) -> None:
    tokens = np.array([[2, 17, 5, 16], [2, 16, 99, 99]])
    _, state = backend.step(start(backend, [0, 1]), tokens, np.array([4, 2]))
    found, _ = backend.step(state, np.array([[300], [301]]), np.array([1, 1]))
    _, state = backend.step(start(backend, [1]), tokens[1:, :2], np.array([2]))
    expected, _ = backend.step(state, np.array([[301]]), np.array([1]))
    np.testing.assert_allclose(found[1:], expected, atol=1e-5)


def test_select_repeats_and_drops_rows(backend: TorchBackend) -> None:
    tokens = np.array([[2, 17], [2, 16], [2, 16]])
    _, state = backend.step(start(backend, [0, 1, 0]), tokens, np.array([2, 1, 2]))
    chosen = backend.select(state, np.array([2, 2, 1]))
    assert chosen.rows.tolist() == [0, 0, 1]
    before, _ = backend.step(state, np.array([[5], [6], [7]]), np.ones(3, dtype=np.int64))
    after, _ = backend.step(chosen, np.array([[7], [7], [6]]), np.ones(3, dtype=np.int64))
    np.testing.assert_allclose(after, before[[2, 2, 1]], atol=1e-5)


def test_guidance_becomes_indices(backend: TorchBackend) -> None:
    config = backend.config
    narrow = Guidance(bandwidth=Bandwidth.NARROWBAND, task=Task.TRANSCRIBE)
    assert bandwidths(config, [KNOWN, narrow]).tolist() == [1, 0]
    assert expert_guides(config, config.encoder.routing, [KNOWN, narrow]).tolist() == [1, 0]
    assert expert_guides(config, config.decoder.routing, [KNOWN, narrow]).tolist() == [1, 0]


def test_guidance_that_is_missing_is_named(backend: TorchBackend) -> None:
    config = backend.config
    with pytest.raises(GuidanceError, match="one of narrowband, wideband"):
        bandwidths(config, [Guidance()])
    with pytest.raises(GuidanceError, match=r"the task selects this model's experts"):
        expert_guides(config, config.decoder.routing, [Guidance()])


def test_devices_that_are_not_there() -> None:
    folder = ModelFolder.open(saved("supervised"))
    with pytest.raises(UsageError, match="no device 'tpu': this machine has auto"):
        open_backend(folder, "tpu")
    assert open_backend(folder, "cpu").device.type == "cpu"
