"""A model folder goes to Transformers, which takes all of it, and comes back as it was."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import WhisperForConditionalGeneration

from tests import whispers
from tests.models import saved
from turnout.cli import main
from turnout.errors import ModelFolderError, StorageError, UsageError
from turnout.guidance import Task
from turnout.hub.convert import convert
from turnout.hub.names import own_name, tensor_shapes
from turnout.hub.to_transformers import their_name, to_transformers
from turnout.model_folder import ModelFolder, config_bytes, write_folder
from turnout.text.whisper import WhisperTokenizer


def folder_of(place: Path, kind: torch.dtype) -> ModelFolder:
    source = whispers.save_transformers(place / "source", whispers.whisper().to(kind))
    return ModelFolder.open(convert(source, place / "model"))


@pytest.mark.parametrize("kind", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("generation", [True, False])
def test_the_round_trip_is_the_identity(
    tmp_path: Path, kind: torch.dtype, generation: bool
) -> None:
    source = whispers.save_transformers(tmp_path / "source", whispers.whisper().to(kind))
    if not generation:
        (source / "generation_config.json").unlink(missing_ok=True)
    before = ModelFolder.open(convert(source, tmp_path / "model"))
    to_transformers(before, tmp_path / "theirs")
    after = ModelFolder.open(convert(tmp_path / "theirs", tmp_path / "again"))
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert after.digests[name] == before.digests[name], name
    assert after.config == before.config


@pytest.mark.parametrize("kind", [torch.float32, torch.float16], ids=str)
def test_transformers_misses_nothing_and_has_nothing_left(
    tmp_path: Path, kind: torch.dtype
) -> None:
    to_transformers(folder_of(tmp_path, kind), tmp_path / "theirs")
    model, told = WhisperForConditionalGeneration.from_pretrained(
        tmp_path / "theirs", output_loading_info=True, dtype=kind
    )
    assert not told["missing_keys"] and not told["unexpected_keys"]
    assert not told["mismatched_keys"]
    oracle = whispers.whisper().to(kind).state_dict()
    found = model.state_dict()
    assert found.keys() == oracle.keys()
    for name, tensor in oracle.items():
        if "encoder.embed_positions" not in name:  # computed there and here, to rounding
            assert torch.equal(found[name], tensor), name
    assert model.generation_config.begin_suppress_tokens == (
        whispers.whisper().generation_config.begin_suppress_tokens
    )


def test_every_name_has_a_way_back(tmp_path: Path) -> None:
    config = folder_of(tmp_path, torch.float32).config
    config = replace(config, decoder=replace(config.decoder, tie_embeddings=False))
    names = [name for name, _ in tensor_shapes(config)]
    assert [own_name(their_name(name)) for name in names] == names
    assert len({their_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("shape", ["dense", "supervised"])
def test_what_is_no_whisper_is_refused(tmp_path: Path, shape: str) -> None:
    with pytest.raises(UsageError, match="specialise|no Whisper|windows of the speech alone"):
        to_transformers(ModelFolder.open(saved(shape)), tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_what_is_there_stays(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, torch.float32)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "note.txt").write_text("mine")
    with pytest.raises(StorageError, match="exists: choose another folder"):
        to_transformers(folder, tmp_path / "theirs")
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["note.txt"]


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path, torch.float16)
    words = ["convert", str(folder.path), "--to", "transformers", "-o", str(tmp_path / "theirs")]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'theirs'}\n"
    content = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert content["model_type"] == "whisper" and content["torch_dtype"] == "float16"
    assert main([*words, "--half"]) == 2
    assert "--half" in capsys.readouterr().err


def test_what_transformers_cannot_be_told_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path, torch.float32)
    config, output = folder.config, str(tmp_path / "theirs")
    vocabulary = replace(config.vocabulary, languages=("zh",), translations=())
    config = replace(config, vocabulary=vocabulary, tasks=(Task.TRANSCRIBE,), domains=("calls",))
    tokenizer = WhisperTokenizer.from_bytes(folder.tokenizer_bytes, vocabulary)
    files = {**folder.files(), "config.json": config_bytes(config, tokenizer)}
    write_folder(tmp_path / "cut", files)
    capsys.readouterr()
    assert main(["convert", str(tmp_path / "cut"), "--to", "transformers", "-o", output]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "warning: " in line
    assert "for the languages zh, the tasks transcribe, the domains calls alone" in line


def test_licences_go_along_both_ways(tmp_path: Path) -> None:
    source = whispers.save_transformers(tmp_path / "source", whispers.whisper())
    papers = {"LICENSE": b"mine", "LICENSE-whisper": b"theirs", "NOTICE.txt": b"said"}
    for name, data in papers.items():
        (source / name).write_bytes(data)
    (source / "LICENSES").mkdir()
    folder = ModelFolder.open(convert(source, tmp_path / "model"))
    assert {name: folder.read(name) for name in folder.digests if "LIC" in name} == {
        name: data for name, data in papers.items() if "LIC" in name
    }
    assert folder.read("NOTICE.txt") == b"said"
    to_transformers(folder, tmp_path / "theirs")
    assert (tmp_path / "theirs" / "LICENSE-whisper").read_bytes() == b"theirs"
    (source / "LICENSE").write_bytes(b"x" * (1 << 21))
    with pytest.raises(ModelFolderError, match="has 2097152 bytes"):
        convert(source, tmp_path / "other")
