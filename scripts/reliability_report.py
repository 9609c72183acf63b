"""Counts of the reliability tests -> docs/reliability.json and the table of docs/reliability.md.

    python scripts/reliability_report.py FOLDER

FOLDER is what `pytest tests/reliability --full --report FOLDER` filled; `scripts/test --full` does
both.
"""

import argparse
import json
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs/reliability.md"
REPORT = ROOT / "docs/reliability.json"
TABLE = re.compile(r"(<!-- counts -->\n).*?(<!-- end of counts -->)", re.DOTALL)
PACKAGES = ("torch", "numpy", "onnxruntime", "safetensors", "soundfile", "av")


def read(folder: Path) -> list[dict[str, Any]]:
    """The counts of all tests, by number."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("T*.json")]
    return sorted(found, key=lambda line: (int(line["test"][1:]), line["case"]))


def table(lines: list[dict[str, Any]]) -> str:
    """The counts as Markdown."""
    rows = [
        "| test | trials | passed | negative control | measured | s |",
        "|---|---|---|---|---|---|",
    ]
    for line in lines:
        control = {True: "fails, as it must", False: "**passed**", None: ""}
        measured = ", ".join(f"{name} {shown(value)}" for name, value in line["measured"].items())
        rows.append(
            f"| {line['test']} {line['case']} | {line['trials']:,} | {line['passed']:,} "
            f"| {control[line['negative_control_failed']]} | {measured} | {line['seconds']:.0f} |"
        )
    return "\n".join(rows) + "\n"


def shown(value: Any) -> str:
    """A figure of the table."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name}: {shown(part)}" for name, part in value.items()) + ")"
    return str(value)


def origin(seeds: set[int]) -> dict[str, Any]:
    """Where the counts come from."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return {
        "command": "scripts/test --full",
        "commit": commit.stdout.strip(),
        "seeds": sorted(seeds),
        "machine": f"{platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {versions}",
    }


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    lines = read(parser.parse_args().folder)
    if not lines:
        parser.error("the folder holds no counts: run scripts/test --full")
    made_by = origin({line["seed"] for line in lines})
    report = {**made_by, "tests": lines}
    REPORT.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    where = f"`{made_by['command']}`, commit {made_by['commit'][:12]}, {made_by['machine']}.\n"
    text = DOCUMENT.read_text(encoding="utf-8")
    filled = TABLE.sub(lambda found: f"{found[1]}{table(lines)}\n{where}{found[2]}", text)
    DOCUMENT.write_text(filled, encoding="utf-8")
    failed = [f"{line['test']} {line['case']}" for line in lines if line["failures"]]
    print(f"{len(lines)} tests reported in {REPORT.relative_to(ROOT)}")
    if failed:
        print(f"fell short: {', '.join(failed)}")


if __name__ == "__main__":
    main()
