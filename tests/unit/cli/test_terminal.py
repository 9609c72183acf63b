"""Libraries are silent while recordings are read; turnout is not, and everything comes back."""

import os
import subprocess
import sys

from turnout.cli.terminal import hushed_libraries

PROGRAM = """
import os, sys
from turnout.cli.terminal import hushed_libraries
try:
    with hushed_libraries():
        os.write(2, b"library\\n")
        sys.stderr.write("turnout: é\\n")
        raise KeyError("stopped")
except KeyError:
    os.write(2, b"library again\\n")
    sys.stderr.write("turnout again\\n")
"""


def test_only_the_library_is_not_heard() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=True,
    )
    assert result.stderr.decode().splitlines() == ["turnout: é", "library again", "turnout again"]


def test_a_closed_stderr_is_left_closed() -> None:
    program = "from turnout.cli.terminal import hushed_libraries\nwith hushed_libraries(): pass"
    closing = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program]
    subprocess.run(closing, check=True)


def test_what_a_caller_put_in_place_of_stderr_stays(capsys) -> None:
    replaced = sys.stderr
    with hushed_libraries():
        assert sys.stderr is replaced
        sys.stderr.write("seen")
    assert capsys.readouterr().err == "seen"
