"""Adapters of a checkpoint that people have, where its folder is named."""

import os
from pathlib import Path

import pytest

import turnout
from tests.adapted import adapter, experts_of, trained
from turnout.hub.convert import convert
from turnout.hub.resolve import shipped_adapters

WEIGHTS = Path(os.environ.get("TURNOUT_TEST_WHISPER", "nowhere"))
EXAMPLES = Path(__file__).parents[3] / "examples"
HEARD = EXAMPLES / "english-1.flac"

pytestmark = pytest.mark.skipif(
    not WEIGHTS.is_dir(), reason="TURNOUT_TEST_WHISPER names no folder of Whisper's weights"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(WEIGHTS / "base", tmp_path_factory.mktemp("whisper") / "base")


@pytest.fixture(scope="module")
def plain(base: Path) -> turnout.Transcriber:
    return turnout.load(base, threads=1)


def test_what_no_expert_is_for_is_the_bases_own(
    base: Path, plain: turnout.Transcriber, tmp_path: Path
) -> None:
    """Found languages, times and probabilities included."""
    model = trained(base, tmp_path / "model", experts_of("encoder"))
    found = adapter(base, model, tmp_path / "adapter", language="es", half=True)
    routed = turnout.load(base, adapters=[found], threads=1)
    wanted = plain.transcribe(HEARD, word_timestamps=True)
    assert [letter for letter in wanted.text if letter.isdigit()] == ["7", "2", "9", "4"]
    assert wanted.language == "en"
    assert routed.transcribe(HEARD, word_timestamps=True) == wanted
    assert routed.transcribe(HEARD, language="es").text != wanted.text


def test_those_that_ship_change_what_they_were_taught_alone(
    base: Path, plain: turnout.Transcriber
) -> None:
    """To the last bit."""
    routed = turnout.load(base, adapters=shipped_adapters(), threads=1)
    taught = routed.adapted.config.encoder.routing.experts_for if routed.adapted else ()
    assert len(taught) == len(shipped_adapters()) > 0
    for options in (
        {"language": "es"},  # measured as wideband
        {"language": "es", "task": "translate", "bandwidth": "narrowband"},
        {"language": "de", "bandwidth": "narrowband"},
    ):
        assert routed.transcribe(HEARD, **options) == plain.transcribe(HEARD, **options)
    spanish = {"language": "es", "bandwidth": "narrowband"}
    assert routed.transcribe(HEARD, **spanish) != plain.transcribe(HEARD, **spanish)
