"""Who transcribes, tells nobody: ONNX Runtime's telemetry, on by default since 1.29, is off."""

import os
import subprocess
import sys
from pathlib import Path

LEFT_OUT = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY",
            "XDG_CACHE_HOME")  # fmt: skip
"""Where these are set, telemetry is off anyway, or writes elsewhere."""


def what_lies_in(folder: Path, program: str) -> list[str]:
    """What the program leaves behind where temporary files, caches and settings go."""
    environment = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    environment |= {"TMPDIR": str(folder), "HOME": str(folder)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_onnx_runtime_sends_nothing_and_leaves_no_identifier(tmp_path: Path) -> None:
    program = "import turnout; turnout.load('commands')"
    assert what_lies_in(tmp_path, program) == []


def test_who_wants_telemetry_can_have_it() -> None:
    program = "import os, turnout.backends.onnx; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True
    )
    assert result.stdout.split() == [b"0"]
