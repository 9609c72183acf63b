"""The text of a whole recording is held to the length of its audio."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.doubles import model_config
from turnout.audio.waveform import Waveform, open_recording
from turnout.config import TranscriptionOptions
from turnout.decoding.requests import Decoded, Hypothesis, most_characters
from turnout.guidance import Bandwidth, Task
from turnout.text.transcript import Transcript, Word
from turnout.transcription.builder import TranscriptBuilder, segment_of
from turnout.transcription.segments import AudioSegment, AudioSegments


def compose(times: list[float], texts: list[str], language: str = "ar") -> Transcript:
    """Of segments between these times, each with the same text as transcript and translation."""
    draft = TranscriptBuilder(TranscriptionOptions(task="both"))
    for (start, end), text in zip(pairwise(times), texts, strict=True):
        hypotheses = (
            Hypothesis(task=task, language=language, tokens=(400,), text=text, log_prob=-1.0)
            for task in Task
        )
        draft.add(
            AudioSegment(start, end, None, None, 1),
            Decoded(language=language, hypotheses=tuple(hypotheses)),
        )
    samples = np.zeros(round(times[-1] * 16_000), np.float32)
    recording = open_recording(Waveform(samples, 16_000))
    audio = AudioSegments(recording, model_config(), Bandwidth.WIDEBAND)
    assert list(audio) == []
    return draft.transcript(audio, language)


def test_full_segments_and_a_short_one_after_them() -> None:
    times = [0.0, 4.0, 7.0, 7.2]
    full = ["a" * 99, "b" * 74]
    transcript = compose(times, [*full, "c" * 24])
    assert transcript.translation is not None
    for result in (transcript, transcript.translation):
        assert [segment.text for segment in result.segments] == full
        assert len(result.text) <= most_characters(7.2) == 180


@pytest.mark.parametrize("short", ["c" * 5, "c" * 24])
def test_a_short_segment_has_what_the_others_leave(short: str) -> None:
    texts = ["a" * 80, "b" * 70, short]
    transcript = compose([0.0, 4.0, 7.0, 7.2], texts)
    assert [segment.text for segment in transcript.segments] == texts
    assert transcript.text == " ".join(texts)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("zh", "今天天气很好"),
        ("ja", "今天天气很好"),
        ("th-TH", "今天天气很好"),
        ("ko", "今天 天气 很好"),
    ],
)
def test_segments_are_joined_as_their_language_is_written(language: str, text: str) -> None:
    transcript = compose([0.0, 1.0, 2.0, 3.0], ["今天", "天气", "很好"], language)
    assert transcript.translation is not None
    assert transcript.text == transcript.translation.text == text
    full = compose([0.0, 1.0, 2.0], ["好" * 25, "好" * 25], language)
    assert len(full.text) == (49 if " " in text else 50) or len(full.segments) == 1


def test_a_segment_that_is_left_out_is_told_of() -> None:
    full = ["a" * 99, "b" * 74]
    transcript = compose([0.0, 4.0, 7.0, 7.2], [*full, "c" * 11])
    assert transcript.warnings == (
        "short segments left out of the text: 1; with the others it is longer than 25 "
        "characters a second of audio",
        "short segments left out of the translation: 1; with the others it is longer than 25 "
        "characters a second of audio",
    )


def test_texts_that_were_cut_are_told_of() -> None:
    draft = TranscriptBuilder(TranscriptionOptions(task="both"))
    for number, text in enumerate(["", "one", "two", "three", "four"]):
        cut = Hypothesis(
            task=Task.TRANSCRIBE, language="en", tokens=(400,), text=text, log_prob=-1.0,
            ended=False, cut=True,
        )  # fmt: skip
        whole = replace(cut, task=Task.TRANSLATE, ended=True, cut=False)
        decoded = Decoded(language="en", hypotheses=(cut, whole))
        draft.add(AudioSegment(6.0 * number, 6.0 * number + 6, None, None, 600), decoded)
    recording = open_recording(Waveform(np.zeros(16_000 * 30, np.float32), 16_000))
    audio = AudioSegments(recording, model_config(), Bandwidth.WIDEBAND)
    assert list(audio) == []
    transcript = draft.transcript(audio, "en")
    assert transcript.warnings == (
        "the text was cut in the segments from 0.0, 6.0, 12.0 and 2 more s on: longer than 25 "
        "characters a second of audio, or in a loop",
    )
    assert [segment.cut for segment in transcript.segments] == [True] * 4
    assert [segment.avg_logprob for segment in transcript.segments] == [-1.0] * 4
    assert transcript.translation is not None
    assert [segment.cut for segment in transcript.translation.segments] == [False] * 4
    assert [segment.avg_logprob for segment in transcript.translation.segments] == [-0.5] * 4


def test_no_word_ends_behind_its_segment() -> None:
    word = Word(start=0.1, end=1.01, word="one")
    hypothesis = Hypothesis(
        task=Task.TRANSCRIBE, language="en", tokens=(400,), text="one", log_prob=-1.0,
        words=(word,), start=0.1, end=1.01,
    )  # fmt: skip
    segment = segment_of(0, AudioSegment(3.0, 4.005, None, None, 100), hypothesis)
    assert (segment.end, segment.words[0].end) == (4.005, 4.005)
