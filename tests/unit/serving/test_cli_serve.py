"""`turnout serve`: its words, and what it needs."""

import subprocess
import sys

import pytest

from turnout.cli import main

BLOCKED = """
import importlib.util, sys
find = importlib.util.find_spec
gone = {"fastapi", "uvicorn", "python_multipart", "prometheus_client", "websockets"}
importlib.util.find_spec = lambda name, package=None: None if name in gone else find(name, package)
for name in gone:
    sys.modules[name] = None
from turnout.cli import main
sys.exit(main(sys.argv[1:]))
"""


def without_extra(*words):
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, *words], capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip


def test_without_the_extra_it_says_what_to_install():
    done = without_extra("serve", "--no-such-option")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "turnout: error: 'turnout serve' needs the extra 'serve': pip install 'turnout[serve]'\n"
    )


def test_its_help_answers_all_the_same():
    done = without_extra("serve", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: turnout serve")
    assert "--api-key-file" in done.stdout
    assert "--api-keys" not in done.stdout, "a key on the command line is read by others"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "0.0.0.0"], "host is 0.0.0.0, which others can reach, and there is no API key: "
         "set TURNOUT_API_KEY, or listen at 127.0.0.1"),
        (["--port", "70000"], "port is 70000: it must be at most 65535"),
        (["--max-queue", "-1"], "max_queue is -1: it must be at least 0"),
        (["--api-key-file", "/no/such/file"], "/no/such/file: the keys cannot be read: [Errno 2] "
         "No such file or directory: '/no/such/file'"),
        (["--certificate", "x.pem"], "certificate and certificate_key belong together: give both, "
         "or neither"),
    ],
)  # fmt: skip
def test_unusable_words_are_one_line(capsys, monkeypatch, words, message):
    monkeypatch.delenv("TURNOUT_API_KEY", raising=False)
    assert main(["serve", *words]) == 2
    assert capsys.readouterr().err == f"turnout: error: {message}\n"


def test_a_bad_key_is_not_repeated(capsys, monkeypatch):
    monkeypatch.setenv("TURNOUT_API_KEY", "short")
    assert main(["serve"]) == 2
    said = capsys.readouterr().err
    assert "an API key must have at least 8 printable ASCII characters" in said
    assert "short" not in said


def test_every_page_and_a_key_do_not_go_together(capsys, monkeypatch):
    monkeypatch.setenv("TURNOUT_API_KEY", "a-key-of-the-tests")
    assert main(["serve", "--cors-origins", "*"]) == 2
    assert "cors_origins is '*'" in capsys.readouterr().err
