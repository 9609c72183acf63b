"""The counts of the reliability tests: nothing that fell short is ever taken for done."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CONFTEST = """
from tests.reliability.conftest import *

def pytest_addoption(parser):
    parser.addoption("--full", action="store_true")
    parser.addoption("--report")
    parser.addoption("--seed", default=1)

def pytest_configure(config):
    config.addinivalue_line("markers", "counts(test, case): of a reliability test")
"""
TESTS = """
import pytest

@pytest.mark.counts("T1", "passes")
def test_passes(tally):
    for number in range(3):
        with tally.trial(str(number)):
            pass
    tally.controlled(failed=True)

@pytest.mark.counts("T1", "one trial fails")
def test_one_trial_fails(tally):
    for number in range(3):
        with tally.trial(str(number)):
            assert number != 1, "not this one"

@pytest.mark.counts("T1", "stops")
def test_stops(tally):
    for number in range(3):
        with tally.trial(str(number)):
            {}[number]

@pytest.mark.counts("T1", "control passes")
def test_control_passes(tally):
    with tally.trial("one"):
        pass
    tally.controlled(failed=False)

@pytest.fixture
def disk():
    pytest.skip("no disk")

@pytest.mark.counts("T1", "skipped")
def test_skipped(tally, disk):
    raise AssertionError("unreachable")

@pytest.mark.counts("T1", "nothing tried")
def test_nothing_tried(tally):
    pass
"""


def run(folder: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    """What pytest says in the end, and the report."""
    words = ["-q", "-p", "no:cacheprovider", "--full", "--report", str(folder / "report")]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", str(folder), str(folder), *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [json.loads(path.read_text()) for path in (folder / "report").glob("*.json")]
    return ran.stdout.splitlines()[-1], {line["case"]: line for line in found}


def test_what_fell_short_is_reported_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(TESTS)
    closing, report = run(tmp_path)
    assert "4 passed" in closing and "1 failed" in closing and "3 errors" in closing, closing
    assert report["passes"]["passed"] == 3 and not report["passes"]["failures"]
    assert report["one trial fails"]["failures"] == ["1: not this one"]
    assert report["stops"]["failures"] == ["stopped after 1 trials: KeyError: 0"]
    assert report["control passes"]["negative_control_failed"] is False
    assert report["skipped"]["skipped"] == "no disk" and report["skipped"]["trials"] == 0
    assert report["nothing tried"]["trials"] == 0
    again, _ = run(tmp_path)
    assert "3 passed" in again and "2 skipped" in again and "3 errors" in again, again
