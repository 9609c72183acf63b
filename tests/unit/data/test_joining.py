from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.data.words import word, write_words
from turnout.config import JoinConfig
from turnout.corpora.clips import read_clips
from turnout.data.joining import (
    Joining,
    background_power,
    draw_joining,
    join_waveforms,
    joined_text,
    joined_translations,
    speakers_of,
    word_span,
)

CONFIG = JoinConfig()
RATE = 16_000


def test_speakers_are_kept_apart(tmp_path: Path) -> None:
    clips = read_clips(write_words(tmp_path))
    speakers = speakers_of(clips)
    assert len(speakers) == 2
    for speaker in speakers:
        members = [clips[clip] for words in speaker for clip in words]
        assert len({clip.speaker for clip in members}) == 1
        assert len(members) == 12


def test_the_same_generator_gives_the_same_joining() -> None:
    speaker = ((0, 1), (2,), (3, 4, 5))
    first, again, other = (
        draw_joining(speaker, CONFIG, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert first == again != other


def test_words_are_balanced_over_texts_not_clips() -> None:
    speaker = (tuple(range(100)), (100,))
    rng = np.random.default_rng(0)
    drawn = Counter(
        clip == 100 for _ in range(500) for clip in draw_joining(speaker, CONFIG, rng).clips
    )
    assert 0.45 < drawn[True] / drawn.total() < 0.55


@pytest.mark.parametrize(("fewest", "most"), [(None, None), (2, None), (None, 1), (2, 3)])
def test_counts_and_gaps_stay_in_bounds(fewest: int | None, most: int | None) -> None:
    rng = np.random.default_rng(0)
    speaker = ((0,), (1,))
    drawn = [draw_joining(speaker, CONFIG, rng, fewest=fewest, most=most) for _ in range(200)]
    assert {len(joining.clips) for joining in drawn} == set(range(fewest or 1, (most or 6) + 1))
    for joining in drawn:
        assert len(joining.gaps) == len(joining.clips) + 1
        assert all(0.05 <= pause <= 0.3 for pause in joining.gaps[1:-1])
        assert 0 <= joining.gaps[0] <= 0.6 and 0 <= joining.gaps[-1] <= 0.6
    assert 0.2 < np.mean([joining.silent for joining in drawn]) < 0.4


def test_silent_gaps_are_digital_zero() -> None:
    joining = Joining(clips=(0, 1), gaps=(0.5, 0.25, 0.1), silent=True)
    samples = join_waveforms(
        [word("uno", 110.0), word("dos", 110.0)], joining, np.random.default_rng(0)
    )
    assert not samples[:8000].any() and not samples[-1600:].any()
    zeros = "".join("0" if value == 0 else "1" for value in samples)
    assert "0" * 4000 in zeros[9000:-2000]


def test_noisy_gaps_sound_like_the_clips_background() -> None:
    joining = Joining(clips=(0, 1), gaps=(0.5, 0.25, 0.5), silent=False)
    clips = [word("uno", 110.0), word("dos", 110.0)]
    samples = join_waveforms(clips, joining, np.random.default_rng(0))
    background = clips[0][:4000].std()
    assert samples[:8000].std() == pytest.approx(background, rel=0.25)


def test_gaps_of_narrowband_clips_are_narrowband() -> None:
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(16_000) * 0.01)
    spectrum[4000:] = 0.0
    clip = np.fft.irfft(spectrum).astype(np.float32)
    joining = Joining(clips=(0,), gaps=(0.5, 0.0), silent=False)
    gap = join_waveforms([clip], joining, np.random.default_rng(0))[:8000]
    power = np.abs(np.fft.rfft(gap)) ** 2
    assert power[2200:].mean() < 1e-3 * power[:1900].mean()


def test_texts_and_translations_are_joined(tmp_path: Path) -> None:
    clips = read_clips(write_words(tmp_path))
    pair = [clips[0], clips[3]]
    assert joined_text([clip.text for clip in pair], "es") == "uno dos"
    assert joined_translations(pair) == {"en": "one two"}
    assert joined_text(["今天", "好"], "yue-Hant") == joined_text(["今天", "好"], "zh") == "今天好"
    untranslated = type(clips[0])(**{**vars(clips[0]), "translations": {}})
    assert joined_translations([clips[0], untranslated]) == {}


def burst(noise: float, first: float = 0.4, last: float = 0.8) -> np.ndarray:
    rng = np.random.default_rng(3)
    time = np.arange(RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 300 * time) * ((time >= first) & (time < last))
    return (tone + noise * rng.standard_normal(RATE)).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 1e-5, 1e-3, 1e-2, 3e-2])
def test_a_word_is_found_whatever_the_noise_floor(noise: float) -> None:
    first, last = word_span(burst(noise))
    assert first / RATE == pytest.approx(0.35, abs=0.03)
    assert last / RATE == pytest.approx(0.85, abs=0.03)


def test_a_click_far_from_the_word_does_not_hold_the_clip_open() -> None:
    samples = burst(1e-4)
    samples[800] = 0.05
    assert word_span(samples)[0] / RATE > 0.3


def test_without_a_word_the_clip_is_kept_whole() -> None:
    rng = np.random.default_rng(0)
    for samples in (np.zeros(8000), np.full(8000, 0.2), 0.1 * rng.standard_normal(8000)):
        assert word_span(samples.astype(np.float32)) == (0, 8000)


def test_a_gentle_swell_is_no_word() -> None:
    noise = np.random.default_rng(0).standard_normal(16_000) * 0.01
    swell = 1.0 + 0.5 * np.sin(np.linspace(0, np.pi, 16_000)) ** 4
    assert word_span((noise * swell).astype(np.float32)) == (0, 16_000)


@settings(deadline=None)
@given(st.integers(0, 4000), st.integers(0, 2**32 - 1), st.booleans())
def test_the_span_lies_inside_the_clip_and_is_never_empty(
    count: int, seed: int, sparse: bool
) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal(count).astype(np.float32)
    samples[rng.random(count) < 0.9 * sparse] = 0.0
    first, last = word_span(samples)
    assert 0 <= first <= last <= count
    assert last > first or count == 0


def test_the_quietest_frames_are_the_background() -> None:
    power = np.full((40, 3), 100.0, np.float32)
    power[:8] = [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(background_power(power), [1.0, 2.0, 3.0])


def test_a_clip_without_words_adds_no_space() -> None:
    assert joined_text(["", "uno", "", "dos", ""], "es") == "uno dos"
