"""Windows: in order, never overlapping, all speech covered, whatever the blocks."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.doubles import scripted_finder
from turnout.audio.features import HOP_SAMPLES as FRAME
from turnout.audio.silero import CHUNK_SAMPLES as CHUNK
from turnout.transcription.windows import (
    LONGEST_PAUSE,
    PADDING,
    Window,
    WindowCutter,
    quietest_point,
)

WINDOW = 16_000
SECOND = 16_000


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=length).astype(np.float32)


def spoken(*parts: tuple[int, int], chunks: int) -> list[float]:
    """Probabilities of so many chunks, 1 in these parts."""
    found = np.zeros(chunks)
    for begin, end in parts:
        found[begin:end] = 1.0
    return found.tolist()


def windows(
    samples: np.ndarray, probabilities: Sequence[float], most: int, blocks: Sequence[int] = ()
) -> list[Window]:
    cutter = WindowCutter(most, scripted_finder(probabilities))

    def read() -> Iterator[Window]:
        for block in np.split(samples, np.minimum(np.cumsum(blocks, dtype=int), len(samples))):
            yield from cutter.add(block)
        yield from cutter.finish()

    return list(read())


def places(found: Sequence[Window]) -> list[tuple[int, int]]:
    return [(window.begin, window.begin + len(window.samples)) for window in found]


@given(
    runs=st.lists(st.tuples(st.integers(0, 90), st.integers(1, 60)), max_size=6),
    most=st.integers(12_000, 60_000),
    blocks=st.lists(st.integers(0, 50_000), max_size=12),
    rest=st.integers(0, CHUNK - 1),
)
@settings(deadline=None, max_examples=60)
def test_windows_are_in_order_and_cover_all_speech_whatever_the_blocks(
    runs: list[tuple[int, int]], most: int, blocks: list[int], rest: int
) -> None:
    parts: list[tuple[int, int]] = []
    place = 0
    for pause, speech in runs:
        parts.append((place + pause, place + pause + speech))
        place += pause + speech
    samples = noise(place * CHUNK + rest)
    probabilities = spoken(*parts, chunks=place + 1)
    found = windows(samples, probabilities, most, blocks)
    assert places(found) == places(windows(samples, probabilities, most))
    heard = np.zeros(len(samples), dtype=int)
    for begin, end in places(found):
        assert 0 < end - begin <= most
        heard[begin:end] += 1
    assert heard.max(initial=0) <= 1
    assert places(found) == sorted(places(found))
    for window in found:
        assert np.array_equal(window.samples, samples[window.begin :][: len(window.samples)])
    for begin, end in parts:
        assert heard[begin * CHUNK : end * CHUNK].all()
    for begin, end in pairwise(sorted(parts)):
        gap = slice(begin[1] * CHUNK + PADDING, end[0] * CHUNK - PADDING - FRAME)
        if gap.stop - gap.start > LONGEST_PAUSE:
            assert not heard[gap].any(), "a long pause was heard"


def test_speech_is_joined_as_far_as_it_fits() -> None:
    chunks = 30 * 31
    probabilities = spoken((31, 62), (80, 155), (170, 300), (310, 420), chunks=chunks)
    samples = noise(chunks * CHUNK)
    samples[300 * CHUNK : 310 * CHUNK] *= 0.1
    found = windows(samples, probabilities, 10 * SECOND)
    # The fourth region does not fit into one window with the others.
    first, second = places(found)
    assert first[0] == (31 * CHUNK - PADDING) // FRAME * FRAME
    assert 300 * CHUNK < first[1] == second[0] < 310 * CHUNK


def test_the_cut_falls_at_the_quietest_point() -> None:
    samples = noise(2 * WINDOW)
    samples[11_000:15_000] *= 0.01
    (first, *_) = windows(samples, [1.0] * 63, WINDOW)
    assert 11_000 + 1_600 <= len(first.samples) <= 15_000 - 1_600


def test_a_full_window_tells_where_its_speech_ends() -> None:
    """Speech that goes on at the cut, or the pause in which it is cut; others end in a pause."""
    samples = noise(25_000)
    samples[11_000:15_000] *= 0.01
    going_on, last = windows(samples, [1.0] * 63, WINDOW)
    assert going_on.spoken == len(going_on.samples) and last.spoken is None
    paused, last = windows(samples, spoken((0, 22), (29, 63), chunks=63), WINDOW)
    assert len(paused.samples) > 29 * CHUNK - 3_000 and last.spoken is None
    assert paused.spoken == 22 * CHUNK


def test_long_pauses_are_left_out() -> None:
    chunks = 20 * 31
    probabilities = spoken((31, 62), (500, 540), chunks=chunks)
    found = places(windows(noise(chunks * CHUNK), probabilities, 30 * SECOND))
    assert found == [
        ((31 * CHUNK - PADDING) // FRAME * FRAME, 62 * CHUNK + PADDING),
        ((500 * CHUNK - PADDING) // FRAME * FRAME, 540 * CHUNK + PADDING),
    ]


@pytest.mark.parametrize("pause", [SECOND // 4, PADDING, SECOND])
def test_a_shorter_pause_ends_a_window_as_soon_as_it_is_known(pause: int) -> None:
    """And no window holds what came only behind the pause."""
    chunks = 12 * 31
    probabilities = spoken((31, 62), (110, 155), chunks=chunks)
    samples = noise(chunks * CHUNK)
    cutter = WindowCutter(30 * SECOND, scripted_finder(probabilities), pause)
    known: list[tuple[int, int, int]] = []
    for heard in range(CHUNK, len(samples) + 1, CHUNK):
        ended = places(list(cutter.add(samples[heard - CHUNK : heard])))
        known += [(begin, end, heard) for begin, end in ended]
    behind = min(PADDING, pause)
    first = (31 * CHUNK - PADDING) // FRAME * FRAME
    second = max(62 * CHUNK + behind, (110 * CHUNK - PADDING) // FRAME * FRAME)
    assert [place[:2] for place in known] == [
        (first, 62 * CHUNK + behind),
        (second, 155 * CHUNK + behind),
    ]
    for (_, end, heard), speech in zip(known, (62, 155), strict=True):
        assert end <= heard
        assert speech * CHUNK + pause < heard <= speech * CHUNK + pause + CHUNK


def test_the_window_in_the_making_is_what_was_heard_of_it() -> None:
    samples = noise(90 * CHUNK)
    cutter = WindowCutter(3 * SECOND, scripted_finder(spoken((31, 60), chunks=90)), SECOND // 2)
    for heard in range(CHUNK, len(samples) + 1, CHUNK):
        ended = list(cutter.add(samples[heard - CHUNK : heard]))
        part = cutter.unfinished
        begun = 31 * CHUNK < heard <= 60 * CHUNK + SECOND // 2
        assert not begun or cutter.silence == max(0, heard - 60 * CHUNK)
        assert (part is not None) == begun
        if part is not None:
            assert part.begin == (31 * CHUNK - PADDING) // FRAME * FRAME
            assert np.array_equal(part.samples, samples[part.begin : heard])
        elif heard > 60 * CHUNK and ended:
            assert ended[0].begin == (31 * CHUNK - PADDING) // FRAME * FRAME


def test_what_fits_is_not_cut() -> None:
    assert places(windows(noise(WINDOW), [1.0] * 32, WINDOW)) == [(0, WINDOW)]


def test_what_stands_before_speech_is_kept_until_it_is_known() -> None:
    """Wherever the blocks end: 512 samples are no multiple of the features' hop."""
    for pause in range(60, 66):
        samples = noise((pause + 20) * CHUNK)
        (found,) = windows(
            samples, spoken((pause, pause + 20), chunks=pause + 21), 2 * SECOND, [CHUNK] * pause
        )
        assert found.begin == (pause * CHUNK - PADDING) // FRAME * FRAME
        assert np.array_equal(found.samples, samples[found.begin :])


def test_memory_is_bounded_by_the_window() -> None:
    cutter = WindowCutter(WINDOW, scripted_finder([1.0] * 4_000))
    longest = 0
    for _ in range(300):
        for window in cutter.add(np.ones(4_000, np.float32)):
            assert window.samples.base is None
        longest = max(longest, len(cutter._held))
    assert longest <= WINDOW + 4_000 + 3 * CHUNK


def test_a_pause_in_the_first_half_is_too_early() -> None:
    samples = noise(WINDOW)
    samples[2_000:6_000] = 0
    assert quietest_point(samples) >= WINDOW // 2


def test_a_closure_shorter_than_a_pause_does_not_win() -> None:
    samples = noise(WINDOW)
    samples[9_000 : 9_000 + 4 * FRAME] = 0
    samples[11_000:15_000] *= 0.1
    assert 11_000 <= quietest_point(samples) <= 15_000


def test_the_last_of_equally_quiet_points_is_taken() -> None:
    samples = noise(WINDOW)
    samples[9_000:13_000] = 0
    assert 13_000 - 12 * FRAME <= quietest_point(samples) <= 13_000 - 9 * FRAME


@pytest.mark.parametrize("first", [0, 3_000])
def test_the_quietest_point_is_looked_for_from_there_on(first: int) -> None:
    samples = noise(WINDOW)
    samples[:6_000] *= 0.1
    assert first <= quietest_point(samples, first) <= 6_000
