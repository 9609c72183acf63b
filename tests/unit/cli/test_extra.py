import subprocess
import sys

import pytest

from turnout.cli import main

BLOCKED = """
import importlib.util, sys
find = importlib.util.find_spec
gone = {"torch", "lhotse", "jiwer", "lightning_fabric", "matplotlib", "jaxtyping"}
importlib.util.find_spec = lambda name, package=None: None if name in gone else find(name, package)
for name in gone:
    sys.modules[name] = None
from turnout.cli import main
sys.exit(main(sys.argv[1:]))
"""


def without_extra(*words):
    """The command where the workshop cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, *words], capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    "verb", ["prepare", "synthesize", "train", "evaluate", "inspect", "export"]
)
def test_a_workshop_verb_says_what_to_install_before_its_arguments_are_checked(verb):
    done = without_extra(verb, "--no-such-option")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"turnout: error: 'turnout {verb}' needs the extra 'train': pip install 'turnout[train]'\n"
    )


@pytest.mark.parametrize("verb", ["train", "evaluate", "inspect", "prepare"])
def test_its_help_answers_all_the_same(verb):
    done = without_extra(verb, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: turnout {verb}")


@pytest.mark.parametrize("verb", ["transcribe", "models"])
def test_a_runtime_verb_asks_for_nothing(verb):
    done = without_extra(verb, "--no-such-option", "x.wav")
    assert "extra" not in done.stderr
    assert "Unknown option" in done.stderr


def test_with_the_extra_nothing_is_said(capsys):
    assert main(["train", "--no-such-option"]) == 2
    assert "extra" not in capsys.readouterr().err
