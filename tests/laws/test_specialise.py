"""A path that was cut out says what the whole model says of the same batch, to the last bit."""

from pathlib import Path

import numpy as np
import pytest

from tests.doubles import tokenizer
from tests.models import exported, saved
from tests.traced import remembered
from turnout.backends.onnx import OnnxBackend
from turnout.backends.torch import TorchBackend, load_model
from turnout.config.cutting import Cut, cut_out
from turnout.decoding.backend import Backend
from turnout.export.learned import traced_graphs
from turnout.export.receipt import outputs_of
from turnout.guidance import Bandwidth, Guidance, Task
from turnout.hub.rerouted import Writing, specialise, stored
from turnout.model_folder import ModelFolder

ALL = [
    ("supervised", Guidance(bandwidth=bandwidth, task=task))
    for bandwidth in Bandwidth
    for task in Task
] + [
    ("hybrid", Guidance(bandwidth=bandwidth, task=Task.TRANSLATE, language=language))
    for bandwidth, language in (("narrowband", "en"), ("wideband", "ar"))
]


def written(folder: ModelFolder, cut: Cut, place: Path, graphs: bool = False) -> ModelFolder:
    make = traced_graphs if graphs else (lambda _: {})
    writing = Writing(output=place, title="A path", said=("by: a test",), graphs=make)
    with remembered():
        specialise(folder, cut, writing)
    return ModelFolder.open(place)


def check_equal(whole: Backend, cut: Backend, path: Cut) -> None:
    """Over 40 utterances of every length, in batches of one guidance."""
    random = np.random.default_rng(3)
    for guidance in path.guidance:
        for batch, frames in ((1, 9), (3, 40), (8, 61), (28, 100)):
            lengths = random.integers(1, frames + 1, batch)
            mask = np.arange(lengths.max()) < lengths[:, None]
            log_mel = random.standard_normal((*mask.shape, 80)).astype(np.float32)
            heard = (log_mel * mask[..., None], mask)
            first = outputs_of(whole, tokenizer(), heard, guidance)
            second = outputs_of(cut, tokenizer(), heard, guidance)
            equal = first.to_bytes() == second.to_bytes()
            assert equal  # where they are not, pytest would look for half a minute for where


@pytest.mark.parametrize(("shape", "stated"), ALL)
def test_on_pytorch(tmp_path: Path, shape: str, stated: Guidance) -> None:
    folder = ModelFolder.open(saved(shape))
    path = cut_out(folder.config, stated)
    found = written(folder, path, tmp_path / "path")
    kinds = {found.config.encoder.routing.kind, found.config.decoder.routing.kind}
    assert kinds == ({"omni"} if shape == "hybrid" else {"dense"})
    of_one = sum(".experts." in name for name in stored(found))
    assert 2 * of_one <= sum(".experts." in name for name in stored(folder))
    check_equal(TorchBackend(load_model(folder)), TorchBackend(load_model(found)), path)


def test_on_onnx_runtime(tmp_path: Path) -> None:
    folder = ModelFolder.open(exported("supervised"))
    path = cut_out(folder.config, Guidance(bandwidth=Bandwidth.NARROWBAND, task=Task.TRANSCRIBE))
    found = written(folder, path, tmp_path / "path", graphs=True)
    check_equal(OnnxBackend.open(folder, 1), OnnxBackend.open(found, 1), path)


def test_another_path_says_something_else(tmp_path: Path) -> None:
    """Which the comparison sees."""
    folder = ModelFolder.open(saved("supervised"))
    narrow, wide = (
        cut_out(folder.config, Guidance(bandwidth=bandwidth, task=Task.TRANSCRIBE))
        for bandwidth in Bandwidth
    )
    found = written(folder, wide, tmp_path / "path")
    with pytest.raises(AssertionError):
        check_equal(TorchBackend(load_model(folder)), TorchBackend(load_model(found)), narrow)
