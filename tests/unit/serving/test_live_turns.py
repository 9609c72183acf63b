"""Turns: somebody speaks, then is silent; and what stays of a text that goes on."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.doubles import ruled_finder
from turnout.audio.silero import CHUNK_SAMPLES as CHUNK
from turnout.audio.waveform import read_audio
from turnout.serving.live_turns import (
    LONGEST_TURN_SECONDS,
    STEP_SAMPLES,
    StableText,
    Turn,
    TurnBegan,
    TurnFinder,
)
from turnout.transcription.windows import PADDING

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
RATE = 16_000
SILENCE = 0.6


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=length).astype(np.float32)


def finder_of(*parts: tuple[int, int]) -> TurnFinder:
    """Speech in these chunks."""
    rule = ruled_finder(lambda chunk, _: float(any(a <= chunk < b for a, b in parts)))
    return TurnFinder(SILENCE, rule)


def heard(
    finder: TurnFinder, samples: np.ndarray, blocks: tuple[int, ...] = ()
) -> list[TurnBegan | Turn]:
    cuts = np.minimum(np.cumsum(blocks, dtype=int), len(samples))
    found = [one for block in np.split(samples, cuts) for one in finder.hear(block)]
    return found + finder.finish()


def told(found: list[TurnBegan | Turn]) -> list[tuple[object, ...]]:
    return [
        (one.number, one.begin, None if isinstance(one, TurnBegan) else len(one.samples))
        for one in found
    ]


@given(
    runs=st.lists(st.tuples(st.integers(0, 90), st.integers(1, 60)), max_size=6),
    blocks=st.lists(st.integers(0, 40_000), max_size=10),
    rest=st.integers(0, CHUNK - 1),
)
@settings(deadline=None, max_examples=40)
def test_turns_are_told_in_order_and_cover_all_speech_whatever_the_blocks(
    runs: list[tuple[int, int]], blocks: list[int], rest: int
) -> None:
    parts: list[tuple[int, int]] = []
    place = 0
    for pause, speech in runs:
        parts.append((place + pause, place + pause + speech))
        place += pause + speech
    samples = noise(place * CHUNK + rest)
    found = heard(finder_of(*parts), samples, tuple(blocks))
    assert told(found) == told(heard(finder_of(*parts), samples))
    # Each is told to begin, then to have ended, before the next.
    assert [one.number for one in found] == [n for n in range(len(found) // 2) for _ in range(2)]
    assert [type(one) for one in found] == [TurnBegan, Turn] * (len(found) // 2)
    turns = [one for one in found if isinstance(one, Turn)]
    covered = np.zeros(len(samples), dtype=int)
    for began, turn in zip(found[::2], turns, strict=True):
        assert began.begin == turn.begin
        assert np.array_equal(turn.samples, samples[turn.begin :][: len(turn.samples)])
        covered[turn.begin :][: len(turn.samples)] += 1
    assert covered.max(initial=0) <= 1
    for first, last in parts:
        assert covered[first * CHUNK : last * CHUNK].all()
    for one, other in pairwise(turns):
        assert one.begin + len(one.samples) <= other.begin


def test_a_turn_is_told_as_soon_as_its_silence_is_over() -> None:
    finder = finder_of((31, 62))
    samples = noise(150 * CHUNK)
    for place in range(0, len(samples), CHUNK):
        for found in finder.hear(samples[place : place + CHUNK]):
            if isinstance(found, TurnBegan):
                assert finder.heard == 32 * CHUNK
                assert found.start_seconds == pytest.approx(31 * CHUNK / RATE - SILENCE, abs=0.01)
            else:
                late = finder.heard - 62 * CHUNK - round(SILENCE * RATE)
                assert 0 < late <= STEP_SAMPLES
                assert found.end_seconds == pytest.approx(62 * CHUNK / RATE + SILENCE)
                assert len(found.samples) == found.seconds * RATE
                return
        part = finder.unfinished
        assert (part is None) == (finder.spoken == 0)
        assert part is None or len(part.samples) == finder.spoken
    pytest.fail("the turn was not told")


def test_who_speaks_on_is_cut_at_a_pause() -> None:
    """Which is too short to end a turn."""
    samples = noise(round(31 * RATE / CHUNK) * CHUNK)
    quiet = slice(16 * RATE, 16 * RATE + RATE // 3)
    samples[quiet] *= 0.001
    found = heard(finder_of((0, len(samples) // CHUNK)), samples)
    first, second = (one for one in found if isinstance(one, Turn))
    assert quiet.start <= first.begin + len(first.samples) == second.begin <= quiet.stop
    assert max(first.seconds, second.seconds) <= LONGEST_TURN_SECONDS
    assert second.end_seconds == pytest.approx(len(samples) / RATE)


def test_silence_for_hours_is_no_turn_and_takes_no_memory() -> None:
    finder = TurnFinder(SILENCE)
    quiet = np.zeros(60 * RATE, np.float32)
    hiss = noise(60 * RATE) * np.float32(1e-4)
    hiss[:RATE] *= np.linspace(0, 1, RATE, dtype=np.float32)  # no click
    for block in (quiet, hiss, quiet):
        assert finder.hear(block) == []
        assert len(finder._cutter._held) <= PADDING + 2 * STEP_SAMPLES + CHUNK
    assert finder.finish() == []
    assert finder.heard == 180 * RATE


@pytest.mark.parametrize(
    "name", ["english-3.wav", "arabic-telephone-2.wav", "english-telephone-1.wav", "arabic-1.flac"]
)
def test_speech_is_one_turn_and_ends_where_it_ends(name: str) -> None:
    speech = read_audio(EXAMPLES / name).samples
    pause = np.zeros(RATE, np.float32)
    found = heard(TurnFinder(SILENCE), np.concatenate([pause, speech, pause]))
    (turn,) = (one for one in found if isinstance(one, Turn))
    loud = np.flatnonzero(np.abs(speech) > 0.02 * np.abs(speech).max()) / RATE + 1
    assert turn.start_seconds < loud[0] < turn.start_seconds + SILENCE + 0.2
    assert turn.end_seconds - SILENCE - 0.2 < loud[-1] < turn.end_seconds


def test_what_two_texts_agree_on_stays() -> None:
    text = StableText()
    assert text.add("seven two mine", "en") == ("seven two mine", "")
    assert text.add("seven two nine four", "en") == ("seven two nine four", "seven two")
    # What takes back what stays counts only behind it.
    assert text.add("heaven two nine four", "en") == (
        "seven two nine four",
        "seven two nine four",
    )
    assert text.add("seven", "en") == ("seven two nine four", "seven two nine four")
    assert text.add("", "en") == ("seven two nine four", "seven two nine four")


def test_a_language_without_spaces_agrees_in_letters() -> None:
    text = StableText()
    text.add("今日は", "ja")
    assert text.add("今日も晴れ", "ja") == ("今日も晴れ", "今日")


@given(
    texts=st.lists(st.text("ab  é今", max_size=12), max_size=8),
    languages=st.lists(st.sampled_from(["en", "ja", None]), min_size=8, max_size=8),
)
def test_what_stays_never_changes_whatever_comes(texts: list[str], languages: list[str]) -> None:
    text, before = StableText(), ""
    for one, language in zip(texts, languages, strict=False):
        shown, stable = text.add(one, language)
        assert stable.startswith(before)
        assert shown.startswith(stable)
        before = stable
