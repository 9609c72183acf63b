"""What a decoder passed over behind its text is decoded as a segment of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from tests.doubles import model_config, tone
from tests.unit.transcription.test_recordings import (
    Decoder,
    run,
    tones_are_speech,
    transcriber,
    wav,
)
from turnout.decoding.attention import last_heard
from turnout.decoding.requests import Decoded, Utterance
from turnout.text.transcript import Transcript

__all__ = ["tones_are_speech"]

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


def test_the_last_words_are_where_the_heads_attend_most() -> None:
    """Prompt of two; three words and a mark, written while frames 1, 6, 4 and 9 are attended to."""
    weights = np.zeros((2, 7, 10), np.float32)
    for place, frame in enumerate([0, 1, 6, 4, 9, 0, 0]):
        weights[:, place, frame] = 1.0
    assert last_heard(weights, 2, [True, True, True, False]) == 6
    assert last_heard(weights, 2, [True, False, False, False]) == 1
    assert last_heard(weights, 2, [True, True, True, True, True]) == 9
    assert last_heard(weights, 2, [False] * 4) is None
