"""Whatever stores a Whisper, what is converted computes what Transformers computes."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import WhisperForConditionalGeneration

from tests import whispers
from turnout.backends.onnx import OnnxBackend
from turnout.backends.torch import load_model
from turnout.cli import main
from turnout.decoding.backend import StepQuery
from turnout.errors import MissingExtra, ModelFolderError
from turnout.guidance import Guidance, Task
from turnout.hub.checkpoint import sinusoids
from turnout.hub.convert import convert, describe, read_checkpoint, write_checkpoint
from turnout.hub.names import whisper_state
from turnout.model_folder import ModelFolder

FRAMES = 2 * whispers.POSITIONS


@pytest.fixture(scope="module")
def model() -> WhisperForConditionalGeneration:
    return whispers.whisper()


def log_probs(folder: ModelFolder, log_mel: NDArray, tokens: NDArray) -> NDArray[np.float32]:
    """After each token, over the whole vocabulary, from the folder's graphs."""
    backend = OnnxBackend.open(folder, threads=1)
    rows, new = tokens.shape
    guidance = [Guidance(task=Task.TRANSCRIBE, language="en")] * rows
    encoded = backend.encode(log_mel, np.ones(log_mel.shape[:2], np.bool_), guidance)
    state = backend.start(encoded, np.arange(rows), guidance)
    size = folder.config.vocabulary.size
    query = StepQuery(
        positions=np.tile(np.arange(new), (rows, 1)),
        allowed=np.ones((rows, size), np.bool_),
        scored=np.zeros((rows, new), np.int64),
        best=size,
    )
    output, _ = backend.step(state, tokens, np.full(rows, new), query)
    found = np.empty((rows, new, size), np.float32)
    np.put_along_axis(found, output.tokens, output.log_probs, axis=-1)
    return found


def oracle_log_probs(
    model: WhisperForConditionalGeneration, log_mel: NDArray, tokens: NDArray
) -> NDArray[np.float32]:
    if model.dtype != torch.float32:  # which alone holds the sinusoids as they are computed here
        exact = torch.from_numpy(sinusoids(whispers.POSITIONS, whispers.WIDTH))
        model.float().model.encoder.embed_positions.weight.data = exact
    with torch.no_grad():
        logits = model(
            input_features=torch.from_numpy(log_mel).transpose(1, 2),
            decoder_input_ids=torch.from_numpy(tokens),
        ).logits
    return logits.log_softmax(-1).numpy()


def check_equal(folder: Path, model: WhisperForConditionalGeneration) -> None:
    random = np.random.default_rng(1)
    log_mel = random.standard_normal((2, FRAMES, 80)).astype(np.float32)
    tokens = random.integers(0, whispers.VOCABULARY, (2, 9))
    found = log_probs(ModelFolder.open(folder), log_mel, tokens)
    wanted = oracle_log_probs(model, log_mel, tokens)
    assert wanted.std() > 1  # a model of zeros would be equal as well
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


def with_proj_out(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"].clone()
    save_file(state, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shard", ["1GB", "60KB"])
def test_of_transformers(tmp_path: Path, kind: torch.dtype, shard: str) -> None:
    stored = whispers.whisper().to(kind)
    source = whispers.save_transformers(tmp_path / "source", stored, shard)
    assert (source / "model.safetensors").exists() == (shard == "1GB")
    assert convert(source, tmp_path / "model") == tmp_path / "model"
    check_equal(tmp_path / "model", stored)
    held = safetensors.numpy.load(ModelFolder.open(tmp_path / "model").read("model.safetensors"))
    wanted = np.float32 if kind == torch.float32 else np.float16
    assert {tensor.dtype.type for tensor in held.values()} == {wanted}


def test_an_output_layer_that_is_the_embedding_may_be_stored_twice(
    tmp_path: Path, model: WhisperForConditionalGeneration
) -> None:
    source = whispers.save_transformers(tmp_path / "source", model)
    with_proj_out(source)
    convert(source, tmp_path / "model")
    check_equal(tmp_path / "model", model)


@pytest.mark.parametrize(
    "kind", ["float32", "float16", "bfloat16", "int8", "int8_float16", "int16"]
)
def test_of_ctranslate2(tmp_path: Path, kind: str) -> None:
    model = whispers.whisper()
    source = whispers.save_ctranslate2(tmp_path / "source", model, kind)
    convert(source, tmp_path / "model")
    stored = whispers.quantised(whispers.ctranslate2_variables(model), kind)
    found = whispers.of_variables(model, stored)
    if kind.startswith("int"):  # as they are written: dequantised, and in float16
        with torch.no_grad():
            for name, tensor in found.model.state_dict(prefix="model.").items():
                if f"{whispers.place_of(name)[0]}_scale" in stored:
                    tensor.copy_(tensor.half())
    check_equal(tmp_path / "model", found)


def test_a_variable_may_stand_for_another(
    tmp_path: Path, model: WhisperForConditionalGeneration
) -> None:
    """CTranslate2 stores equal ones once."""
    variables = whispers.ctranslate2_variables(model)
    one, other = (f"decoder/layer_{layer}/ffn/layer_norm/beta" for layer in (0, 1))
    variables[other] = variables[one]
    plain = whispers.save_ctranslate2(tmp_path / "plain", model)
    (plain / "model.bin").write_bytes(whispers.model_bin(variables, {}))
    aliased = whispers.save_ctranslate2(tmp_path / "aliased", model)
    del variables[other]
    (aliased / "model.bin").write_bytes(whispers.model_bin(variables, {other: one}))
    for source in (plain, aliased):
        convert(source, tmp_path / f"{source.name} model")
    found = [(tmp_path / f"{name} model" / "model.safetensors") for name in ("plain", "aliased")]
    assert found[0].read_bytes() == found[1].read_bytes()


def test_ctranslate2_may_have_an_output_layer_of_its_own(
    tmp_path: Path, model: WhisperForConditionalGeneration
) -> None:
    source = whispers.save_ctranslate2(tmp_path / "source", model)
    variables = whispers.ctranslate2_variables(model)
    output = variables["decoder/embeddings/weight"] + 1
    stored = {**variables, "decoder/projection/weight": output}
    (source / "model.bin").write_bytes(whispers.model_bin(stored, {}))
    checkpoint = read_checkpoint(source)
    assert not checkpoint.config.decoder.tie_embeddings
    np.testing.assert_array_equal(checkpoint.tensors["decoder.output.weight"].read(), output)


def test_what_float16_cannot_hold_is_not_written(tmp_path: Path) -> None:
    model = whispers.whisper()
    with torch.no_grad():
        model.model.encoder.conv1.bias[3] = 1e6
    source = whispers.save_transformers(tmp_path / "source", model)
    with pytest.raises(ModelFolderError, match="first.bias has values that float16 cannot hold"):
        convert(source, tmp_path / "model", precision="float16")
    assert not (tmp_path / "model").exists()
    convert(source, tmp_path / "model")


def test_an_output_layer_of_its_own_needs_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = whispers.whisper(tie_word_embeddings=False)
    source = whispers.save_transformers(tmp_path / "source", model)
    with pytest.raises(MissingExtra, match="tie_embeddings is False.*extra 'train'"):
        convert(source, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    exported: list[Path] = []
    monkeypatch.setattr("turnout.export.save.export_folder", exported.append)
    assert main(["convert", str(source), "-o", str(tmp_path / "model")]) == 0
    assert exported == [tmp_path / "model"]
    state = load_model(ModelFolder.open(tmp_path / "model")).state_dict()
    assert torch.equal(state["decoder.output.weight"], model.proj_out.weight)
    assert not torch.equal(state["decoder.embedding.weight"], model.proj_out.weight)


def test_a_file_that_is_cut_meanwhile(
    tmp_path: Path, model: WhisperForConditionalGeneration
) -> None:
    source = whispers.save_transformers(tmp_path / "source", model)
    checkpoint = read_checkpoint(source)
    os.truncate(source / "model.safetensors", 50_000)
    with pytest.raises(ModelFolderError, match="model.safetensors: is cut off"):
        write_checkpoint(checkpoint, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_several_at_once_write_one_whole_model(
    tmp_path: Path, model: WhisperForConditionalGeneration
) -> None:
    source = whispers.save_transformers(tmp_path / "source", model)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: convert(source, tmp_path / "model"), range(8)))
    ModelFolder.open(tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "source"]


def test_the_folder_says_what_it_is(tmp_path: Path, model: WhisperForConditionalGeneration) -> None:
    source = whispers.save_transformers(tmp_path / "source", model)
    (source / "README.md").write_text("---\nlicense: apache-2.0\nlanguage: en\n---\n# Fine\n")
    convert(source, tmp_path / "model", origin={"repository": "somebody/whisper", "commit": "abc"})
    folder = ModelFolder.open(tmp_path / "model")
    assert folder.digests.keys() == {
        "config.json", "model.safetensors", "encoder.onnx", "decoder.onnx", "tokenizer.json",
        "generation_config.json", "source.json",
    }  # fmt: skip
    assert folder.has_graphs
    assert json.loads(folder.read("source.json")) == {
        "format": "Transformers",
        "source": "source",
        "repository": "somebody/whisper",
        "commit": "abc",
    }
    assert folder.read("generation_config.json") == (source / "generation_config.json").read_bytes()
    card = (tmp_path / "model" / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\nlanguage: [en, zh, haw]\n")
    assert "- repository: somebody/whisper" in card
    assert "Copyright (c) 2022 OpenAI" in card
    assert "names the licence 'apache-2.0'" in card


@pytest.mark.skipif(os.name != "posix", reason="links need a right there")
def test_a_licence_that_is_a_link_out_of_the_folder_is_not_taken_along(
    tmp_path: Path, model: WhisperForConditionalGeneration
) -> None:
    (tmp_path / "private").write_text("secret")
    source = whispers.save_transformers(tmp_path / "theirs", model)
    (source / "LICENSE").symlink_to(tmp_path / "private")
    with pytest.raises(ModelFolderError, match="LICENSE: is a link out of the folder; put the"):
        convert(source, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_the_model_is_what_the_checkpoint_says(
    tmp_path: Path, model: WhisperForConditionalGeneration
) -> None:
    shapes = []
    for number, save in enumerate((whispers.save_transformers, whispers.save_ctranslate2)):
        convert(save(tmp_path / f"source {number}", model), tmp_path / f"model {number}")
        shapes.append(ModelFolder.open(tmp_path / f"model {number}").config)
    config, other = shapes
    assert config == other
    assert config.vocabulary.languages == whispers.LANGUAGES
    assert config.vocabulary.translations == (("en", "en"), ("zh", "en"), ("haw", "en"))
    assert config.features.padding == "window"
    assert config.window_seconds == 2.0
    assert config.decoder.max_tokens == whispers.TOKENS
    assert config.decoder.suppressed == (1, 7)
    assert config.decoder.suppressed_first == (3, whispers.token("<|endoftext|>"))
    assert config.decoder.alignment_heads == ((0, 1), (1, 3))
    assert config.task_token


def test_a_checkpoint_for_english_alone(
    tmp_path: Path, model: WhisperForConditionalGeneration
) -> None:
    source = whispers.save_transformers(tmp_path / "source", model)
    content = json.loads((source / "generation_config.json").read_text())
    content["is_multilingual"] = False
    (source / "generation_config.json").write_text(json.dumps(content))
    convert(source, tmp_path / "model")
    folder = ModelFolder.open(tmp_path / "model")
    assert folder.config.vocabulary.languages == ("en",)
    assert folder.config.vocabulary.translations == ()
    assert not folder.config.task_token
    prompt = folder.tokenizer.prompt(Guidance(task=Task.TRANSCRIBE, language="en"), False)
    names = [whispers.tokenizer().id_to_token(i) for i in prompt]
    assert names == ["<|startoftranscript|>", "<|notimestamps|>"]


def test_without_a_generation_config_the_older_one_is_asked(
    tmp_path: Path, model: WhisperForConditionalGeneration
) -> None:
    source = whispers.save_transformers(tmp_path / "source", model)
    (source / "generation_config.json").unlink()
    content = json.loads((source / "config.json").read_text())
    content |= {"suppress_tokens": [2, 4], "begin_suppress_tokens": [5]}
    (source / "config.json").write_text(json.dumps(content))
    decoder = read_checkpoint(source).config.decoder
    assert decoder.suppressed == (2, 4)
    assert decoder.suppressed_first == (5,)
    # openai/whisper's choice where it knows none: the upper half of the layers.
    assert decoder.alignment_heads == tuple((1, head) for head in range(whispers.HEADS))


def test_float32_is_rounded_where_asked(
    tmp_path: Path, model: WhisperForConditionalGeneration
) -> None:
    source = whispers.save_transformers(tmp_path / "source", model)
    convert(source, tmp_path / "model", precision="float16")
    state = load_model(ModelFolder.open(tmp_path / "model")).state_dict()
    for name, tensor in whisper_state(model.state_dict()).items():
        assert torch.equal(state[name], tensor.half().float()), name
    whole = describe(read_checkpoint(source))
    half = describe(read_checkpoint(source), half=True)
    assert "3 languages, 0 MB of weights" in whole
    assert "2 and 2 layers of width 32" in half
