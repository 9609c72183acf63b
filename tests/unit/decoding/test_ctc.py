from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from turnout.decoding.alignment import align, best_path
from turnout.decoding.ctc import PrefixScorer, prefix_beam

BLANK = 0
TEXT = np.array([False, True, True, True])
Text = tuple[int, ...]


def emissions(seed: int, frames: int) -> NDArray[np.float32]:
    """Random log-probabilities [frames, 4]."""
    logits = 2 * np.random.default_rng(seed).standard_normal((frames, len(TEXT)))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def merged(path: tuple[int, ...]) -> Text:
    return tuple(token for token, _ in groupby(path) if token != BLANK)


def all_paths(log_probs: NDArray[np.float32]) -> dict[tuple[int, ...], float]:
    """Every path with its log-probability: the slow twin of everything here."""
    frames, size = log_probs.shape
    return {
        path: float(log_probs[np.arange(frames), path].sum())
        for path in product(range(size), repeat=frames)
    }


def all_texts(log_probs: NDArray[np.float32]) -> dict[Text, float]:
    texts: dict[Text, float] = {}
    for path, log_prob in all_paths(log_probs).items():
        text = merged(path)
        texts[text] = float(np.logaddexp(texts.get(text, -np.inf), log_prob))
    return texts


CASES = given(st.integers(0, 10_000), st.integers(1, 5))


@CASES
@settings(max_examples=25, deadline=None)
def test_best_path_is_the_best_of_all(seed: int, frames: int) -> None:
    log_probs = emissions(seed, frames)
    paths = all_paths(log_probs)
    found = best_path(log_probs, TEXT, BLANK)
    best = max(paths, key=lambda path: paths[path])
    spikes = found.spikes
    assert spikes.tokens == merged(best)
    assert found.log_prob_empty == pytest.approx(paths[(BLANK,) * frames], abs=1e-4)
    for token, first, last in zip(spikes.tokens, spikes.first, spikes.last, strict=True):
        assert set(best[first : last + 1]) == {token}


def test_best_path_by_hand() -> None:
    path = [0, 1, 1, 0, 1, 2, 2]
    log_probs = np.log(np.eye(4, dtype=np.float32)[path] * 0.9 + 0.025)
    found = best_path(log_probs, TEXT, BLANK).spikes
    assert found.tokens == (1, 1, 2)
    assert found.first.tolist() == [1, 4, 5]
    assert found.last.tolist() == [2, 4, 6]
    assert found.peak_log_probs(log_probs) == pytest.approx([np.log(0.925)] * 3)


def test_best_path_writes_nothing_that_is_no_text() -> None:
    log_probs = np.log(np.eye(4, dtype=np.float32)[[3, 1]] * 0.9 + 0.025)
    only_first = np.array([False, True, False, False])
    assert best_path(log_probs, only_first, BLANK).spikes.tokens == (1,)


@CASES
@settings(max_examples=25, deadline=None)
def test_wide_prefix_beam_is_exact(seed: int, frames: int) -> None:
    log_probs = emissions(seed, frames)
    texts = all_texts(log_probs)
    tokens, log_prob = prefix_beam(log_probs, TEXT, BLANK, beam_size=2000)
    assert log_prob == pytest.approx(max(texts.values()), abs=1e-4)
    assert texts[tokens] == pytest.approx(log_prob, abs=1e-4)


@CASES
@settings(max_examples=25, deadline=None)
def test_alignment_is_the_best_path_of_its_text(seed: int, frames: int) -> None:
    log_probs = emissions(seed, frames)
    paths = all_paths(log_probs)
    for text in {merged(path) for path in paths}:
        found = align(log_probs, text, BLANK)
        path = np.full(frames, BLANK)
        for token, a, b in zip(text, found.first, found.last, strict=True):
            path[a : b + 1] = token
        best = max(score for other, score in paths.items() if merged(other) == text)
        assert merged(tuple(path.tolist())) == text
        assert log_probs[np.arange(frames), path].sum() == pytest.approx(best, abs=1e-4)


def test_alignment_of_more_tokens_than_frames() -> None:
    found = align(emissions(0, 2), (1, 2, 3, 1), BLANK)
    assert found.first.tolist() == found.last.tolist() == [0, 0, 1, 1]
    nothing = align(emissions(0, 2), (), BLANK)
    assert len(nothing.first) == len(nothing.last) == 0


def batch_of(lengths: list[int], seed: int) -> PrefixScorer:
    """Utterances of these lengths, padded with noise that must not count."""
    longest = max(lengths)
    log_probs = np.stack([emissions(seed + i, longest) for i in range(len(lengths))])
    mask = np.arange(longest) < np.array(lengths)[:, None]
    return PrefixScorer(log_probs, mask, BLANK)


@given(st.integers(0, 10_000), st.lists(st.integers(1, 5), min_size=1, max_size=3))
@settings(max_examples=15, deadline=None)
def test_whole_texts_score_as_the_sum_of_their_paths(seed: int, lengths: list[int]) -> None:
    scorer = batch_of(lengths, seed)
    for row, length in enumerate(lengths):
        texts = all_texts(scorer.log_probs[row, :length])
        scores = scorer.score(np.full(len(texts), row), list(texts))
        np.testing.assert_allclose(scores, list(texts.values()), atol=1e-4)


@given(st.integers(0, 10_000), st.lists(st.integers(1, 5), min_size=1, max_size=3))
@settings(max_examples=15, deadline=None)
def test_prefixes_score_as_the_sum_of_the_texts_they_begin(seed: int, lengths: list[int]) -> None:
    scorer = batch_of(lengths, seed)
    rows = np.arange(len(lengths))
    texts = [all_texts(scorer.log_probs[row, :length]) for row, length in enumerate(lengths)]
    choices = np.tile(np.arange(1, len(TEXT)), (len(lengths), 1))
    prefixes, written = scorer.start(rows), ()
    for token in (1, 2, 2):
        scores = scorer.scores(prefixes, choices)
        for row in rows:
            for choice, score in zip(choices[row], scores[row], strict=True):
                begun = (*written, int(choice))
                expected = [p for text, p in texts[row].items() if text[: len(begun)] == begun]
                total = np.logaddexp.reduce(expected) if expected else -np.inf
                # Where no path is long enough the score is only bounded: emissions are floored.
                assert score == pytest.approx(total, abs=1e-4) or max(score, total) < -70
        prefixes = scorer.advance(prefixes, rows, np.full(len(rows), token))
        written = (*written, token)


def test_impossible_texts_score_as_impossible() -> None:
    scorer = batch_of([2, 5], 0)
    scores = scorer.score(np.array([0, 0, 1]), [(1, 1), (1, 2, 3), (1, 1)])
    assert (scores[:2] < -70).all()
    assert scores[2] > -70


def test_certain_emissions_stay_finite() -> None:
    log_probs = np.full((1, 1500, 4), -np.inf, dtype=np.float32)
    log_probs[:, :, BLANK] = 0
    log_probs[0, 700] = [-np.inf, 0, -np.inf, -np.inf]
    scorer = PrefixScorer(log_probs, np.ones((1, 1500), dtype=bool), BLANK)
    scores = scorer.score(np.zeros(2, dtype=np.int64), [(1,), (2,)])
    assert scores[0] == pytest.approx(0, abs=1e-6)
    assert scores[1] < -70


def test_padding_changes_no_prefix_score() -> None:
    padded = batch_of([2, 5], 0)
    alone = PrefixScorer(padded.log_probs[:1, :2], padded.frame_mask[:1, :2], BLANK)
    row, choices = np.zeros(1, dtype=np.int64), np.array([[1, 2, 3]])
    scores = []
    for scorer in (padded, alone):
        prefixes = scorer.start(row)
        for token in (1, 2, 1):  # more than two frames can hold
            prefixes = scorer.advance(prefixes, row, np.array([token]))
        scores.append(scorer.scores(prefixes, choices))
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-9)


def test_padding_makes_no_room_for_a_text_that_is_too_long() -> None:
    padded = batch_of([2, 9], 0)
    texts = [(1, 2), (1, 2, 1), (1, 1), (3, 3, 3, 3)]
    scores = padded.score(np.zeros(len(texts), dtype=np.int64), texts)
    assert np.isfinite(scores[0])
    assert np.isneginf(scores[1:]).all(), "a text that two frames cannot hold"
