"""An adapter of a checkpoint that people have, where its folder is named."""

import os
from pathlib import Path

import pytest

import turnout
from tests.adapted import adapter, experts_of, trained
from turnout.hub.convert import convert

WEIGHTS = Path(os.environ.get("TURNOUT_TEST_WHISPER", "nowhere"))
EXAMPLES = Path(__file__).parents[3] / "examples"
HEARD = EXAMPLES / "english-1.flac"

pytestmark = pytest.mark.skipif(
    not WEIGHTS.is_dir(), reason="TURNOUT_TEST_WHISPER names no folder of Whisper's weights"
)


def test_what_no_expert_is_for_is_the_bases_own(tmp_path: Path) -> None:
    """Found languages, times and probabilities included."""
    base = convert(WEIGHTS / "base", tmp_path / "base")
    model = trained(base, tmp_path / "model", experts_of("encoder"))
    found = adapter(base, model, tmp_path / "adapter", language="es", half=True)
    plain = turnout.load(base, threads=1)
    routed = turnout.load(base, adapters=[found], threads=1)
    wanted = plain.transcribe(HEARD, word_timestamps=True)
    assert routed.transcribe(HEARD, word_timestamps=True) == wanted
    assert routed.transcribe(HEARD, language="es").text != wanted.text
