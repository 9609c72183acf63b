"""Counts of the reliability tests -> docs/reliability.json and the table of docs/reliability.md.

    python scripts/reliability_report.py FOLDER [--partly]

FOLDER is what `pytest tests/reliability --full --report FOLDER` filled; `scripts/test --full` does
both. --partly keeps the cases of the last report that the folder does not have, with their commits.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs/reliability.md"
REPORT = ROOT / "docs/reliability.json"
TABLE = re.compile(r"(<!-- counts -->\n).*?(<!-- end of counts -->)", re.DOTALL)
PACKAGES = ("torch", "numpy", "onnxruntime", "safetensors", "soundfile", "av")


def read(folder: Path, commit: str) -> list[dict[str, Any]]:
    """The counts of the tests of this commit, by number."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("T*.json")]
    return by_number([{**line, "commit": commit} for line in found])


def by_number(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order of the table."""
    return sorted(lines, key=lambda line: (int(line["test"][1:]), line["case"]))


def with_earlier(lines: list[dict[str, Any]], report: dict[str, Any]) -> list[dict[str, Any]]:
    """Those cases, and of an earlier report the ones that they do not count anew."""
    new = {(line["test"], line["case"]) for line in lines}
    earlier = [{"commit": report["commit"], **line} for line in report["tests"]]
    return by_number([*lines, *(one for one in earlier if (one["test"], one["case"]) not in new)])


ABOUT = {
    "T1": ("killed and started again: the same bits", "none surveyed tests it by killing the run"),
    "T2": ("signals: the step is saved, the same command goes on", ""),
    "T3": (
        "damaged checkpoints are refused by name",
        "one bit flipped: safetensors loads 60 of 60 wrong and says nothing, `torch.save` with "
        "`weights_only` 59 of 60, torch's distributed checkpoints 55 of 60",
    ),
    "T4": ("no room, no permission: one line, the last checkpoint stays", ""),
    "T5": ("losses and gradients that are not finite", ""),
    "T6": ("several ranks: bad data, equal losses, no rank waits for ever", ""),
    "T7": (
        "hostile folders and corpora run nothing",
        "torch's distributed checkpoints read their metadata with `pickle.load`",
    ),
    "T8": ("no archive is unpacked, and no hostile shard is read", ""),
    "T9": ("damaged recordings: no signal, no traceback, the good one beside is done", ""),
    "T10": (
        "bombs stop at the limit, at little cost",
        "`soundfile.read` of a FLAC whose header claims 2^36 samples asks for 256 GiB",
    ),
    "T11": ("odd rates, formats, channels, lengths, pipes", ""),
    "T12": ("where nobody speaks nothing is written", ""),
    "T13": (
        "batch-mates change nothing",
        "capacity 1.25: others change 784 of 5,000 frames of a request; 2.0: 164",
    ),
    "T14": ("nobody gets another's answer", ""),
    "T15": ("the same file again and again", ""),
    "T16": ("more clients than places: told so at once, every answer right", ""),
    "T17": ("short clients beside a long file", ""),
    "T18": (
        "clients that send nothing, slowly, or read nothing are let go",
        "FastAPI and uvicorn by default: 300 MB without a key are stored, then 401; a body at 2 "
        "bytes/s is held after 30 s",
    ),
    "T19": ("a client that leaves frees its place", ""),
    "T20": ("SIGTERM: what was accepted is finished within the grace", ""),
    "T21": ("ready is what would be finished", ""),
    "T22": ("no way round the key: every route, method and way of writing a path", ""),
    "T23": (
        "bad parameters and bodies: one line, no 5xx",
        "FastAPI by default: 500 for a binary body to a JSON route, and for temperature=nan",
    ),
    "T24": ("no file makes the server ask anybody", ""),
    "T25": ("logs and metrics hold nothing of a client's, and do not grow", ""),
    "T26": ("after thousands of requests a server is as it was", ""),
    "T27": ("a model's files change while it serves", ""),
}
"""What each test is, and what other tools do, measured by hand (docs/reliability.md says how)."""


def summary(lines: list[dict[str, Any]]) -> str:
    """The counts of each test beside other tools, as Markdown."""
    rows = ["| | what | trials | passed | other tools |", "|---|---|---|---|---|"]
    for test in dict.fromkeys(line["test"] for line in lines):
        cases = [line for line in lines if line["test"] == test]
        what, others = ABOUT[test]
        trials, passed = (sum(line[name] for line in cases) for name in ("trials", "passed"))
        rows.append(f"| {test} | {what} | {trials:,} | {passed:,} | {others} |")
    return "\n".join(rows) + "\n"


def table(lines: list[dict[str, Any]]) -> str:
    """The counts of each case as Markdown."""
    rows = [
        "| test | trials | passed | negative control | measured | s | commit |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        control = {True: "fails, as it must", False: "**passed**", None: ""}
        measured = ", ".join(f"{name} {shown(value)}" for name, value in line["measured"].items())
        if line["skipped"]:
            measured = f"skipped: {line['skipped']}"
        rows.append(
            f"| {line['test']} {line['case']} | {line['trials']:,} | {line['passed']:,} "
            f"| {control[line['negative_control_failed']]} | {measured} | {line['seconds']:.0f} "
            f"| {line['commit'][:8]} |"
        )
    return "\n".join(rows) + "\n"


def shown(value: Any) -> str:
    """A figure of the table."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name}: {shown(part)}" for name, part in value.items()) + ")"
    return str(value)


def origin() -> dict[str, Any]:
    """Where the counts come from; cases of other commits say so themselves."""
    commit = git("rev-parse", "HEAD")
    differs = git("status", "--porcelain", "--", "src", "tests")
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return {
        "command": "scripts/test --full",
        "commit": f"{commit}+" if differs else commit,
        "machine": f"{platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {versions}",
    }


def git(*words: str) -> str:
    """What git prints."""
    ran = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def main() -> int:
    """Write both; 1 where something fell short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--partly", action="store_true")
    arguments = parser.parse_args()
    made_by = origin()
    lines = read(arguments.folder, made_by["commit"])
    if not lines:
        parser.error("the folder holds no counts: run scripts/test --full")
    if arguments.partly and REPORT.exists():
        lines = with_earlier(lines, json.loads(REPORT.read_text(encoding="utf-8")))
    made_by["seeds"] = sorted({line["seed"] for line in lines})
    report = {**made_by, "tests": lines}
    REPORT.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    where = f"`{made_by['command']}`, commit {made_by['commit'][:12]}, {made_by['machine']}.\n"
    details = f"<details><summary>Each case</summary>\n\n{table(lines)}\n</details>\n"
    counts = f"{summary(lines)}\n{where}\n{details}"
    text = DOCUMENT.read_text(encoding="utf-8")
    filled = TABLE.sub(lambda found: f"{found[1]}{counts}{found[2]}", text)
    DOCUMENT.write_text(filled, encoding="utf-8")
    failed = [
        f"{line['test']} {line['case']}"
        for line in lines
        if line["failures"] or line["negative_control_failed"] is False
    ]
    print(f"{len(lines)} tests reported in {REPORT.relative_to(ROOT)}")
    if failed:
        print(f"fell short: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
