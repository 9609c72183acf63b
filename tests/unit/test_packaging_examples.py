"""The recordings of examples/: complete, small, and what their references say."""

import json
from pathlib import Path

import pytest
import yaml

from turnout.audio.bandwidth import measure_bandwidth
from turnout.audio.waveform import read_audio

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
REFERENCES = json.loads((EXAMPLES / "references.json").read_text(encoding="utf-8"))


def test_every_recording_has_a_reference_and_the_folder_is_small() -> None:
    beside = {"references.json", "live_client.py", "turnout.service"}
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - beside
    assert files == set(REFERENCES)
    assert len(files) >= 10
    assert sum(path.stat().st_size for path in EXAMPLES.rglob("*")) < 1_500_000


def test_both_languages_come_in_both_bandwidths() -> None:
    found = {(entry["language"], entry["bandwidth"]) for entry in REFERENCES.values()}
    assert len(found) == 4
    assert all(2 <= len(entry["text"].split()) <= 6 for entry in REFERENCES.values())


@pytest.mark.parametrize("language", ["ar", "en"])
def test_the_recipe_of_the_training_speech_excludes_every_voice(language: str) -> None:
    recipe = yaml.safe_load((ROOT / f"recipes/words_{language}.yaml").read_text(encoding="utf-8"))
    excluded = recipe["exclude"]
    for name, entry in REFERENCES.items():
        if entry["language"] == language:
            voice, _, variant = entry["voice"].partition("+")
            assert voice in excluded["voices"] or variant in excluded["variants"], name


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_the_measured_bandwidth_is_that_of_the_recording(name: str) -> None:
    waveform = read_audio(EXAMPLES / name)
    measured = measure_bandwidth(waveform.samples, waveform.native_rate)
    assert measured == REFERENCES[name]["bandwidth"]
