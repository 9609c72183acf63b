import io
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from rich.console import Console

from turnout.audio.waveform import open_recording, read_audio
from turnout.config import DecoderConfig, ModelConfig, TranscriptionOptions, VocabularyConfig
from turnout.corpora.clips import Clip
from turnout.errors import AudioError, GuidanceError, MissingExtra
from turnout.evaluation import evaluate as evaluation
from turnout.evaluation.references import Data, references_of
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

    folder = adapted = None

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
        monkeypatch.setattr(evaluation, "read_data", lambda *_: Data(clips=tuple(clips)))
        paths = [(number, Path(one.path)) for number, one in enumerate(clips)]
        monkeypatch.setattr(evaluation, "sources_of", lambda asked, _: paths[: len(asked)])
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
    assert report.unserved == json.loads(report.to_json())["unserved"] == 2


def test_no_answer_finds_neither_language_nor_bandwidth(score):
    answers = {"b": GuidanceError("nothing translates 'fr'")}
    report = score(
        [clip("a"), clip("b"), clip("c", bandwidth=Bandwidth.NARROWBAND)], StandIn(answers)
    )
    found = {(row.bandwidth, row.task): row for row in report.rows}
    half = found[Bandwidth.WIDEBAND, Task.TRANSCRIBE]
    assert (half.bandwidth_found, half.language_found, half.wer.value) == (0.5, 0.5, 50)


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
    printed = shown_on_screen(report := score([clip("a"), clip("b")]))
    assert "WER %" in printed[0]
    assert len(printed) == 1 + len(report.rows) + 6
    assert [line.strip() for line in printed[-6:-2]] == [
        f"WER: {report.signatures['wer']}",
        f"CER: {report.signatures['cer']}",
        f"BLEU: {report.signatures['bleu']}",
        f"chrF: {report.signatures['chrf']}",
    ]
    assert "whisper-normalizer" in printed[-6]
    assert "version:" in printed[-3]
    assert "1,000 resamples of the speakers" in printed[-2]


def shown_on_screen(report):
    console = Console(width=220, file=io.StringIO())
    with console.capture() as captured:
        console.print(report)
    return captured.get().splitlines()


def test_an_interval_of_few_speakers_says_so_beside_it(score):
    few = score([clip(name, speaker=name[0]) for name in ("a1", "a2", "b", "c", "d")])
    assert {(row.speakers, row.unstated, row.few_speakers) for row in few.rows} == {(4, 0, True)}
    head, first, *_, last = shown_on_screen(few)
    assert "speakers" in head
    assert "0.0 [0.0, 0.0]*" in first
    assert last.startswith("* of fewer than 5 speakers")
    assert json.loads(few.to_json())["rows"][0]["few_speakers"] is True

    many = score([clip(name) for name in "abcde"])
    assert json.loads(many.to_json())["rows"][0]["few_speakers"] is True, "one speaker, five clips"
    many = score([clip(name, speaker=name) for name in "abcde"])
    assert json.loads(many.to_json())["rows"][0]["few_speakers"] is False
    assert "*" not in "".join(shown_on_screen(many))


def test_recordings_stand_in_for_speakers_that_are_not_stated(score):
    names = ("a", "b", "c", "d", "e", "f")
    clips = [clip(name, speaker=None, path=f"{name[0]}.wav") for name in (*names, "a2")]
    (first, *_) = score(clips).rows
    assert (first.speakers, first.unstated, first.few_speakers) == (0, 6, False)
    clips[0] = clip("a", speaker="s")
    (first, *_) = (report := score(clips)).rows
    assert (first.speakers, first.unstated) == (1, 6)
    assert "1 + 6 recordings" in shown_on_screen(report)[1]


def test_rows_of_languages_that_are_cut_differently_name_what_cut_them(score):
    vocabulary = VocabularyConfig(languages=("ar", "zh"), translations=())
    clips = [clip("a", text="one two three four"), clip("b", "zh", text="今天天气很好")]
    answers = {"a": heard("one two three four"), "b": heard("今天天气很好", language="zh")}
    report = score(clips, StandIn(answers, ModelConfig(vocabulary=vocabulary)))
    assert "tok:13a" in report.signatures["bleu (ar)"]
    assert "tok:zh" in report.signatures["bleu (zh)"]
    assert "chrf" in report.signatures
    chinese = next(row for row in report.rows if row.language == "zh")
    assert (chinese.wer.value, chinese.cer.value) == (None, 0)
    assert (chinese.error_rate, chinese.bleu.value) == (chinese.cer, pytest.approx(100))
    line = next(line for line in shown_on_screen(report) if " zh " in line)
    wer, cer = re.search(r"0\.00 +1 +(\S+) +(.+?\])", line).groups()
    assert (wer, cer) == ("-", "0.0 [0.0, 0.0]")


def test_nothing_that_was_asked_for_gives_no_row():
    assert score_rows([]) == ()


def test_an_extra_that_is_missing_is_no_mistake_of_the_model(score):
    with pytest.raises(MissingExtra):
        score([clip("a")], StandIn({"a": MissingExtra("a.m4a", "av")}))


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


def test_names_that_are_no_unicode_are_escaped_in_the_report(score, monkeypatch):
    monkeypatch.setattr(StandIn, "folder", SimpleNamespace(path=Path("m\udcff")))
    report = score([clip()])
    content = json.loads(replace(report, data=("d",)).to_json().encode())
    assert content["model"] == "m\\udcff"
    monkeypatch.setattr(evaluation, "read_data", lambda *_: Data(clips=(clip(),)))
    asked = TranscriptionOptions(task="both")
    report = evaluation.evaluate(StandIn(), [Path("x\udcff")], asked)
    assert json.loads(report.to_json().encode())["data"] == ["x\\udcff"]


def test_what_is_amiss_with_the_data_is_reported(score, monkeypatch):
    score([clip()])
    data = Data(clips=(clip(),), skipped=("t.csv:3: bad",), notes=("a remark",))
    monkeypatch.setattr(evaluation, "read_data", lambda *_: data)
    report = evaluation.evaluate(StandIn(), [Path("x")], TranscriptionOptions(task="both"))
    assert (report.failed, report.warnings) == (("t.csv:3: bad",), ("a remark",))
    assert report.rows[0].utterances == 1
