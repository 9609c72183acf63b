import json
import os
import signal

import pytest

from turnout.cli import main
from turnout.cli.terminal import interruptible, note
from turnout.config import TranscriptionOptions
from turnout.errors import AudioError, Cancelled, GuidanceError
from turnout.guidance import Bandwidth, Task
from turnout.text.transcript import Segment, Transcript


def heard(text, language="ar", task=Task.TRANSCRIBE, translation=None, warnings=()):
    return Transcript(
        text=text,
        language=language,
        task=task,
        duration_seconds=1.0,
        bandwidth=Bandwidth.WIDEBAND,
        segments=(Segment(id=0, start=0.0, end=1.0, text=text),),
        translation=translation,
        warnings=warnings,
    )


BOTH = heard("يمين", translation=heard("right", "en", Task.TRANSLATE))


class StandIn:
    """A Transcriber with prepared answers; keeps what it was asked."""

    def __init__(self):
        self.answers = {}
        self.options = None
        self.loaded = {}
        self.sources = []

    def load(self, model, **options):
        self.loaded = {"model": model, **options}
        return self

    def transcribe_files(self, sources, options, **told):
        self.options = options
        for source in sources:
            told["heard"](90.0)
            self.sources.append(source)
            yield self.answers.get(source.name, heard(f"text of {source.name}"))


@pytest.fixture
def model(monkeypatch):
    stand_in = StandIn()
    monkeypatch.setattr("turnout.transcription.transcriber.load", stand_in.load)
    return stand_in


def test_one_recording_prints_its_text_alone(model, capsys):
    assert main(["transcribe", "a.wav"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("text of a.wav\n", "")


def test_several_recordings_are_told_apart(model, capsys):
    assert main(["transcribe", "a.wav", "b.wav"]) == 0
    assert capsys.readouterr().out == "a.wav: text of a.wav\nb.wav: text of b.wav\n"


def test_both_tasks_print_two_lines(model, capsys):
    model.answers = {"a.wav": BOTH, "b.wav": BOTH}
    assert main(["transcribe", "a.wav", "--task", "both"]) == 0
    assert capsys.readouterr().out == "يمين\nright\n"
    main(["transcribe", "a.wav", "b.wav", "--task", "both"])
    assert capsys.readouterr().out.splitlines()[:2] == ["a.wav: يمين", "a.wav [en]: right"]


def test_options_reach_the_model(model):
    words = "--language ar --target_language en --bandwidth narrowband --beam-size 4 --channel 1"
    words += " --track 2 --batch_size 2 --word_timestamps --max-duration 60 --task both"
    main(["transcribe", "a.wav", *words.split(), "--model", "m", "--threads", "2"])
    assert model.options == TranscriptionOptions(
        task="both", language="ar", target_language="en", bandwidth="narrowband", beam_size=4,
        batch_size=2, word_timestamps=True, max_duration=60.0, channel=1, track=2,
    )  # fmt: skip
    options = {"backend": "auto", "device": "auto", "threads": 2, "adapters": (), "say": note}
    assert model.loaded == {"model": "m", **options}


def test_options_may_stand_between_recordings(model):
    assert main(["transcribe", "a.wav", "--beam_size", "2", "b.wav"]) == 0
    assert [source.name for source in model.sources] == ["a.wav", "b.wav"]


def test_one_bad_recording_does_not_stop_the_others(model, capsys):
    model.answers = {"bad.wav": AudioError("bad.wav", "no samples at all")}
    assert main(["transcribe", "a.wav", "bad.wav", "b.wav"]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["a.wav: text of a.wav", "b.wav: text of b.wav"]
    assert captured.err == "turnout: error: bad.wav: no samples at all\n"


def test_a_request_that_fits_no_recording_is_unusable(model, capsys):
    model.answers = {"a.wav": GuidanceError("nothing translates 'en': choose one of ar")}
    assert main(["transcribe", "a.wav"]) == 2
    assert capsys.readouterr().err.startswith("turnout: error: a.wav: nothing translates")
    assert main(["transcribe", "a.wav", "b.wav"]) == 1


def test_warnings_name_the_recording(model, capsys):
    model.answers = {"a.wav": heard("x", warnings=("its data ends early",))}
    assert main(["transcribe", "a.wav"]) == 0
    assert capsys.readouterr().err == "turnout: warning: a.wav: its data ends early\n"


def test_a_folder_alone_means_txt(model, tmp_path, capsys):
    assert main(["transcribe", "x/a.wav", "b.mp3", "-o", str(tmp_path / "new")]) == 0
    files = {path.name: path.read_text() for path in (tmp_path / "new").iterdir()}
    assert files == {"a.txt": "text of a.wav\n", "b.txt": "text of b.mp3\n"}
    assert capsys.readouterr().out == ""


def test_a_format_alone_means_here(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["transcribe", "a.wav", "-f", "srt"]) == 0
    assert "text of a.wav" in (tmp_path / "a.srt").read_text()


def test_both_tasks_are_two_files_and_one_json(model, tmp_path):
    model.answers = {"a.wav": BOTH}
    main(["transcribe", "a.wav", "--task", "both", "-o", str(tmp_path), "--output_format", "all"])
    names = sorted(path.name for path in tmp_path.iterdir())
    apart = [f"a{middle}.{kind}" for middle in ("", ".translation")
             for kind in ("txt", "vtt", "srt", "tsv")]  # fmt: skip
    assert names == sorted([*apart, "a.json"])
    assert (tmp_path / "a.translation.txt").read_text() == "right\n"
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["text"] == "يمين"
    assert content["translation"]["text"] == "right"


@pytest.mark.parametrize(
    "words",
    [
        ["x/a.wav", "y/a.mp3"],
        ["a.wav", "a.wav"],
        ["a.wav", "a.translation.wav", "--task", "both"],
    ],
)
def test_two_recordings_for_one_file_are_refused_before_any_work(model, tmp_path, capsys, words):
    assert main(["transcribe", *words, "-o", str(tmp_path)]) == 2
    assert "would both be written to" in capsys.readouterr().err
    assert model.loaded == {}
    assert list(tmp_path.iterdir()) == []


def test_printing_takes_two_of_one_name(model):
    assert main(["transcribe", "x/a.wav", "y/a.wav"]) == 0


@pytest.mark.parametrize("folder", ["text.wav", "text.wav/deep/er"])
def test_a_file_in_the_way_of_the_folder_is_refused_before_any_work(
    model, tmp_path, monkeypatch, capsys, folder
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.wav").write_text("")
    assert main(["transcribe", "a.wav", "-o", folder]) == 2
    said = "turnout: error: text.wav is a file: a folder is needed\n"
    assert capsys.readouterr().err == said
    assert model.loaded == {}


def test_a_text_that_cannot_be_written_does_not_stop_the_others(model, tmp_path, capsys):
    (tmp_path / "a.txt").mkdir()
    assert main(["transcribe", "a.wav", "b.wav", "-o", str(tmp_path)]) == 1
    assert (tmp_path / "b.txt").read_text() == "text of b.wav\n"
    assert "a.txt: cannot be written" in capsys.readouterr().err
    assert main(["transcribe", "a.wav", "-o", str(tmp_path)]) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["notes.txt"],
        ["other.wav", "notes.txt", "-o", "."],
        ["notes.wav", "notes.txt", "-f", "txt"],
        ["notes.wav", "notes.translation.vtt", "--task", "both", "-f", "all"],
    ],
)
def test_a_recording_is_never_written_over(model, tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    names = [word for word in words if "." in word and word != "."]
    for name in names:
        (tmp_path / name).write_text("sound")
    extra = [] if {"-o", "-f"} & set(words) else ["-f", "txt"]
    assert main(["transcribe", *words, *extra]) == 2
    message = capsys.readouterr().err
    assert "written over" in message or "both be written to" in message
    assert model.loaded == {}
    assert {name: (tmp_path / name).read_text() for name in names} == dict.fromkeys(names, "sound")


def test_a_recording_of_the_name_of_its_text_may_lie_elsewhere(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("sound")
    assert main(["transcribe", "notes.txt", "-o", "out"]) == 0
    assert (tmp_path / "out" / "notes.txt").read_text() == "text of notes.txt\n"


def test_a_failed_write_leaves_nothing_half_written(model, tmp_path, monkeypatch, capsys):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr("os.fsync", full)
    assert main(["transcribe", "a.wav", "-o", str(tmp_path)]) == 1
    assert "a.txt: cannot be written (No space left on device)" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("given", ["inf", "1e400", "nan", "0"])
def test_a_longest_duration_that_is_none_is_refused(model, capsys, given):
    assert main(["transcribe", "a.wav", "--max_duration", given]) == 2
    assert "max_duration is " in capsys.readouterr().err
    assert model.loaded == {}


def test_a_hyphen_is_stdin(model, tmp_path, capsys):
    assert main(["transcribe", "-", "--task", "transcribe"]) == 0
    assert [str(source) for source in model.sources] == ["/dev/stdin"]
    assert main(["transcribe", "a.wav", "-", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "stdin.txt").is_file()


def test_an_empty_name_is_said_to_be_one(model, capsys):
    assert main(["transcribe", "a.wav", ""]) == 2
    message = "turnout: error: the name of a recording is empty: give its path\n"
    assert capsys.readouterr().err == message
    assert model.loaded == {}


def test_names_and_texts_write_nothing_to_the_terminal(model, tmp_path, capsys):
    name = "a\x1b[31m\u202e.wav"
    model.answers = {name: heard("one\x1b[2J\n two")}
    assert main(["transcribe", name, "b.wav"]) == 0
    shown = "a\\x1b[31m\\u202e.wav"
    assert capsys.readouterr().out == f"{shown}: one [2J two\nb.wav: text of b.wav\n"
    assert main(["transcribe", name, "-o", str(tmp_path)]) == 0
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [["-f", "json"], ["-f", "all"], ["-f", "txt", "--task", "both"]])
def test_a_name_that_is_too_long_is_said_before_anything_is_decoded(model, tmp_path, capsys, words):
    long = "ن" * 124 + "abc.wav"  # 255 bytes, as many as the file system takes
    if words[-1] == "both":
        model.answers = {"b.wav": BOTH}
    assert main(["transcribe", long, "b.wav", "-o", str(tmp_path / "new" / "er"), *words]) == 1
    assert [source.name for source in model.sources] == ["b.wav"]
    (message, *_) = capsys.readouterr().err.splitlines()
    assert message.startswith(f"turnout: error: {long}: the name of its '.")
    assert "would be too long for the file system: rename the recording" in message
    assert {path.name.split(".")[0] for path in (tmp_path / "new" / "er").iterdir()} == {"b"}


def test_a_name_as_long_as_may_be_is_taken(model, tmp_path):
    assert main(["transcribe", "n" * 251 + ".wav", "-o", str(tmp_path)]) == 0
    assert (tmp_path / ("n" * 251 + ".txt")).is_file()


@pytest.mark.parametrize("folder", ["f" * 256, "/".join(["f" * 200] * 25)])
def test_a_folder_that_is_too_long_is_refused_before_any_work(model, tmp_path, capsys, folder):
    assert main(["transcribe", "a.wav", "-o", str(tmp_path / folder)]) == 2
    assert "is too long for the file system: choose a shorter folder" in capsys.readouterr().err
    assert model.loaded == {} and list(tmp_path.iterdir()) == []


def test_a_path_that_is_too_long_in_all_is_said_before_anything_is_decoded(model, tmp_path, capsys):
    folder = tmp_path / "/".join(["f" * 200] * 19)
    folder /= "g" * (4094 - len(str(folder)) - 60)
    assert main(["transcribe", "n" * 80 + ".wav", "b.wav", "-o", str(folder)]) == 1
    assert [source.name for source in model.sources] == ["b.wav"]
    assert "n.wav: the name of its '.txt' file" in capsys.readouterr().err


class Interrupted(StandIn):
    """Ctrl-C is pressed while it works: once, or oftener."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def transcribe_files(self, _sources, _options, **told):
        for _ in range(self.times):
            os.kill(os.getpid(), signal.SIGINT)
        assert told["cancelled"]()
        yield heard("the first half", warnings=("it was stopped before its end",))
        raise Cancelled("transcription was cancelled")


@pytest.mark.parametrize("terminal", [False, True])
def test_ctrl_c_keeps_what_was_heard(monkeypatch, tmp_path, capsys, terminal):
    monkeypatch.setattr("turnout.transcription.transcriber.load", Interrupted(1).load)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    assert main(["transcribe", "a.wav", "-o", str(tmp_path)]) == 130
    assert (tmp_path / "a.txt").read_text() == "the first half\n"
    assert "warning: a.wav: it was stopped before its end" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_again_leaves_at_once(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("turnout.transcription.transcriber.load", Interrupted(2).load)
    assert main(["transcribe", "a.wav", "-o", str(tmp_path)]) == 130
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


def test_ctrl_c_that_is_ignored_stays_so(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_IGN)
    with interruptible() as pressed:
        assert not pressed()
