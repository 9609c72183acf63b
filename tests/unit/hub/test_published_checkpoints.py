"""Checkpoints that people have, where their folder is named."""

import os
from pathlib import Path

import pytest

import turnout
from turnout.hub.convert import convert, describe, read_checkpoint

WEIGHTS = Path(os.environ.get("TURNOUT_TEST_WHISPER", "nowhere"))
EXAMPLE = Path(__file__).parents[3] / "examples" / "english-1.flac"

pytestmark = pytest.mark.skipif(
    not WEIGHTS.is_dir(), reason="TURNOUT_TEST_WHISPER names no folder of Whisper's weights"
)


def test_it_writes_what_is_said(tmp_path: Path) -> None:
    """Of one for English; another's words: tests/unit/adapters/test_whisper_base.py."""
    model = turnout.load(convert(WEIGHTS / "tiny.en", tmp_path / "model"), threads=1)
    found = model.transcribe(EXAMPLE)
    assert [letter for letter in found.text if letter.isdigit()] == ["7", "2", "9", "4"]
    assert found.language == "en"


def test_one_is_for_english_alone() -> None:
    assert "English alone, 74 MB" in describe(read_checkpoint(WEIGHTS / "tiny.en"))
    assert "99 languages, 144 MB" in describe(read_checkpoint(WEIGHTS / "base"))
