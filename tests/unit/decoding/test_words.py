from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.doubles import tokenizer
from turnout.decoding.alignment import Spikes
from turnout.decoding.words import (
    CHANGE,
    COMPARED,
    HUSH,
    MOST_CHANGE,
    NO_WORD,
    behind_spikes,
    beside_sounds,
    choices_between,
    costs_of_lengths,
    cuts_between,
    lengths_until,
    loudness_and_change,
    spans,
    strayed,
    word_groups,
    words_of,
)

FACTOR = 4


def loud(*stretches: tuple[float, float], seconds: float = 3.0, floor: float = -2.0) -> NDArray:
    """[frames, mels]: loud from ... to ... seconds, with faint noise elsewhere."""
    rng = np.random.default_rng(0)
    log_mel = floor + 0.05 * rng.standard_normal((round(seconds * 100), 80))
    for begin, end in stretches:
        log_mel[round(begin * 100) : round(end * 100)] += 3
    return log_mel.astype(np.float32)


def spikes(text: str, *times: float) -> Spikes:
    tokens = tuple(tokenizer().encode(text))
    frames = np.array([round(time * 100) // FACTOR for time in times])
    assert len(frames) == len(tokens)
    return Spikes(tokens, frames, frames)


def test_words_take_what_is_loud_around_their_spikes() -> None:
    log_mel = loud((0.5, 0.9), (1.2, 1.6), (2.0, 2.5))
    # A spike inside its word, one at the end, one in the silence behind it.
    words = words_of(log_mel, spikes("one two no", 0.7, 1.58, 2.6), FACTOR, tokenizer())
    assert [word.word for word in words] == ["one", "two", "no"]
    expected = [(0.5, 0.9), (1.2, 1.6), (2.0, 2.5)]
    for word, (begin, end) in zip(words, expected, strict=True):
        assert word.start == pytest.approx(begin, abs=0.04)
        assert word.end == pytest.approx(end, abs=0.04)


def test_words_without_a_pause_are_parted_between_their_spikes() -> None:
    words = words_of(loud((0.5, 1.5)), spikes("one two", 0.7, 1.3), FACTOR, tokenizer())
    assert words[0].start == pytest.approx(0.5, abs=0.04)
    assert 0.7 <= words[0].end <= words[1].start <= 1.34
    assert words[1].end == pytest.approx(1.5, abs=0.04)


def test_a_far_noise_belongs_to_no_word() -> None:
    log_mel = loud((0.1, 0.2), (4.0, 4.4), (7.0, 7.1), seconds=8)
    (word,) = words_of(log_mel, spikes("one", 4.2), FACTOR, tokenizer())
    assert (word.start, word.end) == (pytest.approx(4.0, abs=0.04), pytest.approx(4.4, abs=0.04))


def test_words_of_several_tokens() -> None:
    tokens = tokenizer().encode("one zyx one")
    groups = word_groups(tokens, tokenizer())
    assert [tokenizer().decode(tokens[group]) for group in groups] == ["one", "zyx", "one"]
    assert groups[0].start == 0 and groups[-1].stop == len(tokens)
    assert word_groups([], tokenizer()) == []


def test_no_text_has_no_times() -> None:
    empty = Spikes((), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    assert words_of(loud(), empty, FACTOR, tokenizer()) == ()


@pytest.mark.parametrize("frames", [1, 2, 7, 40])
@pytest.mark.parametrize("flat", [True, False])
def test_times_are_ordered_whatever_the_signal(frames: int, flat: bool) -> None:
    rng = np.random.default_rng(frames)
    log_mel = np.zeros((frames, 80)) if flat else rng.standard_normal((frames, 80))
    count = 5
    first = np.sort(rng.integers(0, frames, count))
    begins, ends = spans(log_mel.astype(np.float32), first, np.minimum(first + 3, frames))
    assert (begins < ends).all()
    assert (begins[1:] >= begins[:-1]).all()
    assert begins.min() >= 0
    assert ends.max() <= frames


def test_spikes_behind_their_words_do_not_move_the_words() -> None:
    sounds = [(0.5, 0.9), (1.2, 1.6), (2.0, 2.5)]
    words = words_of(loud(*sounds), spikes("one two no", 1.0, 1.75, 2.6), FACTOR, tokenizer())
    for word, (begin, end) in zip(words, sounds, strict=True):
        assert (word.start, word.end) == (
            pytest.approx(begin, abs=0.04), pytest.approx(end, abs=0.04),
        )  # fmt: skip


def test_a_spike_behind_two_words_without_a_pause_leaves_both_a_part() -> None:
    log_mel = loud((0.5, 1.0), (1.03, 1.5))
    words = words_of(log_mel, spikes("one two", 0.9, 1.6), FACTOR, tokenizer())
    assert words[0].start == pytest.approx(0.5, abs=0.04)
    assert 0.9 <= words[0].end <= words[1].start <= 1.4
    assert words[1].end == pytest.approx(1.5, abs=0.04)


def test_a_word_too_soft_to_be_heard_takes_nothing_of_the_one_before_it() -> None:
    sounds = [(0.2, 0.8), (4.0, 4.5)]
    log_mel = loud(*sounds, seconds=5)
    words = words_of(log_mel, spikes("one two no", 0.4, 2.9, 4.6), FACTOR, tokenizer())
    assert words[0].end == pytest.approx(0.8, abs=0.04)
    assert words[0].end <= words[1].start < words[1].end <= words[2].start
    assert words[1].start == pytest.approx(2.9, abs=0.1)


def test_words_follow_one_another() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        log_mel = rng.standard_normal((300, 80)).cumsum(axis=0).astype(np.float32)
        where = np.sort(rng.choice(70, 3, replace=False)) * FACTOR / 100
        found = spikes("one two no", *where)
        words = words_of(log_mel, found, FACTOR, tokenizer())
        assert all(a.end <= b.start for a, b in pairwise(words))
        assert all(word.start < word.end for word in words)


def test_a_stop_inside_the_second_word_does_not_part_the_words() -> None:
    """Two words without a pause: it is softer where they meet, silent inside the second."""
    log_mel = loud((0.5, 1.09), (1.15, 1.7))
    log_mel[88:92] -= 1.5
    words = words_of(log_mel, spikes("one two", 0.82, 1.6), FACTOR, tokenizer())
    assert words[0].start == pytest.approx(0.5, abs=0.04)
    assert words[0].end == pytest.approx(0.9, abs=0.04)
    assert words[1].start == pytest.approx(0.9, abs=0.04)
    assert words[1].end == pytest.approx(1.7, abs=0.04)


def test_a_pause_parts_words_however_far_it_is_behind_the_spike() -> None:
    log_mel = loud((0.2, 1.1), (1.4, 2.0))
    words = words_of(log_mel, spikes("one two", 0.4, 1.9), FACTOR, tokenizer())
    assert [word.end for word in words] == [pytest.approx(1.1, abs=0.04), pytest.approx(2.0, 0.04)]
    assert words[1].start == pytest.approx(1.4, abs=0.04)


def test_words_without_a_pause_are_parted_where_the_sound_changes() -> None:
    log_mel = loud((0.5, 1.5))
    log_mel[102:150, :40] += 1
    log_mel[102:150, 40:] -= 1
    words = words_of(log_mel, spikes("one two", 0.8, 1.4), FACTOR, tokenizer())
    assert words[0].end == words[1].start == pytest.approx(1.02, abs=0.02)


def test_a_spike_that_comes_early_makes_no_short_word() -> None:
    """Three words of half a second: the second's spike is 0.2 s earlier in it than the others'."""
    words = words_of(loud((0.5, 2.0)), spikes("one two no", 0.9, 1.2, 1.9), FACTOR, tokenizer())
    assert words[0].end == pytest.approx(1.0, abs=0.06)
    assert words[1].end == pytest.approx(1.5, abs=0.12)


def pieces(text: str) -> list[str]:
    tokens = tuple(tokenizer().encode(text))
    frames = np.arange(len(tokens))
    found = words_of(
        loud(), Spikes(tokens, frames, frames), 1, tokenizer(), [-1.0] * len(tokens), spaced=False
    )
    assert all(word.probability == pytest.approx(np.exp(-1.0)) for word in found)
    return [word.word for word in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今天天气很好。", ["今", "天", "天", "气", "很", "好。"]),
        ("他说：「好」", ["他", "说：", "「好」"]),
        ("用 WiFi 上网35天", ["用", " WiFi", " 上", "网", "35", "天"]),
        ("กิน ข้าว", ["กิ", "น", " ข้", "า", "ว"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("ཞིང་", ["ཞི", "ང་"]),
        ("👍🏽カー゛", ["👍🏽", "カー゛"]),
        ("two no", ["two", " no"]),
        ("", []),
    ],
)
def test_a_language_without_spaces_has_its_characters_for_words(
    text: str, expected: list[str]
) -> None:
    found = pieces(text)
    assert found == expected
    assert "".join(found) == text


def test_characters_have_times_of_their_own() -> None:
    text = "你好吗"
    tokens = tuple(tokenizer().encode(text))
    assert len(tokens) == 10, "a space, and three bytes of each character"
    times = [0.5, *np.linspace(0.5, 0.7, 3), *np.linspace(0.9, 1.1, 3), *np.linspace(1.3, 1.5, 3)]
    frames = np.array([round(time * 100) // FACTOR for time in times])
    found = words_of(
        loud((0.4, 1.7)), Spikes(tokens, frames, frames), FACTOR, tokenizer(), spaced=False
    )
    assert [word.word for word in found] == list(text)
    assert (found[0].start, found[-1].end) == (
        pytest.approx(0.4, abs=0.04),
        pytest.approx(1.7, 0.03),
    )
    for before, after, time in zip(found[:-1], found[1:], (0.8, 1.2), strict=True):
        assert before.end == pytest.approx(time, abs=0.1)
        assert before.end <= after.start == pytest.approx(time, abs=0.1)


@pytest.mark.parametrize("frames", [20, 60, 300])
def test_change_is_that_between_the_means_of_neighbouring_frames(frames: int) -> None:
    log_mel = loud((0.01, frames / 200), seconds=frames / 100)
    loudness, change = loudness_and_change(log_mel)
    edged = [log_mel[min(max(i, 0), frames - 1)] for i in range(-COMPARED, frames + COMPARED - 1)]
    means = [
        np.mean(edged[i : i + COMPARED], axis=0, dtype=float) for i in range(frames + COMPARED)
    ]
    wanted = np.array([np.abs(means[i + COMPARED] - means[i]).mean() for i in range(frames)])
    assert len(loudness) == len(change) == frames
    below = change < MOST_CHANGE
    assert below.any()
    # In terms of the way from silence to full loudness, which is one for all frames.
    ways = wanted[below] / change[below]
    smooth = [log_mel[i - 1 : i + 2].mean(dtype=float) for i in (5, frames - 6)]
    way = (smooth[0] - smooth[1]) / (loudness[5] - loudness[frames - 6])
    assert ways == pytest.approx(way)


def parted_plainly(loudness: NDArray, change: NDArray, first: NDArray, last: NDArray) -> list[int]:
    """As `cuts_between`, one place after the other."""
    frames, words = len(loudness), len(last)
    sound, lengths = np.maximum(loudness, HUSH) - CHANGE * change, lengths_until(loudness)
    ends = last + behind_spikes(loudness, last)
    costs = costs_of_lengths(lengths, ends)
    choices = [np.zeros(1, np.int64), *choices_between(frames, first, last), np.array([frames])]
    ways: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for word, after in enumerate(choices[1:]):
        known, ways = ways, {}
        beyond = sound[after] + strayed(after - ends[word]) if word < words - 1 else np.zeros(1)
        for place, more in zip(after.tolist(), beyond, strict=True):
            found = [
                (
                    NO_WORD
                    if before >= place
                    else cost + costs[word][lengths[place] - lengths[before]]
                )
                for before, (cost, _) in known.items()
            ]
            best = found.index(min(found))
            before, (_, cuts) = list(known.items())[best]
            ways[place] = found[best] + more, [*cuts, before]
    ((_, cuts),) = ways.values()
    return beside_sounds(loudness, np.array(cuts[1:], dtype=np.int64)).tolist()


@pytest.mark.parametrize("seed", range(8))
def test_words_are_parted_as_the_plain_way_parts_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = int(rng.integers(40, 200))
    log_mel = loud((0.1, 0.2), (0.25, 0.35), seconds=frames / 100) + rng.random((frames, 1))
    loudness, change = loudness_and_change(log_mel.astype(np.float32))
    first = np.sort(rng.integers(0, frames - 1, int(rng.integers(1, 6))))
    last = np.minimum(first + rng.integers(1, 8, len(first)), frames)
    found = cuts_between(loudness, change, first, last)
    assert found.tolist() == parted_plainly(loudness, change, first, last)
