"""axe-core, which holds the page against the rules of accessibility in its test, from the package
index: it lies in a wheel, of which only this file is taken, held against its digest.

    python scripts/fetch_axe.py FILE

What is there already is kept. Exit status 1, with one line, where it cannot be had.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from hashlib import sha256
from pathlib import Path

WHEEL = "axe-playwright-python==0.1.8"
"""Carries axe-core 4.12.1; what it needs itself is not installed."""
MEMBER = "axe_playwright_python/axe.min.js"
DIGEST = "84494fec757e4710dc751c8d7a636e457f4532f08f85c86dc9070133fbff53bc"


def fetched() -> bytes:
    """The script; raises OSError, with one line."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check"]
        done = subprocess.run(
            [*command, "--quiet", "--no-deps", "--dest", place, WHEEL],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise OSError((done.stderr.strip().splitlines() or ["pip says nothing"])[-1])
        (wheel,) = Path(place).glob("*.whl")
        try:
            with zipfile.ZipFile(wheel) as archive:
                data = archive.read(MEMBER)
        except (zipfile.BadZipFile, KeyError) as error:
            raise OSError(f"{wheel.name} is not what is known") from error
    if sha256(data).hexdigest() != DIGEST:
        raise OSError(f"the package index has another axe-core in {WHEEL} than is known")
    return data


def main() -> None:
    """Fetch it, whole or not at all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("file", type=Path, help="kept where it is there already")
    path: Path = parser.parse_args().file
    if path.is_file():
        return
    try:
        data = fetched()
    except OSError as error:
        sys.exit(f"axe-core for the test of the page cannot be had: {error}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    partial.replace(path)


if __name__ == "__main__":
    main()
