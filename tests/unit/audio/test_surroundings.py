"""Rooms, noise, clipping and level: the figures that were asked for, measured."""

import numpy as np
import pytest

from tests.unit.audio.test_codecs import voice
from turnout.audio.surroundings import at_level, clipped, in_room, with_noise


def decibels(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.square(samples, dtype=np.float64).mean()))


@pytest.mark.parametrize("snr_db", [5.0, 17.5, 30.0])
@pytest.mark.parametrize("length", [400, 8000, 90_000])
def test_noise_has_the_ratio_asked_for(snr_db: float, length: int) -> None:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(length).astype(np.float32) * np.linspace(0.01, 1, length)
    speech = voice(3.0, 16_000)
    added = with_noise(speech, noise.astype(np.float32), snr_db, length // 3) - speech
    assert decibels(speech) - decibels(added) == pytest.approx(snr_db, abs=0.1)


def test_noise_begins_where_it_is_asked_to() -> None:
    noise = np.random.default_rng(1).standard_normal(5000).astype(np.float32)
    speech = voice(1.0)
    first, again = (with_noise(speech, noise, 10.0, 700) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    behind = first - speech
    assert np.corrcoef(behind[:4300], noise[700:])[0, 1] > 0.999
    assert np.corrcoef(behind[4300:5000], noise[:700])[0, 1] > 0.999


def test_where_one_is_silent_nothing_is_added() -> None:
    silence, speech = np.zeros(8000, np.float32), voice(1.0)
    np.testing.assert_array_equal(with_noise(speech, silence, 5.0, 0), speech)
    np.testing.assert_array_equal(with_noise(silence, speech, 5.0, 0), silence)
    assert with_noise(silence[:0], speech, 5.0, 0).shape == (0,)


def test_a_room_keeps_step_loudness_and_length() -> None:
    rng = np.random.default_rng(2)
    response = np.zeros(6000, np.float32)
    response[300] = 1.0
    response[310:] = 0.2 * rng.standard_normal(5690) * np.exp(-np.arange(5690) / 1500)
    click = np.zeros(9000, np.float32)
    click[4000] = 0.5
    wet = in_room(click, response)
    assert np.abs(wet).argmax() == 4000
    assert np.square(wet[4100:7000]).sum() > 0.1 * np.square(wet).sum()
    speech = voice(2.0, 16_000)
    assert decibels(in_room(speech, response)) == pytest.approx(decibels(speech), abs=0.01)
    assert in_room(speech, response).shape == speech.shape
    assert in_room(speech[:0], response).shape == (0,)


def test_a_room_without_walls_changes_nothing() -> None:
    speech = voice(1.0)
    np.testing.assert_allclose(in_room(speech, np.eye(1, 50, dtype=np.float32)[0]), speech, 0, 1e-6)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.2])
def test_clipping_cuts_off_the_share_asked_for(share: float) -> None:
    samples = np.random.default_rng(0).standard_normal(40_000).astype(np.float32) * 0.1
    after = clipped(samples, share)
    flat = np.abs(after) >= np.abs(after).max()
    assert flat.mean() == pytest.approx(share, rel=0.05)
    np.testing.assert_array_equal(after[~flat], samples[~flat])


def test_the_level_is_a_gain_up_to_full_scale() -> None:
    samples = voice(1.0)
    assert decibels(at_level(samples, -20.0)) == pytest.approx(decibels(samples) - 20.0, abs=0.01)
    assert np.abs(at_level(samples, 40.0)).max() == 1.0
