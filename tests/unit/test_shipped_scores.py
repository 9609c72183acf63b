"""The scores of the shipped model are, wherever they stand, those that the benchmark wrote."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = {
    split: json.loads((ROOT / f"benchmarks/results/commands-{split}.json").read_text())
    for split in ("dev", "test")
}
ROWS = RESULTS["test"]["rows"]
PAGES = (ROOT / "README.md", ROOT / "src/turnout/models/commands/README.md")


def cells(row: dict[str, Any]) -> str:
    """Of a row of the tables: the WER, and its interval with whose it is."""
    low, high = row["wer_interval"]
    number = f"{row['speakers']} speaker" + ("s" if row["speakers"] > 1 else "")
    few = "only " if row["speakers"] < 5 else ""
    return f"{row['wer']:.1f} % | {low:.1f} to {high:.1f} %, {few}{number}"


@pytest.mark.parametrize("page", PAGES, ids=["readme", "card"])
def test_the_tables_are_what_the_benchmark_wrote(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lines = re.findall(
        r"^\| (ar|en), (\w+) \| (transcribed|translated)[^|]*\| (.*? \| .*?) \|", text, re.M
    )
    task = {"transcribe": "transcribed", "translate": "translated"}
    assert lines == [
        (row["language"], row["bandwidth"], task[row["task"]], cells(row)) for row in ROWS
    ]
    assert "Of fewer than five speakers an interval says little of others" in text
    assert RESULTS["test"]["intervals"] in text


def test_the_page_of_the_model_gives_the_intervals_of_both_splits() -> None:
    text = " ".join((ROOT / "docs/shipped-model.md").read_text(encoding="utf-8").split())
    for bandwidth in ("wideband", "narrowband"):
        both = [
            "{:.1f} to {:.1f} %".format(*row["wer_interval"])
            for split in ("test", "dev")
            for row in RESULTS[split]["rows"]
            if (row["bandwidth"], row["task"], row["language"]) == (bandwidth, "transcribe", "ar")
        ]
        pattern = r"{}[^;:]*? {}\D*{}".format(bandwidth, *map(re.escape, both))
        assert re.search(pattern, text), (bandwidth, both)


def test_the_intervals_of_dev_and_test_overlap() -> None:
    """Those of utterances alone did not: both splits are of the same kind of speech."""
    for one, other in zip(RESULTS["dev"]["rows"][:4], ROWS[:4], strict=True):
        assert one["wer_interval"][0] < other["wer_interval"][1]
        assert other["wer_interval"][0] < one["wer_interval"][1]
