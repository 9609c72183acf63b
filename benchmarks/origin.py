"""What every figure says of where it comes from: command, seed, commit, machine."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def origin(seed: int, *packages: str) -> dict[str, Any]:
    """The command line, the seed, the commit (with + where files differ from it) and the machine,
    with the versions of `packages`."""
    versions = [f"{name} {version(name)}" for name in packages]
    return {
        "command": " ".join(
            ["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(placed, sys.argv[1:])]
        ),
        "seed": seed,
        "commit": commit(),
        "machine": ", ".join(
            [
                f"{platform.system()} {platform.machine()}",
                f"Python {platform.python_version()}",
                *versions,
            ]
        ),
    }


def placed(word: str) -> str:
    """An argument as it is, but for a path outside the checkout: where that lies on this machine
    tells nobody anything, what it is called may."""
    option, sign, value = word.rpartition("=")
    path = Path(os.path.expanduser(value))  # noqa: PTH111 - Path.expanduser refuses unknown users
    if not (path.is_absolute() or ".." in path.parts):
        return word
    whole = Path(os.path.normpath(path.absolute()))
    inside = whole.is_relative_to(ROOT)
    return f"{option}{sign}{whole.relative_to(ROOT) if inside else f'FOLDER/{whole.name}'}"


def commit() -> str:
    """The checkout's commit; a + behind it says that tracked files differ."""
    found = git("rev-parse", "HEAD")
    return f"{found}+" if git("status", "--porcelain", "--untracked-files=no") else found


def git(*words: str) -> str:
    """What git prints, or 'unknown' outside a checkout."""
    result = subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=ROOT)
    return result.stdout.strip() if result.returncode == 0 else "unknown"
