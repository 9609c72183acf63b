"""The text of a whole recording is held to the length of its audio."""

from itertools import pairwise

import numpy as np
import pytest

from turnout.decoding.request import Decoded, Hypothesis, most_characters
from turnout.guidance import Bandwidth, Task
from turnout.text.transcript import Word
from turnout.transcription.compose import Heard, compose, segment_of
from turnout.transcription.hearing import Stretch


def heard(times: list[float], texts: list[str]) -> Heard:
    """Stretches between these times, each with the same text as transcript and translation."""
    pieces = [
        (
            Stretch(start, end, np.zeros((1, 80), np.float32)),
            Decoded(
                language="ar",
                hypotheses=tuple(
                    Hypothesis(task=task, language="ar", tokens=(400,), text=text, log_prob=-1.0)
                    for task in Task
                ),
            ),
        )
        for (start, end), text in zip(pairwise(times), texts, strict=True)
    ]
    return Heard(
        pieces=pieces,
        tasks=tuple(Task),
        language="ar",
        target_language="en",
        duration_seconds=times[-1],
        bandwidth=Bandwidth.WIDEBAND,
    )


def test_full_stretches_and_a_short_one_after_them() -> None:
    times = [0.0, 4.0, 7.0, 7.2]
    full = ["a" * 99, "b" * 74]
    transcript = compose(heard(times, [*full, "c" * 24]))
    assert transcript.translation is not None
    for result in (transcript, transcript.translation):
        assert [segment.text for segment in result.segments] == full
        assert len(result.text) <= most_characters(7.2) == 180


@pytest.mark.parametrize("short", ["c" * 5, "c" * 24])
def test_a_short_stretch_has_what_the_others_leave(short: str) -> None:
    texts = ["a" * 80, "b" * 70, short]
    transcript = compose(heard([0.0, 4.0, 7.0, 7.2], texts))
    assert [segment.text for segment in transcript.segments] == texts
    assert transcript.text == " ".join(texts)


def test_no_word_ends_behind_its_segment() -> None:
    word = Word(start=0.1, end=1.01, word="one")
    hypothesis = Hypothesis(
        task=Task.TRANSCRIBE, language="en", tokens=(400,), text="one", log_prob=-1.0,
        words=(word,), start=0.1, end=1.01,
    )  # fmt: skip
    segment = segment_of(0, Stretch(3.0, 4.005, None), hypothesis)
    assert (segment.end, segment.words[0].end) == (4.005, 4.005)
