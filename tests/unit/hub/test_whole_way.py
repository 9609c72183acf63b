"""A name, a small Whisper of Transformers', a recording: its text, and nobody asked twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

import turnout
from tests import whispers
from tests.hub_server import Fault, HubServer, Repository
from turnout.cli import main
from turnout.errors import ModelFolderError
from turnout.hub.convert import convert

AUDIO = str(next((Path(__file__).parents[3] / "examples").glob("*.wav")))
NAME = "hf://o/small"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whispers.save_transformers(tmp_path_factory.mktemp("small"), whispers.whisper())


@pytest.fixture
def small(hub: HubServer, folder: Path) -> Repository:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.repositories["o/small"] = Repository(files)
    return hub.repositories["o/small"]


def letters(text: str) -> str:
    """Without what no terminal is given, which random weights may write."""
    return "".join(filter(str.isalnum, text))


def test_a_recording_becomes_text_by_a_name_alone(
    small: Repository, hub: HubServer, folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    wanted = turnout.load(convert(folder, tmp_path / "by hand")).transcribe(AUDIO, language="en")
    words = ["transcribe", AUDIO, "--language", "en", "--model", NAME]
    assert main(words) == 0
    first = capsys.readouterr()
    assert letters(first.out) == letters(wanted.text)
    assert first.err.splitlines()[0].startswith(f"{NAME}: fetching 4 files (")
    assert first.err.splitlines()[1] == f"{NAME}: converting it"
    hub.seen.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main(words) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "fetching" not in again.err
    assert hub.seen == []


def test_its_folder_says_where_it_came_from(
    small: Repository, cache: Path, folder: Path, tmp_path: Path
) -> None:
    model = turnout.load(NAME)
    assert model.folder is not None
    origin = json.loads(model.folder.read("source.json"))
    wanted = {"repository": "o/small", "revision": "main", "commit": small.commit}
    assert wanted.items() <= origin.items()
    assert small.commit in (model.folder.path / "README.md").read_text()
    assert repr(model).startswith(f"Transcriber('o--small@{small.commit}'")


def test_shards_are_fetched_with_their_index(
    hub: HubServer, cache: Path, folder: Path, tmp_path: Path
) -> None:
    parts = whispers.save_transformers(tmp_path / "parts", whispers.whisper(), shard="60KB")
    assert len(list(parts.glob("model-*.safetensors"))) > 1
    hub.repositories["o/parts"] = Repository(
        {one.name: one.read_bytes() for one in parts.iterdir()}
    )
    hub.faults.append(Fault("/elsewhere/", times=2, cut=1000))
    whole = turnout.load(convert(folder, tmp_path / "whole")).transcribe(AUDIO, language="en")
    assert turnout.load("hf://o/parts").transcribe(AUDIO, language="en").text == whole.text


def test_its_files_become_a_folder_of_the_user_s_own(
    small: Repository, hub: HubServer, cache: Path, tmp_path: Path
) -> None:
    place = tmp_path / "own"
    assert main(["convert", NAME, "-o", str(place), "--half"]) == 0
    origin = json.loads((place / "source.json").read_text())
    assert (origin["repository"], origin["commit"]) == ("o/small", small.commit)
    assert turnout.load(place).transcribe(AUDIO, language="en").language == "en"
    assert [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    hub.seen.clear()
    assert main(["convert", "models/whisper-base", "-o", str(place)]) == 2
    assert hub.seen == []


def test_it_is_listed_and_removed(
    small: Repository, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = turnout.load(NAME).folder.path  # type: ignore[union-attr]
    capsys.readouterr()
    assert main(["models"]) == 0
    (row,) = (r for r in capsys.readouterr().out.splitlines() if r.startswith(f"{NAME} "))
    assert "en, zh, haw" in row
    assert row.rstrip().endswith(f"o/small@{small.commit[:8]}")
    assert main(["models", "--remove", NAME]) == 0
    assert not path.exists()


def test_a_damaged_one_says_how_to_get_another(small: Repository, cache: Path) -> None:
    weights = turnout.load(NAME).folder.path / "model.safetensors"  # type: ignore[union-attr]
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    with pytest.raises(
        ModelFolderError, match=f"is damaged .*; 'turnout models --remove {NAME}' l"
    ):
        turnout.load(NAME)


def test_a_checkpoint_that_lies_about_its_shape_leaves_nothing(
    hub: HubServer, small: Repository, cache: Path
) -> None:
    config = {**json.loads(small.files["config.json"]), "d_model": 1 << 20}
    small.files["config.json"] = json.dumps(config).encode()
    with pytest.raises(ModelFolderError):
        turnout.load(NAME)
    assert [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_ctrl_c_while_it_is_fetched_is_one_line_and_the_next_time_goes_on(
    small: Repository, hub: HubServer, cache: Path
) -> None:
    hub.faults.append(Fault("/elsewhere/", pause=1.0))
    words = [sys.executable, "-m", "turnout", "transcribe", AUDIO, "--model", NAME]
    settings = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0"}
    process = subprocess.Popen(words, env=settings, stdout=-1, stderr=-1, text=True)
    part = cache / "fetching" / f"o--small@{small.commit}" / "model.safetensors"
    until(lambda: part.exists() and part.stat().st_size > 0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert [line.split(";")[0] for line in err.splitlines()[1:]] == [f"{NAME}: stopped"]
    have = part.stat().st_size
    assert 0 < have < len(small.files["model.safetensors"])
    turnout.load(NAME)
    ranges = [headers.get("range") for path, headers in hub.seen if "/elsewhere/" in path]
    assert ranges == [None, f"bytes={have}-"]


def until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
