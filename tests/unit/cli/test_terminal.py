"""Libraries are silent while recordings are read; turnout is not, and everything comes back. What
is shown is safe to show."""

import logging
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from turnout.cli.terminal import hushed_libraries, say, say_text, settle_encoding, show
from turnout.progress import Pace

EXAMPLES = Path(__file__).parents[3] / "examples"
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


SAYING = """
from turnout.cli.terminal import say_text, settle_encoding
settle_encoding()
say_text("", "\u0641 caf\u00e9")
say_text("", "\u0642")
"""


def saying(encoding: str, **streams: int) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", SAYING],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        stderr=subprocess.PIPE,
        check=True,
        timeout=60,
        **{"stdout": subprocess.PIPE, **streams},
    )


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "cp1256:strict", "utf-8"])
def test_what_is_redirected_is_utf_8(encoding: str) -> None:
    done = saying(encoding)
    assert (done.stdout.decode(), done.stderr) == ("\u0641 caf\u00e9\n\u0642\n", b"")


def test_an_encoding_that_has_all_letters_is_kept() -> None:
    assert saying("utf-16-le").stdout.decode("utf-16-le") == "\u0641 caf\u00e9\n\u0642\n"


def test_a_terminal_that_lacks_letters_says_so_once() -> None:
    ours, theirs = pty.openpty()
    try:
        done = saying("cp1252", stdout=theirs)
        shown = os.read(ours, 1000)
    finally:
        os.close(ours)
        os.close(theirs)
    assert shown == b"\\u0641 caf\xe9\r\n\\u0642\r\n"
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("turnout: warning: letters that this terminal's encoding, cp1252, lacks")


PRINTING = """
import sys
from turnout.progress import Pace, byte_progress, pace_progress, progress, sound_progress
for name in progress(["one", "two"], "working", 2):
    print(name)
for text in sound_progress(lambda heard: [heard(3725.5) or "three " * 40], "working"):
    print(text.strip())
with byte_progress("fetching", 2) as advance:
    print("four")
with pace_progress("labelling", 2, Pace()) as told:
    told(5400.0)
    print("five")
"""


def on_terminal(file: Path, *, both: bool) -> tuple[str, str]:
    """What is seen on a terminal, and what is in the file that stdout is, unless it is that
    terminal, too."""
    ours, theirs = pty.openpty()
    try:
        with file.open("wb") as out:
            subprocess.run(
                [sys.executable, "-c", PRINTING],
                env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
                stdout=theirs if both else out, stderr=theirs,
                check=True, timeout=60,
            )  # fmt: skip
        return os.read(ours, 1 << 20).decode(), file.read_text()
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_bar_never_takes_what_goes_into_a_file(tmp_path: Path) -> None:
    """`turnout transcribe a.wav b.wav > texts.txt` in a terminal."""
    seen, written = on_terminal(tmp_path / "texts.txt", both=False)
    assert written.splitlines() == ["one", "two", ("three " * 40).strip(), "four", "five"]
    assert "working" in seen and "1:02:05" in seen
    assert "labelling" in seen and "1.500 h of sound" in seen
    assert not {"one", "two", "three", "four", "five"} & set(seen.split())


def test_on_a_terminal_text_is_told_from_the_bar_and_a_single_one_is_not_folded(
    tmp_path: Path,
) -> None:
    seen, _ = on_terminal(tmp_path / "texts.txt", both=True)
    assert ("three " * 40).strip() + "\r\n" in seen
    assert "one\r\n" in seen and "four\r\n" in seen


def test_a_pace_is_hours_of_sound_for_each_minute() -> None:
    pace = Pace(started=time.monotonic() - 120)
    pace.add(1800.0)
    pace.add(5400.0)
    assert (pace.items, pace.hours) == (2, 2.0)
    assert str(pace) == "2.000 h of sound, 1.000 h a minute"


HOSTILE = "a\x1b[2J\r\x07\u202egpj\udcff"
SHOWN = "a\\x1b[2J\\r\\x07\\u202egpj\\udcff"


def test_names_never_reach_the_terminal_as_they_are(capsys) -> None:
    say(HOSTILE)
    say_text(f"{HOSTILE}: ", "نعم\u200f \x1b[2Jno")
    table = Table(box=None)
    table.add_column(Text(HOSTILE))
    table.add_row(Text(HOSTILE))
    show(table)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [SHOWN, f"{SHOWN}: نعم\u200f [2Jno"]
    cell = SHOWN.replace("\\r\\x07", "")  # rich itself drops these
    assert [line.strip() for line in lines[2:]] == [cell, cell]


def test_names_in_the_log_are_escaped(capsys) -> None:
    settle_encoding()
    assert logging.lastResort is not None
    record = logging.LogRecord("turnout", logging.WARNING, "", 0, "%s", (HOSTILE,), None)
    logging.lastResort.handle(record)
    assert capsys.readouterr().err == f"{SHOWN}\n"


@pytest.mark.parametrize("verb", ["transcribe", "inspect", "evaluate", "prepare"])
def test_verbs_that_read_recordings_hush_what_reads_them(verb, tmp_path) -> None:
    """libmpg123 complains of every damaged frame."""
    damaged = bytearray((EXAMPLES / "arabic-2.mp3").read_bytes())
    for place in range(600, len(damaged), 997):
        damaged[place : place + 40] = b"\x55" * 40
    (tmp_path / "a.mp3").write_bytes(damaged)
    (tmp_path / "a.csv").write_text("path,text,language\na.mp3,word,ar\n")
    named = "a.csv" if verb in ("evaluate", "prepare") else "a.mp3"
    words = [verb, named, *([] if verb == "evaluate" else ["-o", "new"])]
    result = subprocess.run(
        [sys.executable, "-m", "turnout", *words], capture_output=True, cwd=tmp_path, check=True
    )
    shown = result.stderr.decode().splitlines()
    assert not [line for line in shown if "mpg123" in line or "MPEG" in line]
    assert verb == "prepare" or any("the data end early" in line for line in shown)


def buffered() -> dict[str, str]:
    """An environment in which Python keeps what is printed until there is more of it."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}


@pytest.mark.parametrize("words", [("--help",), ("transcribe", str(EXAMPLES / "english-1.flac"))])
@pytest.mark.parametrize("unbuffered", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_a_full_disk_is_told_once(words, unbuffered) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        result = subprocess.run(
            [sys.executable, "-m", "turnout", *words],
            stdout=full, stderr=subprocess.PIPE, env=buffered() | unbuffered, check=False,
        )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.decode() == "turnout: error: No space left on device\n"


@pytest.mark.parametrize("verb", ["evaluate", "inspect"])
def test_files_are_written_though_nobody_reads_what_is_printed(verb, tmp_path) -> None:
    (tmp_path / "a.csv").write_text(
        f"path,text,language\n{EXAMPLES / 'english-1.flac'},word,en\n", "utf-8"
    )
    named = "a.csv" if verb == "evaluate" else str(EXAMPLES / "english-1.flac")
    output = "new/routing.json" if verb == "evaluate" else "new"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        result = subprocess.run(
            [sys.executable, "-m", "turnout", verb, named, "-o", output],
            stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, env=buffered(), check=False,
        )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.decode().splitlines()[-1] == "turnout: error: No space left on device"
    assert (tmp_path / "new/routing.json").is_file()
