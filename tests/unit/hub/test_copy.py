"""`turnout convert NAME` of what the cache has: a folder of one's own, and nobody is asked."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import turnout
from tests import whispers
from tests.hub_server import HubServer, Repository, lies_in
from turnout.cli import main
from turnout.errors import MissingExtra
from turnout.hub.resolve import resolve
from turnout.model_folder import ModelFolder

NAME = "hf://o/small"


@pytest.fixture
def cached(hub: HubServer, cache: Path, tmp_path: Path) -> Path:
    """The folder in the cache of a small model, of a hub that is gone."""
    source = whispers.save_transformers(tmp_path / "source", whispers.whisper())
    hub.repositories["o/small"] = Repository(
        {path.name: path.read_bytes() for path in source.iterdir()}
    )
    path = resolve(NAME)
    hub.repositories.clear()
    hub.seen.clear()
    return path


def test_what_the_cache_has_is_copied_to_the_bit(
    cached: Path, hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", NAME, "-o", str(tmp_path / "own")]) == 0
    assert hub.seen == []
    wanted = {path.name: path.read_bytes() for path in cached.iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "own").iterdir()} == wanted
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'own'}\n"
    assert printed.err.startswith(f"{NAME}: copying what is in the cache\n")


def test_float32_is_rounded_where_asked(cached: Path, hub: HubServer, tmp_path: Path) -> None:
    assert main(["convert", NAME, "-o", str(tmp_path / "own"), "--half"]) == 0
    assert hub.seen == []
    whole, half = (load_file(path / "model.safetensors") for path in (cached, tmp_path / "own"))
    assert {values.dtype for values in whole.values()} == {np.dtype(np.float32)}
    assert whole.keys() == half.keys()
    for name, values in half.items():
        np.testing.assert_array_equal(values, whole[name].astype(np.float16), strict=True)
    origin = json.loads(ModelFolder.open(tmp_path / "own").read("source.json"))
    assert origin["repository"] == "o/small"
    assert turnout.load(tmp_path / "own").folder is not None


def test_a_damaged_one_says_how_to_get_another_and_nothing_is_written(
    cached: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = cached / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    assert main(["convert", NAME, "-o", str(tmp_path / "own")]) == 1
    assert f"'turnout models --remove {NAME}' lets" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "own").exists()


def test_something_else_is_not_overwritten(
    cached: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/letter.txt").write_text("dear")
    assert main(["convert", NAME, "-o", str(tmp_path / "own")]) == 1
    assert "is not a model folder" in capsys.readouterr().err
    assert lies_in(tmp_path / "own") == {"letter.txt"}


def test_a_shape_that_needs_pytorch_says_how_a_folder_is_made_of_it(
    hub: HubServer, cache: Path, tmp_path: Path
) -> None:
    model = whispers.whisper(tie_word_embeddings=False)
    source = whispers.save_transformers(tmp_path / "source", model)
    hub.repositories["o/untied"] = Repository(
        {path.name: path.read_bytes() for path in source.iterdir()}
    )
    line = "untied: run 'turnout convert hf://o/untied -o FOLDER' and give the folder .*'train'"
    with pytest.raises(MissingExtra, match=line):
        resolve("hf://o/untied")
