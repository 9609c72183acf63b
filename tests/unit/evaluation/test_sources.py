"""What the transcriber hears of each clip, and how often a recording is decoded for it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from turnout.audio import waveform
from turnout.audio.decoders import open_decoder
from turnout.audio.waveform import Waveform, read_audio
from turnout.config import ModelConfig, TranscriptionOptions, VocabularyConfig
from turnout.corpora.clips import Clip, ClipReader
from turnout.errors import AudioError, GuidanceError
from turnout.evaluation import evaluate as evaluation
from turnout.evaluation import sources as module
from turnout.evaluation.references import Data
from turnout.evaluation.sources import sources_of
from turnout.guidance import Bandwidth, Task
from turnout.text.transcript import Transcript

OPTIONS = TranscriptionOptions(task="both")


def clip(path, start=0.0, duration=1.0, **changes):
    values = {
        "id": f"{Path(path).stem}-{start}", "path": str(path), "start": start,
        "duration": duration, "channel": None, "text": "x", "language": "ar", "speaker": "s",
        "bandwidth": Bandwidth.WIDEBAND, "translations": {"en": "y"}, "split": None,
    }  # fmt: skip
    return Clip(**{**values, **changes})


@pytest.fixture
def noise(tmp_path):
    """Half a minute, in two channels."""
    samples = np.random.default_rng(1).normal(0, 0.1, (31 * 16_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", samples, 16_000, subtype="FLOAT")
    return tmp_path / "noise.wav"


@pytest.fixture
def decoded(monkeypatch):
    """How often each file is."""
    counts = Counter()

    def counted(file, name, *options):
        counts[Path(name).name] += 1
        return open_decoder(file, name, *options)

    monkeypatch.setattr(waveform, "open_decoder", counted)
    return counts


def test_segments_in_any_order_that_overlap_are_cut_out_of_one_reading(noise, decoded):
    whole = read_audio(noise).samples
    decoded.clear()
    places = [(20.0, 5.0), (0.0, 1.0), (0.5, 30.0), (12.3, 0.25), (0.5, 0.25), (0.0, 1.0)]
    clips = [clip(noise, start, duration) for start, duration in places]
    found = dict(sources_of(clips, OPTIONS))
    assert decoded == {"noise.wav": 1}
    for number, one in enumerate(clips):
        assert (found[number].samples == whole[one.place]).all()
        assert found[number].samples.base is None, "more than the clip stays in memory"


def test_what_lies_behind_the_last_segment_is_not_read(noise, monkeypatch):
    blocks = []
    read = waveform.Recording.blocks

    def counted(self):
        for block in read(self):
            blocks.append(len(block))
            yield block

    monkeypatch.setattr(waveform.Recording, "blocks", counted)
    assert len(dict(sources_of([clip(noise, 1.0)], OPTIONS))) == 1
    assert sum(blocks) < 16 * 16_000


def test_segments_of_a_recording_that_is_too_long_are_named_and_no_more_heard(noise):
    """Not the whole recording in place of each."""
    options = TranscriptionOptions(task="both", max_duration=20.0)
    clips = [clip(noise, 25.0), clip(noise, 1.0), clip(noise, 18.0, 4.0)]
    found = dict(sources_of(clips, options))
    assert len(found[1].samples) == 16_000
    for number in (0, 2):
        assert isinstance(found[number], AudioError)
        assert "longer than the allowed 20 s" in str(found[number])


@pytest.mark.parametrize("whole", [True, False])
def test_the_channel_that_is_asked_for_is_heard_where_the_cut_names_none(noise, whole):
    samples, _ = soundfile.read(noise, dtype="float32")
    options = TranscriptionOptions(task="both", channel=1)
    duration = 31.0 if whole else 1.0
    clips = [clip(noise, 0.0, duration, whole=whole), clip(noise, 0.0, duration, channel=0)]
    right, left = (source for _, source in sorted(sources_of(clips, options)))
    # The first sample is a constant, and zero.
    assert (right.samples[1:] == samples[1 : len(right.samples), 1]).all()
    assert (left.samples[1:] == samples[1 : len(left.samples), 0]).all()
    ((_, refused),) = sources_of(clips[:1], TranscriptionOptions(channel=2))
    assert "there is no channel 2" in str(refused)


def test_a_clip_is_refused_where_training_and_validation_refuse_it(noise, tmp_path):
    clips = [
        clip(noise, 30.0, 1.5), clip(noise, 40.0, 1.0), clip(noise, 30.5, 0.55),
        clip(noise, 0.0, 1.0, native_rate=8_000), clip(noise, 0.0, 31.0, whole=True),
        clip(noise, 0.0, 60.0, whole=True), clip(tmp_path / "gone.wav"),
    ]  # fmt: skip
    found = dict(sources_of(clips, OPTIONS))
    for number, one in enumerate(clips):
        try:
            expected = ClipReader().read(one)
        except AudioError as error:
            assert str(found[number]) == str(error)
        else:
            assert (found[number].samples == expected).all()
    assert [isinstance(found[number], AudioError) for number in range(7)] == [
        True, True, False, True, False, True, True,
    ]  # fmt: skip


def test_a_recording_that_breaks_off_keeps_the_segments_before(tmp_path):
    path = tmp_path / "broken.wav"
    samples = np.full(40 * 16_000, 0.1, np.float32)
    samples[30 * 16_000 :] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    found = dict(sources_of([clip(path, 35.0), clip(path, 1.0)], OPTIONS))
    assert isinstance(found[1], Waveform)
    assert "holds NaN" in str(found[0])


def test_a_long_file_is_left_to_the_transcriber_and_checked_all_the_same(noise, monkeypatch):
    monkeypatch.setattr(module, "HELD_SECONDS", 20.0)
    clips = [
        clip(noise, 0.0, 31.0, whole=True), clip(noise, 0.0, 21.0),
        clip(noise, 0.0, 31.0, whole=True, native_rate=8_000),
    ]  # fmt: skip
    found = dict(sources_of(clips, OPTIONS))
    assert found[0] == noise
    assert isinstance(found[1], Waveform)
    assert "sampling rate is 16000 Hz" in str(found[2])


class Reading:
    """A Transcriber that writes how long it heard, and remembers what it was asked."""

    folder = adapted = None

    def __init__(self, translations=(("ar", "en"),)):
        vocabulary = VocabularyConfig(languages=("ar",), translations=translations)
        self.backend = SimpleNamespace(config=ModelConfig(vocabulary=vocabulary))
        self.asked = []

    def transcribe_files(self, sources, options):
        sources = list(sources)
        self.asked.append((options, sources))
        for source in sources:
            heard = read_audio(source, channel=options.channel).duration
            values = {"language": "ar", "duration_seconds": heard, "bandwidth": Bandwidth.WIDEBAND}
            translation = Transcript(text=f"{heard:.2f}", task=Task.TRANSLATE, **values)
            if options.task == "translate":
                yield translation
            else:
                yield Transcript(
                    text=f"{heard:.2f}", task=Task.TRANSCRIBE, translation=translation, **values
                )


@pytest.fixture
def evaluated(monkeypatch):
    def _evaluated(clips, transcriber=None, **options):
        monkeypatch.setattr(evaluation, "read_data", lambda *_: Data(clips=tuple(clips)))
        asked = TranscriptionOptions(**{"task": "both", **options})
        return evaluation.evaluate(transcriber or Reading(), [Path("x")], asked)

    return _evaluated


def test_every_recording_is_decoded_once_whatever_is_asked_of_it(evaluated, noise, decoded):
    places = [(2.0, 3.0), (0.0, 1.0), (0.5, 2.0)]
    clips = [
        clip(noise, start, seconds, text=f"{seconds:.2f}",
             translations={"en": f"{seconds:.2f}", "de": f"{seconds:.2f}"})
        for start, seconds in places
    ]  # fmt: skip
    clips.append(clip(noise, 0.0, 31.0, text="31.00", translations={}, whole=True))
    report = evaluated(clips, Reading((("ar", "en"), ("ar", "de"))))
    assert decoded == {"noise.wav": 1}
    assert [text.id for text in report.texts[:2]] == ["noise-2.0"] * 2, "the order of the data"
    assert all(row.wer.value == 0 for row in report.rows)
    assert len(report.texts) == 10


def test_the_sides_of_a_call_are_decoded_once_each(evaluated, noise, decoded):
    clips = [clip(noise, start, channel=side) for start in (0.0, 1.0) for side in (0, 1)]
    evaluated(clips)
    assert decoded == {"noise.wav": 2}


def test_no_more_is_held_at_once_than_it_takes_to_fill_batches(evaluated, noise, monkeypatch):
    monkeypatch.setattr(evaluation, "HELD_SECONDS", 4.0)
    transcriber = Reading()
    evaluated([clip(noise, float(start), 2.0) for start in range(10)], transcriber)
    assert [len(sources) for _, sources in transcriber.asked] == [2] * 5


def test_a_long_file_that_ends_before_its_clip_is_not_scored(evaluated, noise, monkeypatch):
    monkeypatch.setattr(module, "HELD_SECONDS", 20.0)
    transcriber = Reading()
    clips = [clip(noise, 0.0, 31.0, whole=True), clip(noise, 0.0, 31.5, whole=True, id="short")]
    report = evaluated(clips, transcriber, channel=1)
    assert report.failed == ("short: it is cut short: its last 0.50 s are missing",)
    assert [options.channel for options, _ in transcriber.asked] == [1]
    assert {text.id for text in report.texts} == {"noise-0.0"}


def test_what_cannot_be_read_is_named_once_and_the_others_go_on(evaluated, noise, tmp_path):
    clips = [clip(tmp_path / "gone.wav"), clip(noise)]
    report = evaluated(clips, Reading((("ar", "en"), ("ar", "de"))))
    assert report.failed == ("gone-0.0: there is no such file: check the path",)
    assert {text.id for text in report.texts} == {"noise-0.0"}


def test_what_was_amiss_with_a_recording_is_said_once(evaluated, noise, monkeypatch):
    told = property(lambda _: ("one of two tracks was heard",))
    monkeypatch.setattr(waveform.Recording, "warnings", told)

    class Telling(Reading):
        def transcribe_files(self, sources, options):
            sources = list(sources)
            for source, answer in zip(
                sources, super().transcribe_files(sources, options), strict=True
            ):
                yield replace(answer, warnings=source.warnings)

    report = evaluated([clip(noise), clip(noise, 2.0)], Telling())
    assert report.warnings == (f"{noise}: one of two tracks was heard",)


def test_the_track_that_is_asked_for_is_asked_of_the_file_alone(evaluated, noise):
    transcriber = Reading()
    assert len(evaluated([clip(noise)], transcriber, track=0).texts) == 2
    assert [options.track for options, _ in transcriber.asked] == [None]
    (failed,) = evaluated([clip(noise)], track=1).failed
    assert "there is no audio track 1" in failed


def test_languages_are_spelled_as_the_model_spells_them(evaluated, noise):
    transcriber = Reading((("ar", "en"), ("ar", "de")))
    clips = [clip(noise, translations={"en": "1.00", "de": "1.00"})]
    report = evaluated(clips, transcriber, language="AR", target_language="EN")
    assert {row.target_language for row in report.rows} == {"ar", "en"}
    assert [options.target_language for options, _ in transcriber.asked] == ["en"]
    with pytest.raises(GuidanceError, match="does not translate .*to 'fr': choose one of en, de"):
        evaluated(clips, transcriber, target_language="fr")
