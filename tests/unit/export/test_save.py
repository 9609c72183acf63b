from pathlib import Path

import pytest
import torch
import yaml

from tests.doubles import tokenizer
from tests.models import SHAPES, saved
from turnout.backends.torch import load_model, stored_tensors
from turnout.errors import ExportError, ModelFolderError
from turnout.export.save import save_model
from turnout.model.build import build_model
from turnout.model_folder import (
    CARD,
    ENCODER,
    WEIGHTS,
    ModelFolder,
    config_bytes,
    write_folder,
)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_saved_model_is_loaded_to_the_last_bit(tmp_path: Path, shape: str) -> None:
    model = build_model(SHAPES[shape])
    save_model(tmp_path / "model", model, tokenizer(), "card")
    folder = ModelFolder.open(tmp_path / "model")
    assert folder.config == SHAPES[shape]
    loaded = load_model(folder)
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_half_stores_float16_and_computes_in_float32(tmp_path: Path) -> None:
    model = build_model(SHAPES["supervised"])
    save_model(tmp_path / "model", model, tokenizer(), "card", half=True)
    folder = ModelFolder.open(tmp_path / "model")
    assert {tensor.dtype for tensor in stored_tensors(folder).values()} == {torch.float16}
    loaded = load_model(folder).state_dict()
    for name, tensor in model.state_dict().items():
        assert loaded[name].dtype is torch.float32
        assert torch.equal(loaded[name], tensor.half().float())


def test_loading_leaves_the_random_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_model(ModelFolder.open(saved("supervised")))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("value", "half", "message"),
    [
        (float("nan"), False, "values that are not finite"),
        (float("inf"), True, "values float16 cannot hold"),
        (1e6, True, "values float16 cannot hold"),
    ],
)
def test_weights_that_cannot_be_stored_are_named(
    tmp_path: Path, value: float, half: bool, message: str
) -> None:
    model = build_model(SHAPES["supervised"])
    with torch.no_grad():
        model.encoder.norm.bias[0] = value
    with pytest.raises(ExportError, match=rf"encoder\.norm\.bias has {message}"):
        save_model(tmp_path / "model", model, tokenizer(), "card", half=half)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    files = ModelFolder.open(saved("supervised")).files()
    files["config.json"] = config_bytes(SHAPES["hybrid"], tokenizer())
    write_folder(tmp_path / "model", files)
    with pytest.raises(ModelFolderError, match=r"model\.safetensors does not belong to its config"):
        load_model(ModelFolder.open(tmp_path / "model"))


@pytest.mark.parametrize("metric", ["wer", "cer"])
def test_the_card_has_the_head_that_the_hub_reads(metric: str, tmp_path: Path) -> None:
    facts = {f"dev_average_{metric}": 3.14159, "steps": 12, "dev": [{"wer": 3.1}]}
    save_model(tmp_path / "model", build_model(SHAPES["supervised"]), tokenizer(), facts)
    text = (tmp_path / "model" / CARD).read_text()
    _, head, body = text.split("---\n", 2)
    parsed = yaml.safe_load(head)
    assert parsed["language"] == ["ar", "en", "de"]
    assert parsed["library_name"] == "turnout"
    assert parsed["model-index"][0]["results"][0]["metrics"] == [{"type": metric, "value": 3.14}]
    assert parsed["metrics"] == [metric]
    assert "experts chosen by bandwidth" in body
    assert "- steps: 12" in body
    assert '"wer": 3.1' in body


@pytest.mark.parametrize("shape", SHAPES)
def test_every_routing_has_words_in_the_card(tmp_path: Path, shape: str) -> None:
    save_model(tmp_path / "model", build_model(SHAPES[shape]), tokenizer(), {})
    text = (tmp_path / "model" / CARD).read_text()
    assert "# A speech model of turnout" in text
    assert ("Decoder" in text) == (SHAPES[shape].decoder.num_layers > 0)
    assert ENCODER not in text
    assert WEIGHTS not in text
