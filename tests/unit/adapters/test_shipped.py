"""The adapters inside the package, and the script that puts them there."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.adapted import WHISPER_BASE, adapter, base_in, experts_of, opened, trained
from turnout.adapters.folder import TENSORS, AdapterFolder
from turnout.adapters.stored import weights_of
from turnout.guidance import Guide
from turnout.hub.card import NOTICE
from turnout.hub.resolve import shipped_adapters
from turnout.model_folder import SHIPPED

ROOT = Path(__file__).parents[3]
NAMES = shipped_adapters()
MOST_BYTES = 16 << 20


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """As Python has it where it is run."""
    sys.path.insert(0, str(ROOT / "scripts"))
    yield importlib.import_module("ship_adapters")
    sys.path.remove(str(ROOT / "scripts"))
    sys.modules.pop("ship_adapters", None)


def test_there_are_some_and_they_are_small() -> None:
    assert NAMES
    files = (path for name in NAMES for path in (SHIPPED / name).iterdir())
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_each_is_whisper_bases_for_what_it_was_taught(name: str) -> None:
    facts = AdapterFolder.open(SHIPPED / name).facts
    assert (facts.name, facts.base, facts.digest) == (name, "whisper-base", WHISPER_BASE)
    (expert,) = facts.experts
    assert expert.when == {
        Guide.LANGUAGE: name.removeprefix("telephone-"),
        Guide.BANDWIDTH: "narrowband",
        Guide.TASK: "transcribe",
    }


@pytest.mark.parametrize("name", NAMES)
def test_its_licence_is_the_recordings_and_the_card_says_so(name: str, script: ModuleType) -> None:
    """With the figures that the benchmark wrote, none of them typed."""
    folder = AdapterFolder.open(SHIPPED / name)
    papers, code = folder.papers(), name.removeprefix("telephone-")
    assert papers["LICENSE-whisper"].decode() == NOTICE
    card, licence = papers["README.md"].decode(), papers["LICENSE"].decode()
    voice, (expert,) = script.VOICES[code], folder.facts.experts
    assert licence.startswith(f"Files: {voice.stanza}\nCopyright: ")
    assert licence.count(f"\nLicense: {voice.license}\n") == 2
    assert f"\nlicense: {voice.license.lower()}\n" in card
    assert card == script.card(code, (SHIPPED / name / TENSORS).stat().st_size, expert.rank)
    assert card.count("| dev, ") == 2 and "same voice as in" in card


def test_of_a_trained_adapter_the_strongest_parts_are_kept(
    tmp_path: Path, script: ModuleType
) -> None:
    """As if it had been made at that rank."""
    base = base_in(tmp_path)
    model = trained(base, tmp_path / "model", experts_of("encoder"))
    whole = opened(adapter(base, model, tmp_path / "4", language="zh", rank=4))
    half = opened(adapter(base, model, tmp_path / "2", language="zh", rank=2, half=True))
    cut = script.cut(weights_of(whole, TENSORS), 2, "zh")
    wanted = weights_of(half, TENSORS)
    assert cut.keys() == wanted.keys()
    for name, values in wanted.items():
        assert cut[name].dtype == np.float16
        assert np.array_equal(cut[name], values)
    with pytest.raises(SystemExit, match="'zh'} and of rank 4: one of es, fr, it, ru and at least"):
        script.facts_of(whole.facts, 4)
