"""Copies of a model agree in its digest, whoever stored them."""

import os
from pathlib import Path

import pytest
from transformers import WhisperForConditionalGeneration

from tests import whispers
from tests.adapted import WHISPER_BASE, adapter, experts_of, opened, trained
from turnout.errors import UsageError
from turnout.hub.adapted import digest_of, with_adapters
from turnout.hub.convert import convert
from turnout.hub.rounding import Precision
from turnout.model_folder import ModelFolder

WEIGHTS = Path(os.environ.get("TURNOUT_TEST_WHISPER", "nowhere"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TURNOUT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def model() -> WhisperForConditionalGeneration:
    """As the hub's are: float32 whose values are float16's."""
    return whispers.whisper().half().float()


def converted(source: Path, place: Path, precision: Precision = "stored") -> str:
    return digest_of(ModelFolder.open(convert(source, place, precision=precision)))


def test_of_the_hubs_formats(model: WhisperForConditionalGeneration, tmp_path: Path) -> None:
    copies = {
        "plain": whispers.save_transformers(tmp_path / "plain", model),
        "half": whispers.save_transformers(tmp_path / "half", whispers.whisper().half()),
        "shards": whispers.save_transformers(tmp_path / "shards", model, "20kB"),
        "float16": whispers.save_ctranslate2(tmp_path / "float16", model, "float16"),
        "float32": whispers.save_ctranslate2(tmp_path / "float32", model),
    }
    assert len(list(copies["shards"].glob("*.safetensors"))) > 2
    found = {converted(source, tmp_path / f"{name}-ours") for name, source in copies.items()}
    found |= {
        converted(source, tmp_path / f"{name}-16", "float16") for name, source in copies.items()
    }
    assert len(found) == 1
    other = whispers.save_transformers(tmp_path / "other", whispers.whisper(seed=1))
    assert converted(other, tmp_path / "other-ours") not in found


def test_rounded_to_integers_it_cannot_agree(
    model: WhisperForConditionalGeneration, tmp_path: Path
) -> None:
    base = convert(whispers.save_transformers(tmp_path / "theirs", model), tmp_path / "base")
    changed = trained(base, tmp_path / "trained", experts_of("encoder"))
    found = opened(adapter(base, changed, tmp_path / "adapter", language="zh"))
    rounded = whispers.save_ctranslate2(tmp_path / "int8", model, "int8_float16")
    other = ModelFolder.open(convert(rounded, tmp_path / "rounded"))
    with pytest.raises(
        UsageError, match="whose weights were rounded to 'int8', so that they cannot"
    ):
        with_adapters(other, [found])
    further = ModelFolder.open(trained(base, tmp_path / "further", experts_of("decoder")))
    with pytest.raises(UsageError, match="which has other weights"):
        with_adapters(further, [found])


def test_it_is_kept_by_the_file_it_is_of(
    model: WhisperForConditionalGeneration,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = convert(whispers.save_transformers(tmp_path / "theirs", model), tmp_path / "base")
    found = digest_of(ModelFolder.open(folder))
    (kept,) = (cache / "digests").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr("turnout.hub.adapted.weights_digest", pytest.fail)
        assert digest_of(ModelFolder.open(folder)) == found
    kept.write_text("nonsense")
    assert digest_of(ModelFolder.open(folder)) == found
    assert kept.read_text() == f"{found}\n"
    monkeypatch.setenv("TURNOUT_CACHE", str(kept))  # a file: nothing can be kept there
    assert digest_of(ModelFolder.open(folder)) == found


@pytest.mark.skipif(
    not WEIGHTS.is_dir(), reason="TURNOUT_TEST_WHISPER names no folder of Whisper's weights"
)
def test_of_whisper_base(tmp_path: Path) -> None:
    """Of CTranslate2's float16; the hub's own files hold the same values."""
    assert converted(WEIGHTS / "base", tmp_path / "base") == WHISPER_BASE
