import gzip
import io
import json
import os
import threading

import numpy as np
import pytest
import soundfile

from tests.doubles import hears_every_sound, model_config, tokenizer, tone
from turnout.cli import main
from turnout.config import EncoderConfig, RoutingConfig
from turnout.decoding.requests import Decoded, Hypothesis
from turnout.errors import UsageError
from turnout.guidance import Bandwidth, Task
from turnout.text.transcript import Word


class StandIn:
    """A Transcriber whose encoder sends every frame to expert 1 of 3."""

    folder = None

    def __init__(self):
        encoder = EncoderConfig(num_layers=1, routing=RoutingConfig(kind="omni", num_experts=3))
        self.config = model_config(encoder=encoder)
        self.backend = self
        self.tokenizer = tokenizer()
        self.requests = []

    def decode(self, utterances):
        self.requests += [utterance.request for utterance in utterances]
        return [self.answer(utterance) for utterance in utterances]

    def answer(self, utterance):
        assert utterance.options.word_timestamps
        hidden = -(-utterance.frames // 4)
        word = Word(start=0.1, end=0.3, word="يمين")
        heard = Hypothesis(
            task=Task.TRANSCRIBE, language="ar", tokens=(400,), text="يمين", log_prob=-1.0,
            words=(word,), start=0.1, end=0.3,
        )  # fmt: skip
        return Decoded(
            language="ar", hypotheses=(heard,), expert_index=np.ones((2, hidden), np.int64)
        )


def sound():
    """Four tenths of a second at 8 kHz, as a WAV."""
    file = io.BytesIO()
    soundfile.write(file, tone(0.4, rate=8000), 8000, format="WAV")
    return file.getvalue()


@pytest.fixture
def model(monkeypatch, tmp_path):
    stand_in = StandIn()
    monkeypatch.setattr("turnout.transcription.segments.finder", hears_every_sound)
    monkeypatch.setattr("turnout.transcription.transcriber.load", lambda *_, **__: stand_in)
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav", "x/a.wav", "y/a.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(sound())
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    return stand_in


def test_each_recording_has_a_picture_and_numbers(model, tmp_path, capsys):
    assert main(["inspect", "a.wav", "bad.wav", "-o", str(tmp_path / "new")]) == 1
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["a.routing.json", "a.routing.png", "routing.html", "routing.json"]
    content = json.loads((tmp_path / "new" / "a.routing.json").read_text())
    assert content["expert_index"] == [[1] * 10] * 2
    assert content["words"][0]["word"] == "يمين"
    captured = capsys.readouterr()
    assert "100.0 %" in captured.out
    assert "expert '0' took no frame in any layer" in captured.out
    assert "turnout: error: bad.wav: " in captured.err


def test_the_encoder_is_told_what_was_found(model, tmp_path):
    main(["inspect", "a.wav", "-o", str(tmp_path)])
    (asked,) = model.requests  # once: what decoding took is what is shown
    assert (asked.tasks, asked.bandwidth) == ((Task.TRANSCRIBE,), Bandwidth.NARROWBAND)
    content = json.loads((tmp_path / "a.routing.json").read_text())
    assert (content["bandwidth"], content["language"]) == ("narrowband", "ar")


def test_a_hyphen_is_stdin(model, tmp_path, monkeypatch):
    """A pipe, which can be read but once."""
    reading, writing = os.pipe()
    kept = os.dup(0)

    def write():
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(sound())

    writer = threading.Thread(target=write)
    try:
        os.dup2(reading, 0)
        writer.start()
        assert main(["inspect", "-", "b.wav", "-o", "new"]) == 0
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(reading)
        writer.join()
    assert (tmp_path / "new" / "stdin.routing.png").is_file()
    assert json.loads((tmp_path / "new" / "routing.json").read_text())["files"] == [
        "stdin",
        "b.wav",
    ]


def test_two_recordings_of_one_name_are_refused(model, tmp_path, capsys):
    assert main(["inspect", "x/a.wav", "y/a.wav", "-o", str(tmp_path)]) == 2
    assert "a.routing.png: rename one" in capsys.readouterr().err


def test_nothing_taken_leaves_nothing(model, tmp_path):
    assert main(["inspect", "bad.wav", "-o", "new"]) == 1
    assert not (tmp_path / "new").exists()


def test_a_picture_that_cannot_be_written_does_not_stop_the_others(model, tmp_path, capsys):
    (tmp_path / "a.routing.json").mkdir()
    assert main(["inspect", "a.wav", "b.wav", "-o", str(tmp_path)]) == 1
    assert (tmp_path / "b.routing.png").is_file()
    assert "a.routing.json: cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["routing.json", "routing.html", "a.routing.png"])
def test_a_recording_is_never_written_over(model, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("sound")
    assert main(["inspect", "a.wav", name]) == 2
    assert f"{name} is one of the recordings" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "sound"


def test_what_nothing_comes_of_is_no_option(model, capsys):
    assert main(["inspect", "a.wav", "--target-language", "en"]) == 2
    assert "unexpected" in (message := capsys.readouterr().err) or "Unknown option" in message


def test_a_name_that_is_too_long_is_said_before_anything_is_decoded(model, tmp_path, capsys):
    long = "n" * 245 + ".wav"
    (tmp_path / long).write_bytes(sound())
    assert main(["inspect", long, "b.wav", "-o", "new"]) == 1
    assert len(model.requests) == 1
    message = capsys.readouterr().err.splitlines()[0]
    assert message.startswith(f"turnout: error: {long}: the name of its '.routing")
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["b.routing.json", "b.routing.png", "routing.html", "routing.json"]


def test_a_name_that_is_no_unicode_has_its_files(model, tmp_path):
    name = os.fsdecode(b"\xff\x1b[31m.wav")
    (tmp_path / name).write_bytes(sound())
    assert main(["inspect", name, "-o", "new"]) == 0
    assert len(list((tmp_path / "new").iterdir())) == 4


def test_what_is_amiss_with_a_recording_is_told(model, tmp_path, capsys):
    left = tone(0.4, rate=8000)
    soundfile.write(tmp_path / "stereo.wav", np.stack((left, -left), axis=1), 8000)
    assert main(["inspect", "stereo.wav", "b.wav", "-o", "new"]) == 0
    first, *others = capsys.readouterr().err.splitlines()
    assert first.startswith("turnout: warning: stereo.wav: channels cancel each other")
    assert not any("warning" in line for line in others)


def test_two_models_are_shown_side_by_side(model, tmp_path, capsys):
    assert main(["inspect", "a.wav", "b.wav", "--compare", "other", "-o", "new"]) == 0
    assert len(model.requests) == 4  # each recording once through each model
    shown = (tmp_path / "new" / "routing.html").read_text()
    assert "Side by side" in shown and "model (compared)" in shown
    content = json.loads((tmp_path / "new" / "routing.json").read_text())
    assert content["files"] == ["a.wav", "b.wav"]
    assert content["compare"]["load"] == content["load"] == [[0, 1, 0]] * 2
    assert [content["model"], content["compare"]["model"]] == ["model", "model (compared)"]
    assert content["seconds"] == pytest.approx(0.8)
    assert "agreement between layers" in capsys.readouterr().out


def test_each_of_two_models_is_loaded_once(model, monkeypatch):
    loaded = []

    def load(name, **_):
        loaded.append(name)
        return model

    monkeypatch.setattr("turnout.transcription.transcriber.load", load)
    assert main(["inspect", "a.wav", "--model", "one", "--compare", "other", "-o", "new"]) == 0
    assert sorted(loaded) == ["one", "other"]


def test_a_second_model_that_is_not_there_is_told_before_the_first_hears(
    model, monkeypatch, capsys
):
    def load(name, **_):
        if name == "nosuch":
            raise UsageError("no model 'nosuch'")
        return model

    monkeypatch.setattr("turnout.transcription.transcriber.load", load)
    assert main(["inspect", "a.wav", "--compare", "nosuch", "-o", "new"]) == 2
    assert "no model 'nosuch'" in capsys.readouterr().err
    assert not model.requests


def test_stdin_is_not_heard_twice(model, capsys):
    assert main(["inspect", "-", "--compare", "other"]) == 2
    assert "stdin is heard once" in capsys.readouterr().err
    assert not model.requests


@pytest.fixture
def cuts(tmp_path):
    """Two clips of one recording, by two speakers, and one whose recording is missing."""
    lines = []
    for number, (speaker, source) in enumerate((("x", "a"), ("y", "a"), ("x", "no"))):
        said = {
            "id": f"s{number}", "recording_id": "r", "start": 0, "duration": 0.2, "channel": 0,
            "text": "yes", "language": "en", "speaker": speaker,
        }  # fmt: skip
        recording = {
            "id": "r", "sampling_rate": 8000, "num_samples": 3200, "duration": 0.4,
            "sources": [{"type": "file", "channels": [0], "source": f"{source}.wav"}],
        }  # fmt: skip
        lines.append(
            {
                "id": f"c{number}", "start": 0.2 * (number % 2), "duration": 0.2, "channel": 0,
                "supervisions": [said], "recording": recording, "type": "MonoCut",
                "custom": {"bandwidth": "narrowband"},
            }
        )  # fmt: skip
    path = tmp_path / "test.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def test_cuts_are_counted_with_their_speakers(model, cuts, tmp_path, capsys):
    assert main(["inspect", str(cuts), "-o", "new"]) == 1
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "routing.html",
        "routing.json",
    ]
    content = json.loads((tmp_path / "new" / "routing.json").read_text())
    assert content["files"] == ["c0", "c1"]
    assert sorted(content["speakers"]["labels"]) == ["x", "y"]
    # The stand-in finds Arabic in what the cuts say is English.
    assert [kind["language"] for kind in content["load_by"]] == ["en"]
    assert all(request.language is None for request in model.requests)
    assert np.sum(content["speakers"]["frames"][0]) == np.sum(content["frames"][0])
    assert "turnout: error: c2: " in capsys.readouterr().err


def test_a_few_of_the_cuts_will_do(model, cuts, tmp_path):
    main(["inspect", str(cuts), "--limit", "1", "-o", "new"])
    assert len(model.requests) <= 1


def test_a_limit_without_cuts_is_refused(model, capsys):
    assert main(["inspect", "a.wav", "--limit", "2"]) == 2
    assert "--limit is for cuts (*.jsonl.gz), and none are given" in capsys.readouterr().err
    assert not model.requests


def test_the_page_shows_a_few_recordings_and_counts_all(model, tmp_path):
    names = [f"r{number}.wav" for number in range(6)]
    for name in names:
        (tmp_path / name).write_bytes(sound())
    assert main(["inspect", *names, "-o", "new"]) == 0
    shown = (tmp_path / "new" / "routing.html").read_text()
    assert shown.count('<svg class="timeline"') == 4
    assert "6 recordings" in shown and "The timelines show the first 4" in shown
    content = json.loads((tmp_path / "new" / "routing.json").read_text())
    assert content["frames"] == [[0, 60, 0]] * 2
