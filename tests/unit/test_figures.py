"""The tables of README and card are the committed figures."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("document", ["README.md", "src/turnout/models/commands/README.md"])
def test_the_table_is_what_was_measured(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    rows = json.loads((ROOT / "benchmarks/results/commands-test.json").read_text())["rows"]
    assert len(rows) == 6
    for row in rows:
        low, high = row["wer_interval"]
        assert f"| {row['wer']:.1f} % | {low:.1f} to {high:.1f} % |" in text
