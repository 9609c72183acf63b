"""A folder of format version 1, whose graphs hold the weights as well, is still read.

`tests/data/model-v1` was written by turnout at commit 77d6efa from a random model, and what its
graphs gave for a fixed input lies beside it.
"""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from tests.doubles import whole_step
from turnout.backends.onnx import OnnxBackend
from turnout.backends.torch import TorchBackend, load_model
from turnout.decoding.backend import Backend
from turnout.guidance import Bandwidth, Guidance, Task
from turnout.model_folder import ModelFolder

FOLDER = Path(__file__).parents[2] / "data" / "model-v1"
EXPECTED = load((FOLDER.parent / "model-v1.expected.safetensors").read_bytes())
GUIDANCE = [
    Guidance(
        bandwidth=Bandwidth.WIDEBAND, task=Task.TRANSCRIBE, language="en", target_language="en"
    ),
    Guidance(
        bandwidth=Bandwidth.NARROWBAND, task=Task.TRANSLATE, language="en", target_language="de"
    ),
]


def opened(backend: str) -> Backend:
    folder = ModelFolder.open(FOLDER)
    return OnnxBackend.open(folder) if backend == "onnx" else TorchBackend(load_model(folder))


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_it_gives_the_log_probabilities_that_it_gave(backend: str) -> None:
    runs = opened(backend)
    encoded = runs.encode(EXPECTED["log_mel"], EXPECTED["frame_mask"], GUIDANCE)
    np.testing.assert_array_equal(encoded.frame_mask, EXPECTED["hidden_mask"])
    assert encoded.ctc_log_probs is not None
    mask = encoded.frame_mask
    np.testing.assert_allclose(
        encoded.ctc_log_probs[mask], EXPECTED["ctc_log_probs"][mask], atol=1e-4
    )
    state = runs.start(encoded, np.arange(2), GUIDANCE)
    # A prompt, then one token with a past.
    for tokens, expected in zip(
        np.split(EXPECTED["tokens"], [6], axis=1),
        np.split(EXPECTED["log_probs"], [6], axis=1),
        strict=True,
    ):
        counts = np.full(2, tokens.shape[1])
        found, state = whole_step(runs, state, tokens, counts)
        np.testing.assert_allclose(found, expected, atol=1e-4)
