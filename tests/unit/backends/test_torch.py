import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.doubles import whole_step
from tests.models import saved
from turnout.backends.torch import TorchBackend, load_model, open_backend
from turnout.decoding.backend import DecoderState, StepQuery, from_whole_vocabulary
from turnout.errors import GuidanceError, UsageError
from turnout.guidance import Bandwidth, Guidance, Task, bandwidth_indices
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


def step(
    backend: TorchBackend, state: DecoderState, tokens: np.ndarray, counts: list[int]
) -> tuple[np.ndarray, DecoderState]:
    return whole_step(backend, state, tokens, np.array(counts))


def test_a_prompt_equals_single_steps(backend: TorchBackend) -> None:
    tokens = np.array([[2, 17, 5, 16], [2, 16, 5, 17]])
    at_once, _ = step(backend, start(backend, [0, 1]), tokens, [4, 4])
    state, single = start(backend, [0, 1]), []
    for i in range(4):
        log_probs, state = step(backend, state, tokens[:, i : i + 1], [1, 1])
        single.append(log_probs[:, 0])
    np.testing.assert_allclose(np.stack(single, axis=1), at_once, atol=1e-5)
    np.testing.assert_allclose(np.exp(at_once).sum(axis=-1), 1, rtol=1e-5)


def test_a_question_is_answered_from_the_whole_vocabulary(backend: TorchBackend) -> None:
    tokens = np.array([[2, 17, 5, 16], [2, 16, 5, 17]])
    log_probs, _ = step(backend, start(backend, [0, 1]), tokens, [4, 4])
    rng = np.random.default_rng(0)
    allowed = rng.random((2, log_probs.shape[2])) < 0.3
    scored = rng.integers(0, log_probs.shape[2], (2, 3))
    positions = np.array([[3, 1, 1], [0, 3, 2]])
    query = StepQuery(positions=positions, allowed=allowed, best=5, scored=scored)
    found, _ = backend.step(start(backend, [0, 1]), tokens, np.array([4, 4]), query)
    slow = from_whole_vocabulary(log_probs, query)
    for row, asked in np.ndindex(2, 3):
        there = log_probs[row, positions[row, asked]]
        best = sorted(np.flatnonzero(allowed[row]), key=lambda i: -there[i])[:5]
        assert found.tokens[row, asked].tolist() == slow.tokens[row, asked].tolist() == best
        for one in (found, slow):
            np.testing.assert_allclose(one.log_probs[row, asked], there[best], atol=1e-5)
            assert one.scored[row, asked] == pytest.approx(there[scored[row, asked]], abs=1e-5)
    nothing = replace(query, best=0)
    found, _ = backend.step(start(backend, [0, 1]), tokens, np.array([4, 4]), nothing)
    assert found.tokens.shape == found.log_probs.shape == (2, 3, 0)
    np.testing.assert_allclose(found.scored, slow.scored, atol=1e-5)


def test_where_too_few_are_allowed_the_rest_is_impossible() -> None:
    log_probs = np.log(np.full((1, 1, 4), 0.25, dtype=np.float32))
    one = np.array([[0]])
    allowed = np.array([[False, False, True, False]])
    found = from_whole_vocabulary(
        log_probs, StepQuery(positions=one, allowed=allowed, best=2, scored=one)
    )
    assert found.tokens[0, 0, 0] == 2
    assert found.log_probs[0, 0].tolist() == [pytest.approx(np.log(0.25)), -np.inf]


def test_padding_tokens_do_not_enter_the_cache(backend: TorchBackend) -> None:
    tokens = np.array([[2, 17, 5, 16], [2, 16, 99, 99]])
    _, state = step(backend, start(backend, [0, 1]), tokens, [4, 2])
    found, _ = step(backend, state, np.array([[300], [301]]), [1, 1])
    _, state = step(backend, start(backend, [1]), tokens[1:, :2], [2])
    expected, _ = step(backend, state, np.array([[301]]), [1])
    np.testing.assert_allclose(found[1:], expected, atol=1e-5)


def test_select_repeats_and_drops_rows(backend: TorchBackend) -> None:
    tokens = np.array([[2, 17], [2, 16], [2, 16]])
    _, state = step(backend, start(backend, [0, 1, 0]), tokens, [2, 1, 2])
    _, again = step(backend, start(backend, [0, 1, 0]), tokens, [2, 1, 2])
    chosen = backend.select(again, np.array([2, 2, 1]))
    assert chosen.rows.tolist() == [0, 0, 1]
    before, _ = step(backend, state, np.array([[5], [6], [7]]), [1, 1, 1])
    after, _ = step(backend, chosen, np.array([[7], [7], [6]]), [1, 1, 1])
    np.testing.assert_allclose(after, before[[2, 2, 1]], atol=1e-5)


def test_guidance_becomes_indices(backend: TorchBackend) -> None:
    config = backend.config
    narrow = Guidance(bandwidth=Bandwidth.NARROWBAND, task=Task.TRANSCRIBE)
    assert bandwidth_indices([KNOWN, narrow], needed=True) == [1, 0]
    assert bandwidth_indices([KNOWN, Guidance()], needed=False) == [0, 0]
    assert config.expert_map(config.encoder.routing).indices([KNOWN, narrow]) == [1, 0]
    assert config.expert_map(config.decoder.routing).indices([KNOWN, narrow]) == [1, 0]


def test_guidance_that_is_missing_is_named(backend: TorchBackend) -> None:
    config = backend.config
    with pytest.raises(GuidanceError, match="one of narrowband, wideband"):
        bandwidth_indices([Guidance()], needed=True)
    with pytest.raises(GuidanceError, match=r"the task selects this model's experts"):
        config.expert_map(config.decoder.routing).indices([Guidance()])


def test_devices_that_are_not_there() -> None:
    folder = ModelFolder.open(saved("supervised"))
    with pytest.raises(UsageError, match="no device 'tpu': this machine has auto"):
        open_backend(folder, "tpu")
    assert open_backend(folder, "cpu").device.type == "cpu"


FORKED = """
import os, signal, sys, warnings
import turnout
warnings.simplefilter("ignore")  # newer Pythons warn of a fork beside threads
model = turnout.load(backend=sys.argv[1], threads=2)
before = model.transcribe(sys.argv[2]).text
child = os.fork()
if child == 0:
    signal.alarm(60)  # a hang ends so
    os._exit(0 if model.transcribe(sys.argv[2]).text == before else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_model_that_was_loaded_before_a_fork_works_after_it(backend: str) -> None:
    examples = Path(__file__).resolve().parents[3] / "examples"
    sound = next(path for path in sorted(examples.iterdir()) if path.suffix == ".wav")
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    words = [sys.executable, "-c", FORKED, backend, str(sound)]
    done = subprocess.run(words, env=environment, check=False, timeout=120)
    assert done.returncode == 0


def test_a_gpu_is_not_asked_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TorchBackend(load_model(ModelFolder.open(saved("supervised"))))
    backend.device = torch.device("cuda")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(UsageError, match="loaded on 'cuda' before the process was forked"):
        backend.encode(np.zeros((1, 9, 80), np.float32), np.ones((1, 9), np.bool_), [])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 108.00 MiB.\nSee the docs"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to ..."),
    ],
)
def test_too_large_a_batch_is_told_as_a_lack_of_memory(
    monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    backend = TorchBackend(load_model(ModelFolder.open(saved("supervised"))))
    encoded = start(backend, [0, 1])
    monkeypatch.setattr(backend.model, "encode", raising(error))
    monkeypatch.setattr(backend.model, "next_tokens", raising(error))
    with pytest.raises(MemoryError, match="memory") as told:
        start(backend, [0])
    assert "\n" not in str(told.value)
    with pytest.raises(MemoryError):
        step(backend, encoded, np.array([[2], [2]]), [1, 1])


def test_other_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TorchBackend(load_model(ModelFolder.open(saved("supervised"))))
    monkeypatch.setattr(backend.model, "encode", raising(RuntimeError("sizes do not match")))
    with pytest.raises(RuntimeError, match="sizes"):
        start(backend, [0])


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail
