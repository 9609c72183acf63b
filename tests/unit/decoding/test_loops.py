import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.decoding.encoded_batch import LONGEST_LOOP, Loops, most_repeats
from turnout.decoding.greedy import surplus_of


def slow_most_repeats(tokens: list[int]) -> int:
    most = 1
    for width in range(1, LONGEST_LOOP + 1):
        for first in range(len(tokens) - width + 1):
            gram, count = tokens[first : first + width], 1
            while tokens[first + count * width : first + (count + 1) * width] == gram:
                count += 1
            most = max(most, count)
    return most


TOKENS = st.lists(st.integers(0, 2), max_size=40) | st.builds(
    lambda gram, times, tail: gram * times + tail,
    st.lists(st.integers(0, 5), min_size=1, max_size=9),
    st.integers(1, 6),
    st.lists(st.integers(0, 5), max_size=5),
)


@given(TOKENS)
@settings(deadline=None)
def test_most_repeats(tokens: list[int]) -> None:
    assert most_repeats(tokens) == slow_most_repeats(tokens)


@given(
    st.lists(st.lists(st.integers(0, 1), min_size=20, max_size=20), min_size=1, max_size=4),
    st.sampled_from((0, 9)),
)
@settings(deadline=None)
def test_a_loop_is_seen_when_it_is_one_too_many(rows: list[list[int]], fewest: int) -> None:
    tokens = np.array(rows)
    limits = 2 + np.arange(len(rows))
    loops = Loops.start(limits, fewest)
    seen = np.zeros(len(rows), dtype=bool)
    for length in range(1, tokens.shape[1] + 1):
        loops, surplus = loops.extend(tokens[:, :length])
        for i, row in enumerate(rows):
            assert surplus[i] == surplus_of(row[:length], int(limits[i]), fewest)
            if fewest:
                continue
            looping = slow_most_repeats(row[:length]) > limits[i]
            assert (seen[i] or surplus[i] > 0) == looping
            if looping and not seen[i]:
                assert slow_most_repeats(row[: length - surplus[i]]) <= limits[i]
        seen |= surplus > 0
