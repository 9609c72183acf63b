"""A headless Chromium for the tests of the page; where there is none they are skipped."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.page.chromium import MISSING, ROOT, Browser, opened, programs

SPOKEN = ROOT / "examples" / "english-3.wav"
QUIET_SECONDS = (2.0, 3.0)
"""Before and behind what the microphone hears."""


@pytest.fixture(scope="session")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's microphone hears, over and over."""
    samples, rate = soundfile.read(SPOKEN)
    before, behind = (np.zeros(int(seconds * rate)) for seconds in QUIET_SECONDS)
    path = tmp_path_factory.mktemp("microphone") / "heard.wav"
    soundfile.write(path, np.concatenate((before, samples, behind)), rate, subtype="PCM_16")
    return path


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory, microphone: Path) -> Iterator[Browser]:
    found = programs()
    if found is None:
        pytest.skip(MISSING)
    downloads = tmp_path_factory.mktemp("downloads")
    with opened(found, downloads, microphone) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """As wide as a desk, by day; every test gets a page of its own."""
    chromium.desk()
    yield chromium
    chromium.leave()


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's script."""
    path = os.environ.get("TURNOUT_TEST_AXE")
    if not path:
        pytest.skip("TURNOUT_TEST_AXE names no axe-core: scripts/fetch_axe.py FILE fetches it")
    return Path(path).read_text(encoding="utf-8")
