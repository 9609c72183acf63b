import io
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from rich.console import Console

from turnout.audio import waveform
from turnout.audio.decoders import open_decoder
from turnout.audio.waveform import Waveform, open_recording, read_audio
from turnout.config import DecoderConfig, ModelConfig, TranscriptionOptions, VocabularyConfig
from turnout.corpora.clips import Clip, ClipReader
from turnout.errors import AudioError, GuidanceError, MissingExtra
from turnout.evaluation import evaluate as evaluation
from turnout.evaluation.evaluate import source_of
from turnout.evaluation.references import references_of
from turnout.evaluation.score_rows import score_rows
from turnout.guidance import Bandwidth, Task
from turnout.text.transcript import Transcript

MODEL = ModelConfig()
BOTH = (Task.TRANSCRIBE, Task.TRANSLATE)


def clip(name="a", language="ar", bandwidth=Bandwidth.WIDEBAND, **changes):
    values = {
        "id": name, "path": f"{name}.wav", "start": 0.0, "duration": 1.0, "channel": None,
        "text": f"text {name}", "language": language, "speaker": "s", "bandwidth": bandwidth,
        "translations": {"en" if language == "ar" else "de": f"other {name}"}, "split": None,
    }  # fmt: skip
    return Clip(**{**values, **changes})


def heard(text, task=Task.TRANSCRIBE, language="ar", translation=None):
    return Transcript(
        text=text, language=language, task=task, duration_seconds=1.0,
        bandwidth=Bandwidth.WIDEBAND, translation=translation,
    )  # fmt: skip


class StandIn:
    """A Transcriber that answers by the name of the file."""

    folder = None

    def __init__(self, answers=None, config=MODEL):
        self.backend = SimpleNamespace(config=config)
        self.answers = answers or {}
        self.asked = []

    def transcribe_files(self, sources, options):
        self.asked.append(options)
        for source in sources:
            name = Path(source).stem
            text = heard(f"text {name}", translation=heard(f"other {name}", Task.TRANSLATE, "en"))
            if options.task == "translate":
                text = heard(f"other {name}", Task.TRANSLATE, "en")
            yield self.answers.get(name, text)


@pytest.fixture
def score(monkeypatch):
    def _score(clips, transcriber=None, **options):
        monkeypatch.setattr(evaluation, "clips_of", lambda *_: clips)
        monkeypatch.setattr(evaluation, "source_of", lambda one, _: Path(one.path))
        asked = TranscriptionOptions(**{"task": "both", **options})
        return evaluation.evaluate(transcriber or StandIn(), [Path("x")], asked)

    return _score


def test_a_perfect_model_scores_perfectly_in_every_row(score):
    report = score([clip("a"), clip("b", "en"), clip("c", bandwidth=Bandwidth.NARROWBAND)])
    rows = [(str(row.bandwidth), str(row.task), row.language, row.target_language)
            for row in report.rows]  # fmt: skip
    assert rows == [
        ("narrowband", "transcribe", "ar", "ar"),
        ("wideband", "transcribe", "ar", "ar"),
        ("wideband", "transcribe", "en", "en"),
        ("narrowband", "translate", "ar", "en"),
        ("wideband", "translate", "ar", "en"),
        ("wideband", "translate", "en", "de"),
    ]
    assert all(row.wer.value == 0 and row.utterances == 1 for row in report.rows)


def test_what_was_found_is_compared_with_what_the_data_say(score):
    report = score([clip("a"), clip("b", "en"), clip("c", bandwidth=Bandwidth.NARROWBAND)])
    found = {(row.bandwidth, row.task, row.language): row for row in report.rows}
    right = found[Bandwidth.WIDEBAND, Task.TRANSCRIBE, "ar"]
    assert (right.language_found, right.bandwidth_found) == (1, 1)
    assert found[Bandwidth.WIDEBAND, Task.TRANSCRIBE, "en"].language_found == 0
    assert found[Bandwidth.NARROWBAND, Task.TRANSCRIBE, "ar"].bandwidth_found == 0


def test_both_texts_come_from_one_pass(score):
    transcriber = StandIn()
    score([clip("a"), clip("b")], transcriber, language="auto", beam_size=3)
    assert transcriber.asked == [TranscriptionOptions(beam_size=3, task="both")]


@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_one_task_asks_for_one(score, task):
    transcriber = StandIn()
    report = score([clip("a")], transcriber, task=task)
    assert [options.task for options in transcriber.asked] == [task]
    assert {str(row.task) for row in report.rows} == {task}
    assert all(row.wer.value == 0 for row in report.rows)


def test_a_model_without_decoder_is_asked_for_transcripts_alone(score):
    config = ModelConfig(decoder=DecoderConfig(num_layers=0))
    report = score([clip("a")], StandIn(config=config))
    assert {row.task for row in report.rows} == {Task.TRANSCRIBE}


def test_a_recording_that_cannot_be_taken_is_named_and_not_scored(score):
    answers = {"b": AudioError("b.wav", "no samples at all")}
    report = score([clip("a"), clip("b")], StandIn(answers))
    assert report.failed == ("b: no samples at all",)
    assert {row.utterances for row in report.rows} == {1}


def test_a_language_found_wrong_counts_as_an_error_not_as_left_out(score):
    report = score([clip("a")], StandIn({"a": GuidanceError("nothing translates 'fr'")}))
    assert [row.wer.value for row in report.rows] == [100, 100]
    assert report.failed == ()


def test_data_in_languages_that_the_model_lacks_are_refused(score):
    with pytest.raises(GuidanceError, match="the data speak fr; this model transcribes ar, en"):
        score([clip("a", "fr")])


def test_utterances_in_other_languages_are_counted_and_left_out(score):
    report = score([clip("a"), clip("b", "fr")])
    assert report.left_out == 1
    assert {text.id for text in report.texts} == {"a"}


def test_several_targets_are_named_and_take_a_pass_each(score):
    vocabulary = VocabularyConfig(languages=("ar",), translations=(("ar", "en"), ("ar", "de")))
    transcriber = StandIn(config=ModelConfig(vocabulary=vocabulary))
    score([clip("a", translations={"en": "x", "de": "y"})], transcriber)
    asked = [(options.task, options.target_language) for options in transcriber.asked]
    assert asked == [("both", "en"), ("translate", "de")]
    model = ModelConfig(vocabulary=vocabulary)
    asked = references_of(clip("a", translations={"en": "x", "de": "y"}), BOTH, model, "de")
    assert [text.language for text in asked] == ["ar", "de"]


def test_the_report_is_json_and_names_what_made_its_figures(score):
    content = json.loads(score([clip("a"), clip("b")]).to_json())
    assert content["rows"][0]["wer"]["value"] == 0
    assert "whisper-normalizer" in content["signatures"]["wer"]
    assert "tok:13a" in content["signatures"]["bleu"]
    assert content["utterances"][0]["hypothesis"] == "text a"


def test_what_made_the_figures_stands_under_the_table(score):
    console = Console(width=220, file=io.StringIO())
    report = score([clip("a"), clip("b")])
    with console.capture() as captured:
        console.print(report)
    printed = captured.get().splitlines()
    assert "WER %" in printed[0]
    assert len(printed) == 1 + len(report.rows) + 4
    assert [line.strip() for line in printed[-4:]] == [
        f"WER: {report.signatures['wer']}",
        f"CER: {report.signatures['cer']}",
        f"BLEU: {report.signatures['bleu']}",
        f"chrF: {report.signatures['chrf']}",
    ]
    assert "whisper-normalizer" in printed[-4]
    assert "version:" in printed[-1]


def test_nothing_that_was_asked_for_gives_no_row():
    assert score_rows([]) == ()


def test_an_extra_that_is_missing_is_no_mistake_of_the_model(score):
    with pytest.raises(MissingExtra):
        score([clip("a")], StandIn({"a": MissingExtra("a.m4a", "av")}))


def test_a_segment_keeps_its_native_rate_and_its_place(tmp_path):
    path = tmp_path / "a.wav"
    time = np.arange(16_000) / 8_000
    tone = np.where(time < 1, 0.0, 0.5 * np.sin(2 * np.pi * 500 * time))
    soundfile.write(path, tone.astype(np.float32), 8_000, subtype="FLOAT")
    part = source_of(clip(path=str(path), start=1.0, duration=0.5), ClipReader())
    assert isinstance(part, Waveform)
    assert (part.native_rate, len(part.samples)) == (8_000, 8_000)
    assert np.abs(part.samples[200:-200]).max() == pytest.approx(0.5, abs=0.02)
    assert (part.samples == read_audio(path).samples[16_000:24_000]).all()
    assert part.samples.base is None, "the whole recording stays in memory"


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_samples_that_were_read_are_what_a_transcriber_would_read(tmp_path, rate):
    path = tmp_path / "a.wav"
    noise = np.random.default_rng(1).normal(0, 0.1, 31 * rate)
    noise[:rate] = 0.25  # which becomes zero
    soundfile.write(path, noise, rate, subtype="PCM_16")
    opened = open_recording(path), open_recording(read_audio(path))
    assert opened[0].native_rate == opened[1].native_rate == rate
    direct, again = (np.concatenate(list(recording.blocks())) for recording in opened)
    assert (direct == again).all()


def test_a_whole_file_is_given_as_it_is(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((8_000, 2)), 8_000)
    assert source_of(clip(path=str(path), whole=True), ClipReader()) == path
    assert source_of(clip(path="missing.wav"), ClipReader()) == Path("missing.wav")
    side = source_of(clip(path=str(path), whole=True, channel=1), ClipReader())
    assert isinstance(side, Waveform)


class Reading(StandIn):
    """It decodes what it is given."""

    def transcribe_files(self, sources, _):
        for source in sources:
            yield heard(f"{read_audio(source).duration:.2f}", translation=heard("x"))


def test_every_recording_is_decoded_once(tmp_path, monkeypatch):
    decoded = Counter()

    def counted(file, name):
        decoded[Path(name).name] += 1
        return open_decoder(file, name)

    monkeypatch.setattr(waveform, "open_decoder", counted)
    for name in ("call.wav", "talk.wav", "word.wav"):
        soundfile.write(tmp_path / name, np.full((64_000, 2), 0.1), 16_000)
    places = [("word", None, 0.0, 4.0, True)]
    places += [("talk", None, start, 0.5, False) for start in (0.0, 1.0, 2.5)]
    places += [("call", side, start, 0.25, False) for start in (0.0, 1.0) for side in (0, 1)]
    clips = [
        clip(name, path=str(tmp_path / f"{name}.wav"), channel=channel, start=start,
             duration=duration, text=f"{duration:.2f}", whole=whole)
        for name, channel, start, duration, whole in places
    ]  # fmt: skip
    monkeypatch.setattr(evaluation, "clips_of", lambda *_: clips)
    report = evaluation.evaluate(Reading(), [Path("x")], TranscriptionOptions(task="both"))
    assert report.rows[0].wer.value == 0
    assert decoded == {"word.wav": 1, "talk.wav": 1, "call.wav": 2}, "once for each side of a call"
