"""Recordings through batches, with a decoder that notes what it was asked."""

import io
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from tests.doubles import (
    Script,
    ScriptedBackend,
    hears_every_sound,
    model_config,
    tokenizer,
    tone,
)
from turnout.config import DecoderConfig, FeatureConfig, ModelConfig, TranscriptionOptions
from turnout.decoding.requests import Decoded, Hypothesis, Request, Utterance, cancelled
from turnout.errors import AudioError, AudioTooLong, Cancelled, GuidanceError, TurnoutError
from turnout.guidance import Bandwidth, Task
from turnout.text.transcript import Transcript, Word
from turnout.transcription import segments
from turnout.transcription.recordings import OpenRecording, OpenRecordings
from turnout.transcription.segments import AudioSegments
from turnout.transcription.transcriber import Transcriber

CONFIG = model_config(window_seconds=2.0)


@pytest.fixture(autouse=True)
def tones_are_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decoded here are tones."""
    monkeypatch.setattr(segments, "finder", hears_every_sound)


@dataclass
class Decoder:
    """Writes a word for the segment it is given; notes the requests of every batch."""

    batches: list[list[Request]] = field(default_factory=list)
    texts: Iterator[str] = field(default_factory=lambda: iter(()))
    error: GuidanceError | None = None

    def __call__(self, utterances: Sequence[Utterance]) -> list[Decoded]:
        self.batches.append([utterance.request for utterance in utterances])
        return [
            cancelled("ar")
            if each.is_cancelled and each.is_cancelled()
            else self.answer(each.request)
            for each in utterances
        ]

    def answer(self, request: Request) -> Decoded:
        language = request.language or "ar"
        if self.error is not None:
            return Decoded(language=language, hypotheses=(), error=self.error)
        text = next(self.texts, "word")
        return Decoded(
            language=language,
            hypotheses=tuple(
                Hypothesis(
                    task=task,
                    language=language if task is Task.TRANSCRIBE else "en",
                    tokens=(400, 401),
                    text=text if task is Task.TRANSCRIBE else text.upper(),
                    log_prob=-3.0,
                    words=(Word(start=0.5, end=0.75, word=text),) if text else (),
                    start=0.25,
                    end=1.0,
                )
                for task in request.tasks
            ),
        )


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def transcriber(decoder: Decoder, config: ModelConfig = CONFIG) -> Transcriber:
    """One that decodes so."""
    found = Transcriber(ScriptedBackend([], config), tokenizer())
    found.decode = decoder  # type: ignore[method-assign]
    return found


def run(
    sources: Sequence[object], decoder: Decoder, config: ModelConfig = CONFIG, **options: object
) -> list[Transcript | TurnoutError]:
    return list(transcriber(decoder, config).transcribe_files(sources, **options))  # type: ignore[arg-type]


def one(source: bytes, decoder: Decoder, **options: object) -> Transcript:
    (result,) = run([source], decoder, **options)
    assert isinstance(result, Transcript), result
    return result


def test_a_short_recording_is_one_segment() -> None:
    result = one(wav(tone(1.5)), Decoder(), task="both")
    assert (result.text, result.language, result.task) == ("word", "ar", Task.TRANSCRIBE)
    assert result.duration_seconds == 1.5
    (segment,) = result.segments
    assert (segment.id, segment.start, segment.end) == (0, 0.25, 1.0)
    assert segment.avg_logprob == -1.0
    assert result.translation is not None
    assert (result.translation.text, result.translation.language) == ("WORD", "en")
    assert result.translation.task is Task.TRANSLATE


def test_a_long_recording_is_stitched_with_times_from_its_start() -> None:
    samples = tone(5.0)
    samples[int(1.4 * 16_000) : int(1.9 * 16_000)] = 0
    result = one(wav(samples), Decoder(texts=iter("abc")))
    assert result.text == "a b c"
    assert [segment.id for segment in result.segments] == [0, 1, 2]
    second = result.segments[1]
    assert 1.4 + 0.25 < second.start < 1.9 + 0.25
    assert second.words[0].start == pytest.approx(second.start + 0.25)
    assert result.duration_seconds == 5.0


@pytest.mark.parametrize("level", [0.0, 0.25, -1.0])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("seconds", [0.01, 1.0, 7.0])
def test_silence_and_offsets_have_no_text_and_ask_no_model(
    level: float, rate: int, seconds: float
) -> None:
    decoder = Decoder()
    result = one(wav(np.full(round(rate * seconds), level), rate), decoder, task="both")
    assert decoder.batches == []
    assert (result.text, result.segments, result.language) == ("", (), None)
    assert result.translation is not None
    assert result.translation.text == ""
    assert result.duration_seconds == pytest.approx(seconds, abs=0.001)


def test_silent_segments_are_left_out_and_take_their_time() -> None:
    samples = np.concatenate((tone(1.0), np.zeros(16_000 * 20), tone(1.0))).astype(np.float32)
    decoder = Decoder()
    result = one(wav(samples), decoder)
    assert len(result.segments) == 2
    assert result.segments[1].start > 19
    assert sum(map(len, decoder.batches)) == 2


def test_the_language_is_that_of_the_first_segment_with_words() -> None:
    decoder = Decoder(texts=iter(["", " ", "a", "b", "c"]))
    result = one(wav(tone(9.0)), decoder)
    asked = [[request.language for request in batch] for batch in decoder.batches]
    assert asked[:3] == [[None], [None], [None]]
    assert asked[3] == ["ar"] * (sum(map(len, asked)) - 3)
    assert result.text.startswith("a b c")


def test_a_given_language_fills_batches_at_once() -> None:
    decoder = Decoder()
    one(wav(tone(9.0)), decoder, language="en", batch_size=4)
    assert [len(batch) for batch in decoder.batches][:1] == [4]
    assert {request.language for batch in decoder.batches for request in batch} == {"en"}


def test_ctc_alone_reports_no_language_and_waits_for_none() -> None:
    config = replace(CONFIG, decoder=DecoderConfig(num_layers=0))
    decoder = Decoder()
    run([wav(tone(9.0))], decoder, config, batch_size=4)
    assert len(decoder.batches[0]) == 4


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize(
    "sound", [tone(3.0), np.zeros(16_000, np.float32)], ids=["tone", "silence"]
)
def test_a_model_of_one_language_says_it_whatever_it_hears(layers: int, sound: np.ndarray) -> None:
    vocabulary = replace(CONFIG.vocabulary, languages=("zh",), translations=())
    config = replace(CONFIG, vocabulary=vocabulary, decoder=DecoderConfig(num_layers=layers))
    decoder = Decoder()
    (result,) = run([wav(sound)], decoder, config)
    assert isinstance(result, Transcript) and result.language == "zh"
    assert {segment.language for segment in result.segments} <= {"zh"}


def test_the_bandwidth_is_measured_once_and_forced() -> None:
    # noise up to 8 kHz at first, then a tone: were it measured again, it would change
    samples = np.concatenate((np.random.default_rng(0).normal(size=48_000) * 0.1, tone(9.0)))
    decoder = Decoder()
    result = one(wav(samples), decoder)
    assert result.bandwidth is Bandwidth.WIDEBAND
    assert {request.bandwidth for batch in decoder.batches for request in batch} == {
        Bandwidth.WIDEBAND
    }
    assert one(wav(samples), Decoder(), bandwidth="narrowband").bandwidth is Bandwidth.NARROWBAND
    assert one(wav(tone(1.0, rate=8_000), 8_000), Decoder()).bandwidth is Bandwidth.NARROWBAND


def test_measuring_stops_after_its_share() -> None:
    read: list[float] = []

    def blocks() -> Iterator[np.ndarray]:
        for seconds in range(0, 400, 5):
            read.append(seconds)
            silent = seconds < 100  # three blocks of the measurement
            yield np.zeros(80_000, np.float32) if silent else tone(5.0)

    recording = SimpleNamespace(native_rate=16_000, blocks=blocks)
    next(iter(AudioSegments(recording, CONFIG)))  # type: ignore[arg-type]
    assert 98 + 4 * 32.768 <= read[-1] + 5 <= 98 + 4 * 32.768 + 10


def test_recordings_share_batches_and_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(wav(tone(1.0)))
    decoder = Decoder()
    long, short = wav(tone(7.0)), wav(tone(1.0))
    results = run([long, str(path), path, io.BytesIO(short)], decoder, batch_size=3)
    lengths = [r.duration_seconds for r in results if isinstance(r, Transcript)]
    assert lengths == [7.0, 1.0, 1.0, 1.0]
    assert len(decoder.batches[0]) == 3
    assert all(len(batch) <= 3 for batch in decoder.batches)


def test_bad_recordings_do_not_stop_the_others(tmp_path: Path) -> None:
    broken = tone(5.0)
    broken[-1] = np.nan
    sources = [b"no audio", wav(tone(1.0)), wav(broken), tmp_path, "missing.wav", wav(tone(1.0))]
    results = run([*sources, wav(tone(9.0))], Decoder(), max_duration=8.0)
    kinds = [type(result) for result in results]
    assert kinds == [
        AudioError, Transcript, AudioError, AudioError, AudioError, Transcript, AudioTooLong,
    ]  # fmt: skip


def test_a_language_that_cannot_be_translated_fails_alone() -> None:
    error = GuidanceError("this model does not translate from 'ar', only en to de")
    (result,) = run([wav(tone(9.0))], Decoder(error=error), task="translate")
    assert result is error


def test_results_come_as_soon_as_they_are_known() -> None:
    opened: list[int] = []

    def sources() -> Iterator[bytes]:
        for number in range(50):
            opened.append(number)
            yield wav(tone(0.5))

    results = transcriber(Decoder()).transcribe_files(sources(), batch_size=2)
    next(results)
    assert len(opened) <= 4


def test_stopping_early_releases_the_recordings() -> None:
    sources = [wav(tone(0.5)), wav(tone(9.0))]
    recordings = OpenRecordings(sources, TranscriptionOptions(batch_size=2), CONFIG)
    results = transcriber(Decoder())._results(recordings, lambda _: None)
    next(results)
    audio = [recording.segments.audio for recording in recordings.waiting]
    results.close()  # type: ignore[attr-defined]
    assert audio
    assert all(one is not None and one.recording._file.closed for one in audio)


def test_hours_do_not_gather_in_memory() -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    @dataclass
    class Watching(Decoder):
        def __call__(self, utterances: Sequence[Utterance]) -> list[Decoded]:
            most.append(sum(reference() is not None for reference in alive))
            alive.extend(weakref.ref(utterance.log_mel) for utterance in utterances)
            return super().__call__(utterances)

    most: list[int] = []
    run([wav(tone(40.0))], Watching(), batch_size=2, language="en")
    assert len(most) > 5
    assert max(most) <= 4, "features of segments that are done"


def test_segments_come_as_they_are_finished() -> None:
    decoder = Decoder(texts=iter("abcdefgh"))
    segments = transcriber(decoder).segments(
        wav(tone(9.0)), task="both", language="ar", batch_size=2
    )
    first, translated = next(segments), next(segments)
    assert len(decoder.batches) == 1, "the rest was not decoded yet"
    assert (first.text, first.task, first.language) == ("a", Task.TRANSCRIBE, "ar")
    assert (translated.text, translated.task, translated.language) == ("A", Task.TRANSLATE, "en")
    assert (first.id, first.start, first.tokens, first.avg_logprob) == (0, 0.25, (400, 401), -1.0)
    rest = list(segments)
    result = one(wav(tone(9.0)), Decoder(texts=iter("abcdefgh")), task="both", language="ar")
    assert result.translation is not None
    assert (first, *rest[::2]) == result.segments
    assert (translated, *rest[1::2]) == result.translation.segments


def test_segments_of_what_is_no_recording_raise() -> None:
    with pytest.raises(AudioError):
        list(transcriber(Decoder()).segments(b"no audio"))
    with pytest.raises(GuidanceError, match="'fr' is unknown"):
        transcriber(Decoder()).segments(b"no audio", language="fr")
    error = GuidanceError("this model does not translate from 'ar', only en to de")
    with pytest.raises(GuidanceError, match="does not translate"):
        list(transcriber(Decoder(error=error)).segments(wav(tone(9.0)), task="translate"))


def test_a_segment_left_half_way_releases_the_recording() -> None:
    found = transcriber(Decoder())
    recording = OpenRecording(wav(tone(9.0)), TranscriptionOptions(language="ar"), CONFIG)
    segments = found._segments(recording, 1)
    next(segments)
    segments.close()  # type: ignore[attr-defined]
    assert recording.segments.audio is not None and recording.segments.audio.recording._file.closed


def test_recordings_of_one_batch_have_options_of_their_own() -> None:
    """As a server batches: each with its task, search and end; one is cancelled in between."""
    backend = ScriptedBackend([Script("one", {"de": "eins"}, "en")], model_config())
    options = [
        TranscriptionOptions(language="en"),
        TranscriptionOptions(language="en", task="both", beam_size=3, word_timestamps=True),
        TranscriptionOptions(language="en", task="translate"),
    ]
    leave = iter([False, False, True])
    ends = [None, None, lambda: next(leave)]
    config = backend.config
    recordings = [
        OpenRecording(wav(tone(1.0)), each, config, end)
        for each, end in zip(options, ends, strict=True)
    ]
    taken = [(recording, *recording.take()) for recording in recordings]  # type: ignore[misc]
    zeros = [replace(utterance, log_mel=0 * utterance.log_mel) for _, _, utterance in taken]
    answers = Transcriber(backend, tokenizer()).decode(zeros)
    for (recording, segment, _), decoded in zip(taken, answers, strict=True):
        recording.give(segment, decoded)
        recording.take()
    plain, both, gone = (recording.result for recording in recordings)
    assert isinstance(plain, Transcript) and isinstance(both, Transcript)
    assert isinstance(gone, Cancelled)
    assert (plain.text, plain.translation) == ("one", None)
    assert plain.segments[0].words == ()
    assert both.translation is not None and both.translation.text == "eins"
    (word,) = both.segments[0].words
    assert (word.word, word.probability) == ("one", pytest.approx(0.98, abs=1e-3))


def test_who_cancels_stops_all_recordings_of_the_call() -> None:
    asked = iter([False, False, True])
    backend = ScriptedBackend([Script("one", language="en")], model_config())
    found = Transcriber(backend, tokenizer())
    sources = [wav(tone(1.0)), wav(tone(1.0))]
    with pytest.raises(Cancelled):
        list(found.transcribe_files(sources, language="en", cancelled=lambda: next(asked, True)))


def test_what_was_heard_before_it_was_cancelled_is_kept() -> None:
    decoder = Decoder(texts=iter("abcdefghijkl"))
    sources = [wav(tone(19.0)), wav(tone(19.0))]
    found = transcriber(decoder).transcribe_files(
        sources,
        batch_size=2,
        language="ar",
        task="both",
        cancelled=lambda: len(decoder.batches) > 2,
    )
    kept = next(found)
    assert isinstance(kept, Transcript) and kept.translation is not None
    assert (kept.text, kept.translation.text) == ("a b c d", "A B C D")
    assert kept.warnings == ("it was stopped before its end: this is its text up to 7.6 s",)
    assert kept.translation.warnings == kept.warnings
    with pytest.raises(Cancelled):
        next(found)


def test_what_was_begun_and_not_heard_says_so() -> None:
    decoder = Decoder(texts=iter("abcdefgh"))
    sources = [wav(tone(1.0)), wav(tone(9.0)), wav(tone(9.0))]
    found = transcriber(decoder).transcribe_files(
        sources, batch_size=2, language="ar", cancelled=lambda: len(decoder.batches) > 1
    )
    first, second = next(found), next(found)
    assert isinstance(first, Transcript) and not first.warnings
    assert isinstance(second, Transcript) and "up to 1.9 s" in second.warnings[0]
    with pytest.raises(Cancelled):
        next(found)
    found = transcriber(Decoder()).transcribe_files(sources[1:], cancelled=lambda: True)
    nothing = next(found)
    assert isinstance(nothing, Cancelled) and "before anything was heard" in str(nothing)
    with pytest.raises(Cancelled):
        next(found)


def test_features_are_padded_to_the_window_where_the_model_wants_it() -> None:
    features = FeatureConfig(padding="window")
    config = model_config(window_seconds=2.0, features=features)
    recording = OpenRecording(wav(tone(0.5)), TranscriptionOptions(language="en"), config)
    taken = recording.take()
    assert taken is not None
    segment, utterance = taken
    assert utterance.log_mel.shape == (200, 80) and utterance.frames == 50
    assert (segment.start, segment.end) == (0.0, 0.5)
    silence = features.dynamic_range_db
    assert utterance.log_mel[60:] == pytest.approx(2.0 - silence / 20.0, abs=1e-5)


def test_hours_of_silence_can_be_cancelled() -> None:
    silence = wav(np.zeros(16_000 * 20))
    for bandwidth in ("auto", "wideband"):
        asked = iter([False, False, True])
        options = TranscriptionOptions(bandwidth=bandwidth)  # type: ignore[arg-type]
        recording = OpenRecording(silence, options, CONFIG, lambda: next(asked))  # noqa: B023
        assert recording.take() is None
        assert isinstance(recording.result, Cancelled)
    with pytest.raises(Cancelled):
        list(transcriber(Decoder()).transcribe_files([silence], cancelled=lambda: True))


def test_whoever_cancels_wants_no_other_recording_opened() -> None:
    opened: list[int] = []

    def sources() -> Iterator[bytes]:
        while True:
            opened.append(1)
            yield wav(tone(0.5))

    results = transcriber(Decoder()).transcribe_files(
        sources(), batch_size=2, language="ar", cancelled=lambda: len(opened) > 4
    )
    with pytest.raises(Cancelled):
        list(results)
    assert len(opened) <= 6


def test_short_windows_leave_each_other_room() -> None:
    """The limit is of the whole recording: what one segment leaves, another may take."""
    texts = ["a" * 24, "b" * 24, ""]
    config = model_config(window_seconds=0.85)
    (result,) = run([wav(tone(2.5))], Decoder(texts=iter(texts)), config, language="ar")
    assert isinstance(result, Transcript)
    assert [segment.text for segment in result.segments[:2]] == texts[:2]
    assert [segment.id for segment in result.segments] == list(range(len(result.segments)))
