"""Labels on actors of Ray: the same as without, whoever is killed. Each run is a process of its
own, with a cluster of its own."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.unit.labelling.hearer import Hearer, labelled
from tests.unit.labelling.test_label import ROOT, lines, written
from tests.unit.shards.corpus import recording
from turnout.labelling.cluster import Unit, given_up, parted
from turnout.labelling.cluster import _Piece as Piece

ray = pytest.mark.skipif("not __import__('importlib.util').util.find_spec('ray')")


def clustered(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.unit.labelling.clustered", *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


@ray
@pytest.mark.slow
def test_actors_and_drivers_that_die_change_nothing(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for number in range(1, 6):
        recording(folder / f"r{number}.wav", 3.0 if number != 2 else 1.0)
    labelled(folder, tmp_path / "at once", Hearer(), Hearer("other"))
    # The driver is killed behind a part, and the same command goes on.
    assert clustered(folder, out, 1).returncode == -9
    assert not (out / "cuts.jsonl.gz").exists()
    done = clustered(folder, out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["5", "5"]
    assert written(out) == written(tmp_path / "at once")
    heard = Counter((tmp_path / "out.log").read_text().splitlines())
    assert len(heard) == 10
    # Two actors may each have had a part that was not written when the driver ended.
    assert sum(heard.values()) <= 10 + 2 * 2


@ray
@pytest.mark.slow
def test_an_input_that_ends_its_process_is_given_up(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "poison", "z"):
        recording(folder / f"{name}.wav", 1.0)
    done = clustered(folder, out)
    assert done.returncode == 0, done.stderr
    assert [one["id"] for one in lines(out / "cuts.jsonl.gz")] == ["a", "z"]
    report = (out / "report.json").read_text()
    assert "poison.wav: the process that heard it ended, 2 times" in report
    heard = Counter((tmp_path / "out.log").read_text().splitlines())
    assert heard["hearer poison"] == 4  # twice among others, twice alone


def test_a_piece_is_tried_twice_then_its_items_alone() -> None:
    unit = Unit(0, 0, ["a", "b", "c"])
    whole = Piece(unit, range(3))
    (again,) = parted(whole)
    assert (list(again.places), again.deaths) == ([0, 1, 2], 1)
    alone = parted(again)
    assert [(list(one.places), one.deaths) for one in alone] == [([0], 0), ([1], 0), ([2], 0)]
    assert [list(given_up(one)) for one in (whole, again, alone[1])] == [[], [], []]
    (last,) = parted(alone[1])
    assert parted(last) == []
    assert list(given_up(last)) == [1]
