import json

import numpy as np
import pytest

from turnout.cli import main
from turnout.config import EncoderConfig, RoutingConfig
from turnout.decoding.backend import Encoded
from turnout.errors import AudioError
from turnout.guidance import Bandwidth, Task
from turnout.text.transcript import Segment, Transcript, Word
from turnout.transcription.segments import AudioSegment

from tests.doubles import model_config  # isort: skip


class StandIn:
    """A Transcriber whose encoder sends every frame to expert 1 of 3."""

    folder = None

    def __init__(self):
        encoder = EncoderConfig(num_layers=1, routing=RoutingConfig(kind="omni", num_experts=3))
        self.config = model_config(encoder=encoder)
        self.backend = self
        self.guidance = []

    def transcribe_files(self, sources, options):
        assert (options.task, options.word_timestamps) == ("transcribe", True)
        words = (Word(start=0.1, end=0.3, word="يمين"),)
        for source in sources:
            if source.stem == "bad":
                yield AudioError(str(source), "no samples at all")
                continue
            yield Transcript(
                text="يمين", language="ar", task=Task.TRANSCRIBE, duration_seconds=0.4,
                bandwidth=Bandwidth.NARROWBAND,
                segments=(Segment(id=0, start=0.0, end=0.4, text="يمين", words=words),),
            )  # fmt: skip

    def listen(self, _source, _options, bandwidth):
        assert bandwidth == "narrowband"
        yield AudioSegment(0.0, 0.4, np.ones((40, 80), np.float32), 40)
        yield AudioSegment(0.4, 0.5, None, 10)

    def encode(self, log_mel, _frame_mask, guidance):
        self.guidance += guidance
        hidden = -(-log_mel.shape[1] // 4)
        return Encoded(
            np.ones((1, hidden), np.bool_), None, np.ones((2, 1, hidden), np.int64), None
        )


@pytest.fixture
def model(monkeypatch):
    stand_in = StandIn()
    monkeypatch.setattr("turnout.transcription.transcriber.load", lambda *_, **__: stand_in)
    return stand_in


def test_each_recording_has_a_picture_and_numbers(model, tmp_path, capsys):
    assert main(["inspect", "a.wav", "bad.wav", "-o", str(tmp_path / "new")]) == 1
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["a.routing.json", "a.routing.png", "routing.json"]
    content = json.loads((tmp_path / "new" / "a.routing.json").read_text())
    assert content["expert_index"] == [[1] * 10] * 2
    assert content["words"][0]["word"] == "يمين"
    captured = capsys.readouterr()
    assert "100.0 %" in captured.out
    assert "expert '0' took no frame in any layer" in captured.out
    assert "turnout: error: bad.wav: no samples at all" in captured.err


def test_the_encoder_is_told_what_was_found(model, tmp_path):
    main(["inspect", "a.wav", "-o", str(tmp_path)])
    (known,) = model.guidance
    assert (known.bandwidth, known.language) == (Bandwidth.NARROWBAND, "ar")


def test_two_recordings_of_one_name_are_refused(model, tmp_path, capsys):
    assert main(["inspect", "x/a.wav", "y/a.wav", "-o", str(tmp_path)]) == 2
    assert "a.routing.png: rename one" in capsys.readouterr().err


def test_nothing_taken_leaves_nothing(model, tmp_path):
    assert main(["inspect", "bad.wav", "-o", str(tmp_path)]) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_written_does_not_stop_the_others(model, tmp_path, capsys):
    (tmp_path / "a.routing.json").mkdir()
    assert main(["inspect", "a.wav", "b.wav", "-o", str(tmp_path)]) == 1
    assert (tmp_path / "b.routing.png").is_file()
    assert "a.routing.json: cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["routing.json", "a.routing.png"])
def test_a_recording_is_never_written_over(model, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("sound")
    assert main(["inspect", "a.wav", name]) == 2
    assert f"{name} is one of the recordings" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "sound"


def test_what_nothing_comes_of_is_no_option(model, capsys):
    assert main(["inspect", "a.wav", "--target-language", "en"]) == 2
    assert "unexpected" in (message := capsys.readouterr().err) or "Unknown option" in message
