"""The quick versions of benchmarks run through to their tables, on real recordings, and go on from
what they kept."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import kept_trainings
import multitask
import omni
import omni_table
import pytest

from turnout import cli

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a benchmark with these words, in this process, and returns what it wrote."""
    trained: list[str] = []

    def train(command: Sequence[str], **_: object) -> None:
        trained.append(command[-1])
        assert cli.main(command[3:]) == 0

    here = SimpleNamespace(run=train, DEVNULL=None)
    monkeypatch.setattr(kept_trainings, "subprocess", here)

    def once(benchmark: ModuleType, *words: str) -> dict[str, Any]:
        target = tmp_path / "table.json"
        monkeypatch.setattr(sys, "argv", [
            "benchmark", "--quick", "--runs", str(tmp_path / "runs"), "--results", str(target),
            "--data", str(DATA), "--threads", "1", *words,
        ])  # fmt: skip
        benchmark.main()
        return json.loads(target.read_text("utf-8"))

    def twice(benchmark: ModuleType, *words: str) -> dict[str, Any]:
        found = once(benchmark, *words)
        assert len(trained) == 2
        again = once(benchmark, *words, "--only-trained")
        assert len(trained) == 2
        assert {**again, "command": ""} == {**found, "command": ""}
        return found

    return twice


def needs(*names: str) -> None:
    missing = [name for name in names if not (DATA / f"{name}.tar").is_file()]
    if missing:
        pytest.skip(f"real recordings are needed: {', '.join(missing)} in ../shared/data")


def test_multitask(run: Run) -> None:
    needs("arabic_commands", "fsdd")
    table = run(multitask, "--rows", "hard,smoe")
    hard, smoe = table["rows"]["hard"], table["rows"]["smoe"]
    assert len(hard) == 7  # three cells, both tasks, and their average
    assert hard["average"]["relative change"] == 0.0
    change = 100 * (smoe["average"]["wer"] / hard["average"]["wer"] - 1)
    assert smoe["average"]["relative change"] == pytest.approx(change, abs=0.02)
    sizes = table["parameters"]
    assert sizes["smoe"]["active"] == sizes["hard"]["active"] < sizes["smoe"]["total"]
    assert set(table["translation"]["smoe"]) == set(table["translation"]["hard"])


def test_omni(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    needs(*omni.TRAIN, *omni.SCORED, omni.SOUNDS)
    table = run(omni, "--start", "random", "--rows", "dense,omni")
    dense, own = table["figures"]["dense"], table["figures"]["omni"]
    assert len(dense) == 12  # eleven sets, and the average of ten
    outside = [
        figures["cer"] for name, figures in own.items() if name not in ("read", "out of domain")
    ]
    assert own["out of domain"]["cer"] == pytest.approx(sum(outside) / 10, abs=0.01)
    assert math.isfinite(own["out of domain"]["wer, change to dense"])
    assert [len(row["1"]["loss"]) for row in table["runs"].values()] == [2, 2]
    capsys.readouterr()
    sys.argv = ["omni_table", str(tmp_path / "table.json"), "--figure", str(tmp_path / "loss.png")]
    omni_table.main()
    assert "| read |" in capsys.readouterr().out
    assert (tmp_path / "loss.png").is_file()
