from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.words import word, write_words
from turnout.config import JoinConfig
from turnout.corpora.clips import read_clips
from turnout.data.joining import (
    Joining,
    Speaker,
    draw_joining,
    join_waveforms,
    joined_text,
    joined_translations,
    speakers_of,
)

CONFIG = JoinConfig()


def test_speakers_are_kept_apart(tmp_path: Path) -> None:
    clips = read_clips(write_words(tmp_path))
    speakers = speakers_of(clips)
    assert len(speakers) == 2
    for speaker in speakers:
        members = [clips[clip] for words in speaker.words for clip in words]
        assert len({clip.speaker for clip in members}) == 1
        assert speaker.num_clips == 12


def test_the_same_generator_gives_the_same_joining() -> None:
    speaker = Speaker(((0, 1), (2,), (3, 4, 5)))
    first, again, other = (
        draw_joining(speaker, CONFIG, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert first == again != other


def test_words_are_balanced_over_texts_not_clips() -> None:
    speaker = Speaker((tuple(range(100)), (100,)))
    rng = np.random.default_rng(0)
    drawn = Counter(
        clip == 100 for _ in range(500) for clip in draw_joining(speaker, CONFIG, rng).clips
    )
    assert 0.45 < drawn[True] / drawn.total() < 0.55


@pytest.mark.parametrize(("fewest", "most"), [(None, None), (2, None), (None, 1), (2, 3)])
def test_counts_and_gaps_stay_in_bounds(fewest: int | None, most: int | None) -> None:
    rng = np.random.default_rng(0)
    speaker = Speaker(((0,), (1,)))
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
    untranslated = type(clips[0])(**{**vars(clips[0]), "translations": {}})
    assert joined_translations([clips[0], untranslated]) == {}
