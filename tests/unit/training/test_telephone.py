"""The recipe of telephone speech, through the command itself: the same model with any workers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.unit.data.words import write_words
from turnout.cli import main

RECIPE = Path(__file__).parents[3] / "recipes/telephone.yaml"
TINY = {
    "model.vocabulary.languages": "es",
    "model.encoder.num-layers": "1",
    "model.encoder.d-model": "16",
    "model.encoder.num-heads": "2",
    "model.encoder.d-feedforward": "16",
    "model.decoder.num-layers": "1",
    "model.decoder.num-heads": "2",
    "model.decoder.d-feedforward": "16",
    "data.batch-seconds": "8",
    "data.dev-utterances": "2",
    "max-steps": "3",
    "threads": "1",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words, two noises and a room."""
    folder, rng = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0)
    write_words(folder, takes=1)
    for name, length in (("noises/a", 9000), ("noises/b", 30_000), ("rooms/a", 2000)):
        path = folder / f"{name}.flac"
        path.parent.mkdir(exist_ok=True)
        samples = 0.2 * rng.standard_normal(length) * np.exp(-np.arange(length) / 8000)
        soundfile.write(path, samples, 16_000)
    return folder


def train(corpus: Path, output: Path, **changes: object) -> int:
    cuts = str(corpus / "cuts.jsonl.gz")
    options: dict[str, object] = {
        **TINY,
        "output": output,
        "data.train": cuts,
        "data.dev": cuts,
        "data.augment.channel.noises": corpus / "noises",
        "data.augment.channel.rooms": corpus / "rooms",
        **changes,
    }
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    return main(["train", "--config", str(RECIPE), *words])


def test_workers_change_no_weight(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    for workers in (0, 2):
        assert train(corpus, tmp_path / str(workers), **{"data.workers": workers}) == 0
    alone, helped = (
        (tmp_path / workers / "model/model.safetensors").read_bytes() for workers in "02"
    )
    assert alone == helped


@pytest.mark.parametrize("option", ["rooms", "noises"])
def test_a_folder_without_recordings_ends_it_before_it_begins(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    name = f"data.augment.channel.{option}"
    assert train(corpus, tmp_path / "run", **{name: tmp_path}) == 2
    (error,) = (line for line in capsys.readouterr().err.splitlines() if "error" in line)
    assert error.startswith(f"turnout: error: augment.channel.{option} is {tmp_path}: no recording")
    assert not (tmp_path / "run/features").exists()


def test_the_options_are_in_the_help() -> None:
    # A process of its own: how wide help is, is settled once in each.
    command = [sys.executable, "-m", "turnout", "train", "--help"]
    shown = subprocess.run(
        command, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, check=True
    ).stdout
    for name in ("codecs", "packet-loss-rate", "noise-snr-db", "clipped", "wideband-variants"):
        assert f"--data.augment.channel.{name}" in shown
