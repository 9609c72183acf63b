"""The names that callers may rely on: each new one, and each that goes, is a decision."""

import pytest

import turnout

PUBLIC = [
    "AudioError",
    "AudioTooLong",
    "Bandwidth",
    "Cancelled",
    "CheckpointError",
    "ConfigError",
    "ExportError",
    "FetchError",
    "GuidanceError",
    "ManifestError",
    "MissingExtra",
    "ModelFolderError",
    "Segment",
    "StorageError",
    "Task",
    "TrainingError",
    "Transcriber",
    "Transcript",
    "TranscriptionOptions",
    "TurnoutError",
    "UsageError",
    "Waveform",
    "Word",
    "__version__",
    "export_folder",
    "load",
    "train",
]


def test_the_public_names_are_these() -> None:
    assert turnout.__all__ == PUBLIC
    assert dir(turnout) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_can_be_imported(name: str) -> None:
    assert getattr(turnout, name) is not None


def test_another_name_is_told_to_be_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'loud'"):
        _ = turnout.loud  # type: ignore[attr-defined]
