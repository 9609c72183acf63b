import os
import subprocess
import sys

import pytest

from turnout.cli import main
from turnout.cli.options import as_typed
from turnout.errors import StorageError, TurnoutError, one_line
from turnout.guidance import Guide

VERBS = (
    "transcribe", "prepare", "synthesize", "plan", "train", "evaluate", "inspect", "convert",
    "models", "export",
)  # fmt: skip


MOST_MODULES = 400
"""That `--help` imports, Python's own among them: some 230."""


def fails_with(monkeypatch, error):
    """Let every verb raise `error`."""

    def raise_it(*_arguments, **_options):
        raise error

    monkeypatch.setattr("turnout.cli.command.build_app", lambda: raise_it)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(capsys, verb):
    assert main([verb, "--help"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"Usage: turnout {verb}")
    assert captured.err == ""


def test_defaults_are_shown_as_they_are_typed():
    assert as_typed((("ar", "en"), ("en", "de"))) == "ar en en de"
    assert as_typed((0.85, 1.18)) == "0.85 1.18"
    assert as_typed((Guide.TARGET_LANGUAGE,)) == "target-language"
    assert (as_typed(False), as_typed(0), as_typed("")) == ("False", "0", '""')
    assert as_typed(()) is as_typed(None) is as_typed(((),)) is None


def test_no_help_shows_brackets_of_python(capsys):
    assert main(["upcycle", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "[default: bandwidth]" in words and "[default: (" not in words


def test_the_command_alone_lists_the_verbs(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert [verb for verb in VERBS if verb in text] == list(VERBS)


def test_the_version_is_told(capsys):
    from importlib.metadata import version

    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("turnout")


def test_an_unknown_verb_offers_the_nearest(capsys):
    assert main(["transcrbe", "a.wav"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("turnout: error: ")
    assert 'Did you mean "transcribe"?' in message


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (TurnoutError("it broke"), 1, "turnout: error: it broke\n"),
        (StorageError("x: cannot be written"), 1, "turnout: error: x: cannot be written\n"),
        (OSError(28, "No space left on device", "/x/y"), 1, "/x/y: No space left on device"),
        (PermissionError(13, "Permission denied", "z"), 1, "z: Permission denied"),
        (MemoryError(), 1, "out of memory"),
        (TurnoutError("two\nlines\x1b[2J"), 1, "two\\nlines\\x1b[2J"),
    ],
)
def test_what_goes_wrong_is_one_line(monkeypatch, capsys, error, status, said):
    fails_with(monkeypatch, error)
    assert main(["transcribe", "a.wav"]) == status
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


def test_our_own_mistakes_keep_their_traceback(monkeypatch):
    fails_with(monkeypatch, ZeroDivisionError("ours"))
    with pytest.raises(ZeroDivisionError):
        main(["transcribe", "a.wav"])


def test_an_interruption_is_quiet(monkeypatch, capsys):
    fails_with(monkeypatch, KeyboardInterrupt())
    assert main(["transcribe", "a.wav"]) == 130
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_control_characters_never_reach_the_terminal():
    assert one_line("a\x1b[31m\r\nb\udcff ü عربي") == "a\\x1b[31m\\r\\nb\\udcff ü عربي"


def command(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "turnout", *words], capture_output=True, text=True, check=False,
        timeout=60, **options,
    )  # fmt: skip


def test_a_reader_that_leaves_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "turnout", "train", "--help"], stdout=writing,
        stderr=subprocess.PIPE, text=True, check=False, timeout=60,
    )  # fmt: skip
    os.close(writing)
    # rich ends the process with 1 where it meets the broken pipe itself.
    assert done.returncode in (1, 141)
    assert done.stderr == ""


def test_a_terminal_without_unicode_is_no_error(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = command("train", "--config", str(tmp_path / "لا.yaml"), env=environment)
    assert done.returncode == 2
    assert "\\u0644" in done.stderr


def test_help_imports_no_room():
    # What it takes is imports: their number says so on any machine.
    done = command("--help", env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}).stderr
    heavy = ("numpy", "onnxruntime", "torch", "lhotse", "turnout.audio", "turnout.transcription")
    imported = {line.rpartition("|")[2].strip() for line in done.splitlines()}
    assert "turnout.cli.command" in imported
    assert len(imported) < MOST_MODULES
    assert not imported.intersection(heavy)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["--help", "no-such-verb"])
def test_a_closed_stream_is_no_error(closed, words, tmp_path):
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m turnout {words} {closed}', sys.executable],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert done.returncode == (0 if words == "--help" else 2)
    assert "Traceback" not in done.stderr
    shown = {"--help": done.stdout, "no-such-verb": done.stderr}[words]
    open_still = {"--help": " >&-", "no-such-verb": " 2>&-"}[words] not in f" {closed}"
    assert bool(shown) == open_still


@pytest.mark.parametrize("module", ["turnout.cli", "cyclopts", "turnout.cli.transcribe"])
def test_an_interruption_while_importing_is_quiet(module, tmp_path):
    program = f"""
import sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupts())
sys.argv = ["turnout", "transcribe", "a.wav"]
from turnout.__main__ import main
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


SIGNALLED = """
import os, signal, sys
class Signals:
    def find_spec(self, name, path=None, target=None):
        if name == "cyclopts":
            try:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000): pass
            except BaseException:
                raise ImportError("initialization failed") from None
sys.meta_path.insert(0, Signals())
sys.argv = ["turnout", "--help"]
from turnout.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("ignored", [False, True])
def test_ctrl_c_while_importing_ends_at_once_unless_it_is_ignored(ignored, tmp_path):
    """As it is by what a shell starts in the background."""
    program = 'exec "$0" -c "$1"'
    program = f"trap '' INT; {program}" if ignored else program
    done = subprocess.run(
        ["sh", "-c", program, sys.executable, SIGNALLED], capture_output=True, text=True,
        check=False, cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0 if ignored else 130, "")
    assert bool(done.stdout) == ignored


def test_little_is_imported_before_an_interruption_is_heeded():
    program = "import sys, turnout.__main__; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True,
        timeout=60, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert not {"typing", "importlib.util", "enum", "signal"} & set(done.stdout.split())


def test_an_interruption_that_a_module_turned_into_another_error_is_one(monkeypatch):
    from turnout.__main__ import main as command

    stopped = ImportError("initialization failed")
    stopped.__cause__ = KeyboardInterrupt()
    fails_with(monkeypatch, stopped)
    monkeypatch.setattr(sys, "argv", ["turnout", "transcribe", "a.wav"])
    assert command() == 130
    fails_with(monkeypatch, ImportError("ours"))
    with pytest.raises(ImportError, match="ours"):
        command()


@pytest.mark.parametrize(
    "words",
    [
        ["transcribe", "a.wav", "--beam-size", "1.9"],
        ["transcribe", "a.wav", "--threads", "1.5"],
        ["transcribe", "a.wav", "--channel", "0.4"],
        ["train", "--max-steps", "2.5"],
        ["train", "--model.encoder.num-layers", "1.2"],
        ["evaluate", "cuts", "--limit", "0.9"],
    ],
    ids=" ".join,
)
def test_a_fraction_is_never_rounded(words, capsys):
    assert main(words) == 2
    message = capsys.readouterr().err
    assert message == f"turnout: error: {words[-2]} is {words[-1]}: it must be a whole number\n"


def test_fractions_of_other_options_are_taken(tmp_path, capsys):
    main(["transcribe", str(tmp_path / "a.wav"), "--max-duration", "1.5", "--beam-size", "2.0"])
    assert "a.wav: there is no such file" in capsys.readouterr().err
