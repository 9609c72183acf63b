"""The recordings of examples/: complete, small, and what their references say."""

import json
from pathlib import Path

import pytest

from turnout.audio.bandwidth import measure_bandwidth
from turnout.audio.waveform import read_audio

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
REFERENCES = json.loads((EXAMPLES / "references.json").read_text(encoding="utf-8"))


def test_every_recording_has_a_reference_and_the_folder_is_small() -> None:
    files = {path.name for path in EXAMPLES.iterdir()} - {"references.json"}
    assert files == set(REFERENCES)
    assert len(files) >= 10
    assert sum(path.stat().st_size for path in EXAMPLES.iterdir()) < 1_500_000


def test_both_languages_come_in_both_bandwidths() -> None:
    found = {(entry["language"], entry["bandwidth"]) for entry in REFERENCES.values()}
    assert len(found) == 4
    assert all(2 <= len(entry["text"].split()) <= 6 for entry in REFERENCES.values())


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_the_measured_bandwidth_is_that_of_the_recording(name: str) -> None:
    waveform = read_audio(EXAMPLES / name)
    measured = measure_bandwidth(waveform.samples, waveform.native_rate)
    assert measured == REFERENCES[name]["bandwidth"]
