"""The scripts' environments: made once, made anew when the sources change, failing in one line."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("scripts/demo", "scripts/test", "scripts/check", "scripts/bench", ".ci/run")
# What the scripts may use beside bash; a machine without Python has these.
TOOLS = (
    "basename",
    "dirname",
    "find",
    "xargs",
    "cksum",
    "sort",
    "cat",
    "rm",
    "cut",
    "tail",
    "grep",
)
BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(BASH is None, reason="bash is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with scripts and metadata and no environments."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "module.py").write_text("one = 1\n")
    return tmp_path


def bash(program: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    assert BASH is not None
    return subprocess.run(
        [BASH, "-c", program], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def stub(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{BASH}\n{body}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_executable_bash(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    assert bash(f"bash -n {script}", ROOT).returncode == 0


def test_without_a_python_the_demo_says_so_in_one_line(checkout: Path) -> None:
    tools = checkout / "tools"
    tools.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    stub(tools / "python3", "exit 1")  # too old
    outcome = bash(f"{BASH} scripts/demo", checkout, PATH=str(tools), PYTHON="")
    assert outcome.returncode == 1
    assert outcome.stderr.count("\n") == 1
    assert outcome.stderr.startswith("demo: no Python 3.11 or newer")


def test_an_environment_is_filled_once_and_again_when_the_sources_change(checkout: Path) -> None:
    stub(checkout / "venv/bin/python", 'echo "$@" >>"$(dirname "$0")/calls"')
    fill = (
        "set -euo pipefail; source scripts/environment.sh;"
        'ensure_environment "$PWD/venv" "$(fingerprint pyproject.toml src)" .'
    )

    def installs() -> int:
        outcome = bash(fill, checkout)
        assert outcome.returncode == 0, outcome.stderr
        return (checkout / "venv/bin/calls").read_text().count("pip install")

    assert installs() == 1
    assert installs() == 1
    (checkout / "src" / "module.py").write_text("one = 2\n")
    assert installs() == 2
    (checkout / "src" / "module.py").unlink()
    assert installs() == 3
    assert installs() == 3


def test_a_missing_network_is_told_in_one_line_and_tried_once(checkout: Path) -> None:
    refused = "ERROR: Failed to establish a new connection: Network is unreachable"
    stub(
        checkout / "venv/bin/python",
        f'[ "$1" = -c ] && exit 0; echo "$@" >>"$(dirname "$0")/calls"; echo "{refused}"; exit 1',
    )
    program = 'source scripts/environment.sh; ensure_environment "$PWD/venv" state .'
    outcome = bash(program, checkout)
    assert outcome.returncode == 1
    assert (checkout / "venv/bin/calls").read_text().count("pip install") == 1
    last = outcome.stderr.strip().splitlines()[-1]
    assert "is there a network and a package index?" in last
    assert "unreachable" in last
    assert not (checkout / "venv/installed").exists()


def test_where_the_pins_do_not_fit_the_ranges_are_tried(checkout: Path) -> None:
    stub(
        checkout / "venv/bin/python",
        'case "$*" in *constraints*) echo "ERROR: no matching distribution"; exit 1;; esac',
    )
    program = 'source scripts/environment.sh; ensure_environment "$PWD/venv" state .'
    outcome = bash(program, checkout)
    assert outcome.returncode == 0
    assert "trying the newest that fit" in outcome.stderr
    assert (checkout / "venv/installed").read_text() == "state\n"
