"""What a decoder passed over behind its text is decoded as a segment of its own; where it passed
over something before its last words, the segment is decoded anew in two."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from tests.doubles import model_config, scripted_finder, tone
from tests.unit.transcription.test_recordings import (
    Decoder,
    run,
    tones_are_speech,
    transcriber,
    wav,
)
from turnout.audio.silero import CHUNK_SECONDS
from turnout.audio.voice import SpeechFinder
from turnout.decoding.attention import heard_frames, last_heard, longest_unheard
from turnout.decoding.requests import Decoded, Utterance
from turnout.decoding.reread import is_of_word
from turnout.text.transcript import Transcript
from turnout.transcription import segments

__all__ = ["tones_are_speech"]


def quiet_at(begin: float, end: float) -> SpeechFinder:
    """Finds speech everywhere but between these seconds."""
    seconds = np.arange(1_000) * CHUNK_SECONDS
    return scripted_finder(np.where((begin <= seconds) & (seconds < end), 0.0, 1.0).tolist())


LONG = model_config(window_seconds=16.0)


@dataclass
class EndsEarly(Decoder):
    """Writes how long it heard, which is at most so many seconds of each segment."""

    most_seconds: float = 4.0
    lengths: list[float] = field(default_factory=list)

    def __call__(self, utterances: Sequence[Utterance]) -> list[Decoded]:
        found = []
        for utterance in utterances:
            seconds = utterance.frames / 100
            self.lengths.append(seconds)
            heard = min(self.most_seconds, seconds - 1.0)
            said = self.answer(utterance.request).hypotheses
            changes = {"text": f"{seconds:.1f}", "start": None, "end": None, "words": ()}
            hypotheses = tuple(replace(one, heard_until=heard, **changes) for one in said)
            found.append(
                Decoded(language=utterance.request.language or "ar", hypotheses=hypotheses)
            )
        return found


@pytest.mark.parametrize("language", ["auto", "ar"])
def test_what_was_passed_over_is_decoded_in_its_place(language: str) -> None:
    samples = tone(44.0)
    samples[round(4.5 * 16_000) : round(4.8 * 16_000)] *= 0.01
    decoder = EndsEarly()
    (result,) = run([wav(samples)], decoder, LONG, language=language)
    assert isinstance(result, Transcript)
    times = [(segment.start, segment.end) for segment in result.segments]
    assert times[0][0] == 0.0 and times[-1][1] == pytest.approx(44.0)
    assert 4.5 < times[0][1] < 4.8, "it is cut at the pause behind the last word"
    assert [end for _, end in times[:-1]] == pytest.approx([start for start, _ in times[1:]])
    # A text is of its segment and the rest that was taken from it.
    assert float(result.segments[0].text) > times[0][1] + 2.5
    assert all(end - start <= 4.0 + 1.2 + 1.6 for start, end in times)
    assert len(decoder.lengths) == len(times)


def test_all_that_was_heard_leaves_no_rest() -> None:
    decoder = EndsEarly(most_seconds=99.0)
    (result,) = run([wav(tone(30.0))], decoder, LONG, language="ar")
    assert isinstance(result, Transcript) and len(decoder.lengths) == 2
    assert result.segments[-1].end == pytest.approx(30.0)


@dataclass
class EndsBefore(EndsEarly):
    """Writes how long it heard, which is all but the last so many seconds of long segments."""

    rest_seconds: float = 1.6

    def __call__(self, utterances: Sequence[Utterance]) -> list[Decoded]:
        answers = super().__call__(utterances)
        for place, utterance in enumerate(utterances):
            heard = utterance.frames / 100 - self.rest_seconds
            said = answers[place].hypotheses
            late = tuple(replace(one, heard_until=heard if heard > 4 else None) for one in said)
            answers[place] = replace(answers[place], hypotheses=late)
        return answers


@pytest.mark.parametrize(
    ("rest", "pause", "parts"),
    [
        (1.6, 0.0, 3),  # a window was cut in the midst of speech: its last words are missing
        (1.4, 0.0, 2),  # the last word's own end
        (1.6, 0.8, 2),  # of which 0.8 s are the pause in which it was cut
    ],
)
def test_less_is_a_rest_where_a_window_was_cut_in_the_midst_of_speech(
    rest: float, pause: float, parts: int
) -> None:
    samples = tone(28.0)
    # Where it is quiet, so that it is cut there: the last of the points that are equally so.
    samples[round((14.0 - max(pause, 0.3)) * 16_000) : round(14.0 * 16_000)] = 0.0
    decoder = EndsBefore(rest_seconds=rest, most_seconds=99.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "finder", lambda _: quiet_at(14.0 - pause, 14.0))
        (result,) = run([wav(samples)], decoder, LONG, language="ar")
    assert isinstance(result, Transcript)
    assert len(decoder.lengths) == len(result.segments) == parts
    if parts == 3:
        first, missing, last = result.segments
        assert 12.2 < first.end == missing.start < missing.end == last.start < 14.0
    assert result.segments[-1].end == pytest.approx(28.0)


def test_a_text_that_follows_nothing_is_not_followed_for_ever() -> None:
    decoder = EndsEarly(most_seconds=0.4)
    run([wav(tone(30.0))], decoder, LONG, language="ar")
    assert len(decoder.lengths) == 2


def test_a_rest_is_of_transcripts_alone() -> None:
    decoder = EndsEarly()
    run([wav(tone(30.0))], decoder, LONG, language="ar", task="both")
    assert len(decoder.lengths) == 2


def test_segments_come_in_order() -> None:
    found = transcriber(EndsEarly(), LONG).segments(wav(tone(44.0)), language="ar", batch_size=3)
    starts = [segment.start for segment in found]
    assert starts == sorted(starts) and len(starts) > 6


@dataclass
class Skips(EndsEarly):
    """Writes so, and passes over this stretch of each segment of so many seconds."""

    most_seconds: float = 99.0
    stretch: tuple[float, float] = (0.0, 0.0)
    least_seconds: float = 14.0

    def __call__(self, utterances: Sequence[Utterance]) -> list[Decoded]:
        answers = super().__call__(utterances)
        for place, utterance in enumerate(utterances):
            if utterance.frames / 100 >= self.least_seconds:
                said = answers[place].hypotheses
                skipped = tuple(replace(one, unheard=self.stretch) for one in said)
                answers[place] = replace(answers[place], hypotheses=skipped)
        return answers


@pytest.mark.parametrize("language", ["auto", "ar"])
@pytest.mark.parametrize(
    ("stretch", "pause"),
    [
        ((4.0, 10.0), 4.6),  # in the midst: cut behind the last word before it
        ((0.8, 10.0), 9.4),  # at the beginning: cut before the first word behind it
        ((0.0, 5.0), 4.4),
    ],
)
def test_where_words_were_passed_over_is_decoded_anew_in_two(
    stretch: tuple[float, float], pause: float, language: str
) -> None:
    samples = tone(15.0)
    samples[round((pause - 0.15) * 16_000) : round((pause + 0.15) * 16_000)] *= 0.01
    decoder = Skips(stretch=stretch)
    (result,) = run([wav(samples)], decoder, LONG, language=language)
    assert isinstance(result, Transcript)
    first, second = result.segments
    assert (first.start, second.end) == (0.0, pytest.approx(15.0))
    assert first.end == second.start == pytest.approx(pause, abs=0.1)
    assert decoder.lengths == pytest.approx([15.0, first.end, 15.0 - first.end], abs=0.02)


@pytest.mark.parametrize(
    ("stretch", "changes"), [((4.0, 7.9), {}), ((4.0, 10.0), {"task": "both"})]
)
def test_a_pause_and_a_translation_are_not_decoded_anew(
    stretch: tuple[float, float], changes: dict[str, str]
) -> None:
    decoder = Skips(stretch=stretch)
    run([wav(tone(15.0))], decoder, LONG, language="ar", **changes)
    assert len(decoder.lengths) == 1


def test_what_is_passed_over_again_and_again_comes_to_an_end_in_order() -> None:
    decoder = Skips(stretch=(0.0, 4.5), least_seconds=6.0)
    found = transcriber(decoder, LONG).segments(wav(tone(31.0)), language="ar", batch_size=3)
    times = [(segment.start, segment.end) for segment in found]
    assert [end for _, end in times[:-1]] == pytest.approx([start for start, _ in times[1:]])
    assert (times[0][0], times[-1][1]) == (0.0, pytest.approx(31.0))
    assert all(end - start <= 6.0 for start, end in times) and len(decoder.lengths) < 20


def test_the_last_words_are_where_the_heads_attend_most() -> None:
    """Prompt of two; three words and a mark, written while frames 1, 6, 4 and 9 are attended to."""
    weights = np.zeros((2, 7, 10), np.float32)
    for place, frame in enumerate([0, 1, 6, 4, 9, 0, 0]):
        weights[:, place, frame] = 1.0
    cases = {(1, 1, 1, 0): 6, (1, 0, 0, 0): 1, (1, 1, 1, 1, 1): 9, (0, 0, 0, 0): None}
    for of_words, last in cases.items():
        assert last_heard(heard_frames(weights, 2, [*map(bool, of_words)])) == last


@pytest.mark.parametrize(
    ("heard", "unheard"),
    [
        ([2, 5, 9, 40, 44, 50], (9, 40)),
        ([30, 31, 35, 39], (0, 30)),  # nothing before the first word
        ([2, 50, 5, 9, 12], (2, 5)),  # one word that attends elsewhere is no pause
        ([3, 4, 33, 5, 30, 34, 36, 60], (36, 60)),
        ([7], (0, 7)),
        ([], None),
    ],
)
def test_the_longest_stretch_without_a_word(
    heard: list[int], unheard: tuple[int, int] | None
) -> None:
    assert longest_unheard(np.array(heard, np.int64)) == unheard


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [(" so", True), ("\ufffd", True), ("字", True), (" .", False), ("。", False), ("", False)],
)
def test_parts_of_letters_are_of_words(spelled: str, expected: bool) -> None:
    assert is_of_word(spelled) is expected
