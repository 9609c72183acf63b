"""The times that the model that ships gives the words of examples/."""

from itertools import pairwise
from pathlib import Path

import pytest
from benchmarks.word_times import MEDIAN_SECONDS, MOST_SHARE, PAUSES, measured, summary

import turnout
from turnout.transcription.transcriber import Transcriber

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DATA = EXAMPLES.parents[1] / "shared" / "data"
RECORDINGS = sorted(EXAMPLES.glob("*-*.*"))


@pytest.fixture(scope="module")
def model() -> Transcriber:
    return turnout.load(threads=1)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_words_follow_one_another_within_their_segment(model: Transcriber, path: Path) -> None:
    (segment,) = model.transcribe(path, word_timestamps=True).segments
    words = segment.words
    assert " ".join(word.word for word in words) == segment.text
    assert min(word.end - word.start for word in words) >= 0.25
    assert max(word.end - word.start for word in words) <= 1.25
    assert all(a.end <= b.start for a, b in pairwise(words))
    assert (segment.start, segment.end) == (words[0].start, words[-1].end)


def test_the_words_of_a_recording_are_where_they_are_heard(model: Transcriber) -> None:
    (segment,) = model.transcribe(EXAMPLES / "english-3.wav", word_timestamps=True).segments
    heard = {"six": (0.14, 0.62), "one": (0.80, 1.21), "eight": (1.49, 1.85)}
    for word in segment.words:
        assert (word.start, word.end) == pytest.approx(heard[word.word], abs=0.06)


def test_words_that_were_joined_are_parted_where_they_were_joined(model: Transcriber) -> None:
    """Of the dev speakers, without any pause and with short ones: `benchmarks/word_times.py`."""
    if not (DATA / "arabic_commands.tar").is_file() or not (DATA / "fsdd.tar").is_file():
        pytest.skip("real recordings are needed: arabic_commands.tar, fsdd.tar in ../shared/data")
    rows = list(measured(model, DATA, "dev", 24))
    for pauses in PAUSES:
        errors = [error for row in rows if row["pauses"] == pauses for error in row["errors"]]
        found = summary(errors)
        assert found["boundaries"] > 120
        assert found["median"] <= MEDIAN_SECONDS
        assert found["within"] >= MOST_SHARE
