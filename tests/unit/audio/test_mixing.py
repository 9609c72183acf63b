"""The channels of a recording: mixed as long as nothing cancels, and heard where something does."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.containers import encode
from turnout.audio.mixing import Mixer
from turnout.audio.waveform import Waveform, read_audio
from turnout.errors import AudioError

Floats = NDArray[np.float32]
RATE = 16_000


def voice(seconds: float = 1.0, seed: int = 0) -> Floats:
    """A gliding vowel with the level of a sentence, and noise beneath."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(3 * time + seed)) / RATE
    sound = sum(np.sin(n * phase + random.uniform(0, 6)) / n for n in range(1, 20))
    level = 0.05 + 0.1 * np.sin(2 * np.pi * 2 * time + seed) ** 2
    return (level * sound + 1e-4 * random.standard_normal(len(time))).astype(np.float32)


def read(channels: Floats, **options: int) -> Waveform:
    return read_audio(encode(channels, RATE, "WAV", "FLOAT"), **options)


def stereo(left: Floats, right: Floats) -> Floats:
    return np.stack([left, right], axis=1)


def heard_share(read: Floats, spoken: Floats) -> float:
    """How much of what was spoken is in what was read; 1 is all of it, whatever its sign."""
    return float(abs(read @ spoken) / (spoken @ spoken))


ORDINARY = {
    "in phase": stereo(voice(), voice()),
    "to one side": stereo(voice(), 0.3 * voice()),
    "a dead channel": stereo(voice(), 0 * voice()),
    "two voices": stereo(voice(seed=1), voice(seed=2)),
    "one of six": np.outer(voice(), np.eye(6)[3]).astype(np.float32),
    "opposed offsets": stereo(0.5 + voice(), voice() - 0.5),
    "little of it opposed": stereo(voice(), -0.3 * voice()),
    "silence": np.zeros((RATE, 2), np.float32),
}


@pytest.mark.parametrize("layout", ORDINARY)
def test_what_does_not_cancel_is_the_mean(layout: str) -> None:
    channels = ORDINARY[layout]
    wave = read(channels)
    np.testing.assert_array_equal(wave.samples[1:], channels.mean(axis=1)[1:])
    assert wave.warnings == ()


@pytest.mark.parametrize("loudness", [0.01, 1.0, 5.0])
@pytest.mark.parametrize("seconds", [0.3, 3.0, 12.0])
def test_opposed_sound_behind_loud_sound_in_phase_is_heard(loudness: float, seconds: float) -> None:
    spoken = loudness * voice(seconds)
    before, behind = voice(3.02), voice(0.91, seed=5)
    channels = np.concatenate(
        [stereo(before, before), stereo(spoken, -spoken), stereo(behind, behind)]
    )
    wave = read(channels)
    place = slice(len(before), len(before) + len(spoken))
    assert heard_share(wave.samples[place], spoken) > 1 - 0.05 / seconds
    np.testing.assert_array_equal(wave.samples[1 : len(before)], before[1:])
    later = place.stop + RATE // 10
    np.testing.assert_array_equal(wave.samples[later:], behind[later - place.stop :])
    (warning,) = wave.warnings
    start, end = 3.0, 3.0 + seconds
    said = [float(word) for word in warning.split() if word.replace(".", "").isdigit()]
    assert said == pytest.approx([start, end], abs=0.11)
    assert warning.startswith("channels cancel each other")


def test_opposed_with_noise_of_their_own_keeps_its_words() -> None:
    random = np.random.default_rng(0)
    spoken = voice(4.0)
    noises = 0.01 * random.standard_normal((len(spoken), 2)).astype(np.float32)
    wave = read(stereo(spoken, -0.9 * spoken) + noises)
    assert heard_share(wave.samples, spoken) > 0.95


@pytest.mark.parametrize("samples", [1, 8, 40, 160])
def test_a_delayed_channel_leaves_the_voice(samples: int) -> None:
    spoken = voice(4.0)
    late = np.concatenate([np.zeros(samples, np.float32), spoken[:-samples]])
    heard = read(stereo(spoken, late)).samples
    frames = [np.square(part[: RATE * 4]).reshape(-1, 800).mean(axis=1) for part in (heard, spoken)]
    assert (frames[0][1:] > 0.05 * frames[1][1:]).all()


def test_what_is_opposed_to_another_is_left_out_and_others_are_kept() -> None:
    one = voice(seed=1)
    other = 0.03 * np.random.default_rng(0).standard_normal(len(one)).astype(np.float32)
    (wave, pair) = (read(np.stack([one, -one, other], axis=1)), read(stereo(one, other)))
    np.testing.assert_allclose(wave.samples, pair.samples, atol=1e-6)
    assert len(wave.warnings) == 1
    four = read(np.stack([one, one, -one, -one], axis=1))
    np.testing.assert_allclose(four.samples[1:], one[1:], atol=1e-6)


def test_nothing_clicks_where_the_mix_is_left_and_taken_again() -> None:
    """A low tone's steps from sample to sample stay those of the tone."""
    tone = np.sin(2 * np.pi * 200 * np.arange(4 * RATE) / RATE).astype(np.float32)
    sign = np.where(np.arange(len(tone)) // RATE % 2, -1, 1).astype(np.float32)
    mixer = Mixer(2, RATE)
    mixed = np.concatenate([mixer.mix(stereo(sign * tone, 0.9 * tone)), mixer.rest()])
    steps = np.abs(np.diff(mixed))
    assert steps.max() < 2 * np.abs(np.diff(tone)).max()


@pytest.mark.parametrize("rate", [8000, 11_025, 16_001])
def test_the_length_of_blocks_does_not_matter(rate: int) -> None:
    spoken = voice(3.0)
    signs = np.where(np.arange(len(spoken)) // 7000 % 2, -0.9, 1).astype(np.float32)
    channels = stereo(spoken, signs * spoken)
    whole = Mixer(2, rate)
    expected = np.concatenate([whole.mix(channels), whole.rest()])
    for seed in range(5):
        cuts = np.sort(np.random.default_rng(seed).integers(0, len(channels), 30))
        mixer = Mixer(2, rate)
        parts = [mixer.mix(channels[a:b]) for a, b in pairwise([0, *cuts, len(channels)])]
        np.testing.assert_array_equal(np.concatenate([*parts, mixer.rest()]), expected)
        assert mixer.warnings == whole.warnings != []


def test_many_places_are_told_in_one_short_line() -> None:
    spoken = voice(0.5)
    once = np.concatenate([stereo(spoken, -spoken), *[stereo(spoken, spoken)] * 3])
    (warning,) = read(np.concatenate([once] * 9)).warnings
    assert "0.0 to 0.5 s, 2.0 to 2.5 s" in warning
    assert warning.endswith(", 4 more places")


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_a_channel_that_nobody_hears_may_hold_anything(value: float) -> None:
    channels = stereo(voice(), voice(seed=1))
    channels[5000, 1] = value
    np.testing.assert_array_equal(read(channels, channel=0).samples[1:], channels[1:, 0])
    for options in ({}, {"channel": 1}):
        with pytest.raises(AudioError, match="holds NaN, infinite or absurdly large"):
            read(channels, **options)
    with pytest.raises(AudioError, match="write the file again, or choose channel 0$"):
        read(channels)
