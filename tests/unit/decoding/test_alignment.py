"""CTC's alignment beside its plain twin, to the bit."""

from math import inf

import numpy as np
import pytest
from numpy.typing import NDArray

from turnout.decoding.alignment import align, backtrack, viterbi


def plain(emissions: NDArray[np.float64], may_skip: NDArray[np.bool_]) -> NDArray[np.int8]:
    """As `viterbi`, a label at a time."""
    frames, count = emissions.shape
    moves = np.zeros((frames + 1, count), dtype=np.int8)
    score = [*emissions[0, :2], *[-inf] * (count - 2)]
    for frame in range(1, frames):
        options = [
            (
                score[label],
                score[label - 1] if label > 0 else -inf,
                score[label - 2] if label > 1 and may_skip[label] else -inf,
            )
            for label in range(count)
        ]
        # Of equals the shortest move.
        moves[frame] = [each.index(max(each)) for each in options]
        score = [max(each) + heard for each, heard in zip(options, emissions[frame], strict=True)]
    moves[frames, -1] = 0 if count == 1 or score[-1] >= score[-2] else 1
    return moves


@pytest.mark.parametrize("seed", range(12))
def test_paths_are_those_of_the_plain_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames, tokens = int(rng.integers(1, 40)), int(rng.integers(0, 8))
    # Whole numbers, among which there are equals; and what can never be.
    emissions = -rng.integers(0, 4, (frames, 2 * tokens + 1)).astype(np.float64)
    emissions[rng.random(emissions.shape) < 0.05] = -inf
    may_skip = np.zeros(2 * tokens + 1, dtype=bool)
    may_skip[3::2] = rng.random(max(tokens - 1, 0)) < 0.7
    found = viterbi(emissions, may_skip)
    assert found.dtype == np.int8 and np.array_equal(found, plain(emissions, may_skip))


def test_tokens_lie_where_they_are_heard() -> None:
    log_probs = np.full((6, 3), -5.0, np.float32)
    log_probs[[0, 1, 2, 3, 4, 5], [0, 1, 1, 0, 1, 2]] = -0.1
    spikes = align(log_probs, (1, 1, 2), 0)
    assert spikes.first.tolist() == [1, 4, 5] and spikes.last.tolist() == [2, 4, 5]
    # One frame less than tokens and the blank that parts equal ones: spread evenly.
    assert align(log_probs[:3], (1, 1, 2), 0).first.tolist() == [0, 1, 2]


def test_a_single_frame_has_a_path() -> None:
    moves = viterbi(np.array([[-1.0, -2.0, -inf]]), np.zeros(3, dtype=bool))
    assert backtrack(moves).tolist() == [1]
