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


@pytest.mark.parametrize("name", ["tiny.en", "base"])
def test_it_writes_what_is_said(name: str, tmp_path: Path) -> None:
    model = turnout.load(convert(WEIGHTS / name, tmp_path / name), threads=1)
    words = model.transcribe(EXAMPLE, language="en").text.lower()
    assert [digit for digit in words if digit.isdigit()] == ["7", "2", "9", "4"]
    assert model.transcribe(EXAMPLE).language == "en"


def test_one_is_for_english_alone() -> None:
    assert "English alone, 74 MB" in describe(read_checkpoint(WEIGHTS / "tiny.en"))
    assert "99 languages, 144 MB" in describe(read_checkpoint(WEIGHTS / "base"))
