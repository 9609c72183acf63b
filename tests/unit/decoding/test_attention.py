"""Where the decoder attends: held against transformers' own steps of the same work."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.whisper.generation_whisper import (
    _dynamic_time_warping,
    _median_filter,
)

from tests.tiny_whisper import whisper_tokenizer
from turnout.decoding.attention import attended_spans, first_frames, medians, normalised, warped
from turnout.decoding.words import attended_words

TOKENIZER = whisper_tokenizer()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 1000))
def test_the_best_way_is_transformers_own(tokens: int, frames: int, seed: int) -> None:
    cost = np.random.default_rng(seed).standard_normal((tokens, frames))
    text, time = _dynamic_time_warping(cost)
    expected = [int(time[text == i].min()) for i in range(tokens)]
    assert first_frames(warped(cost)).tolist() == expected


@given(st.integers(1, 30), st.integers(0, 1000))
@settings(deadline=None)
def test_medians_are_transformers_own(frames: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal((2, 3, frames)).astype(np.float32)
    expected = _median_filter(torch.from_numpy(values)[None], 7)[0].numpy()
    np.testing.assert_array_equal(medians(values), expected)


def diagonal(frames: int, places: list[tuple[int, int]], noise: float = 0.0) -> np.ndarray:
    """Attention [heads, tokens, frames] of tokens to these stretches of frames."""
    rng = np.random.default_rng(0)
    weights = noise * rng.random((2, len(places), frames)) + 1e-4
    for token, (first, last) in enumerate(places):
        weights[:, token, first : last + 1] += 1
    return (weights / weights.sum(axis=2, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_tokens_lie_where_what_is_before_them_attends(noise: float) -> None:
    """The prompt's last token attends to what is written first, the text's last to the silence
    behind it."""
    places = [(0, 0), (0, 0), (5, 24), (25, 49), (50, 79), (80, 99), (99, 99)]
    spikes = attended_spans(diagonal(100, places, noise), 3, (1, 2, 3))
    assert spikes.tokens == (1, 2, 3)
    assert abs(spikes.first - [0, 25, 50]).max() <= 2
    assert abs(spikes.last - [24, 49, 79]).max() <= 2


@given(st.integers(1, 6), st.integers(1, 30), st.integers(0, 99))
@settings(deadline=None)
def test_spans_are_in_order_whatever_is_attended_to(tokens: int, frames: int, seed: int) -> None:
    """Even of more tokens than frames."""
    weights = np.random.default_rng(seed).random((2, tokens + 3, frames)).astype(np.float32)
    spikes = attended_spans(weights, 2, tuple(range(tokens)))
    assert len(spikes.first) == len(spikes.last) == tokens
    assert (spikes.first >= 0).all() and (spikes.last < frames).all()
    assert (spikes.first <= spikes.last).all()
    assert (np.diff(spikes.first) >= 0).all()


def test_a_head_that_attends_alike_is_no_error() -> None:
    assert np.isfinite(normalised(np.full((1, 4, 9), 1 / 9, dtype=np.float32))).all()


def words(text: str, spaced: bool = True) -> list[str]:
    tokens = tuple(TOKENIZER.encode(text))
    frames = 10 * len(tokens)
    places = [(0, 0), *((10 * i, 10 * i + 9) for i in range(len(tokens))), (frames - 1, frames - 1)]
    spikes = attended_spans(diagonal(frames, [(0, 0), *places], 0.01), 2, tokens)
    log_mel = np.random.default_rng(0).random((2 * frames, 80)).astype(np.float32)
    found = attended_words(log_mel, spikes, 2, TOKENIZER, (), spaced)
    assert all(a.start <= a.end <= b.start + 1e-6 for a, b in pairwise(found))
    return [word.word for word in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the cat, the mat.", ["the", "cat,", "the", "mat."]),
        ("the cat - the mat", ["the", "cat", "- the", "mat"]),
        ("the ( cat ) sat", ["the", "( cat )", "sat"]),
        ("¿ the cat ?", ["¿ the", "cat ?"]),
        ("the cat ...", ["the", "cat ..."]),
        ("the -", ["the -"]),
        ("...", ["..."]),
        ("the cat's mat", ["the", "cat's", "mat"]),
    ],
)
def test_punctuation_is_part_of_a_word(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_characters_are_words_where_none_are_written() -> None:
    assert words("一二三四五naß", spaced=False) == ["一二三四五", "naß"]
