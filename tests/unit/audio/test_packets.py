"""Lost packets: as many as asked for, in bursts as long; what is heard in their place."""

import numpy as np
import pytest

from tests.unit.audio.test_codecs import voice
from turnout.audio.packets import MERGE_SAMPLES, PACKET_SAMPLES, concealed, lost_packets


@pytest.mark.parametrize(("rate", "burst"), [(0.01, 1.0), (0.05, 1.0), (0.1, 3.0), (0.3, 8.0)])
def test_losses_have_the_rate_and_bursts_asked_for(rate: float, burst: float) -> None:
    lost = lost_packets(200_000, rate, burst, np.random.default_rng(0))
    assert lost.mean() == pytest.approx(rate, rel=0.1)
    bursts = np.count_nonzero(np.diff(lost.astype(int)) == 1)
    # One never follows another where bursts are of one packet.
    assert lost.sum() / bursts == pytest.approx(burst, rel=0.1)


def test_no_rate_loses_nothing() -> None:
    assert not lost_packets(10_000, 0.0, 2.0, np.random.default_rng(0)).any()


def test_the_same_seed_loses_the_same() -> None:
    drawn = [lost_packets(500, 0.1, 2.0, np.random.default_rng(4)) for _ in range(2)]
    np.testing.assert_array_equal(*drawn)


def losing(*packets: int, of: int) -> np.ndarray:
    lost = np.zeros(of, np.bool_)
    lost[list(packets)] = True
    return lost


def test_only_what_is_lost_changes() -> None:
    samples = voice(1.0)
    filled = concealed(samples, losing(20, 21, of=50))
    first, stop = 20 * PACKET_SAMPLES, 22 * PACKET_SAMPLES
    np.testing.assert_array_equal(filled[:first], samples[:first])
    np.testing.assert_array_equal(filled[stop + MERGE_SAMPLES :], samples[stop + MERGE_SAMPLES :])
    assert not np.array_equal(filled[first:stop], samples[first:stop])
    np.testing.assert_array_equal(concealed(samples, losing(of=50)), samples)


def test_a_steady_voice_is_hardly_missed() -> None:
    time = np.arange(8000) / 8000
    tone = sum(np.sin(2 * np.pi * 125 * k * time) / k for k in range(1, 8))
    tone = (0.2 * tone).astype(np.float32)
    filled = concealed(tone, losing(30, of=50))
    packet = slice(30 * PACKET_SAMPLES, 31 * PACKET_SAMPLES)
    error = np.square(filled[packet] - tone[packet]).mean() / np.square(tone[packet]).mean()
    # Silence in its place would be an error of 1.
    assert error < 0.05


def test_long_losses_fade_to_silence() -> None:
    samples = voice(1.0)
    filled = concealed(samples, losing(*range(10, 20), of=50))
    inside = filled[10 * PACKET_SAMPLES : 20 * PACKET_SAMPLES]
    assert not inside[480:].any()
    loudness = [float(np.abs(inside[k : k + 160]).max()) for k in range(0, 480, 160)]
    assert loudness == sorted(loudness, reverse=True)


@pytest.mark.parametrize("length", [0, 1, 159, 160, 8001])
def test_any_length_and_a_loss_at_the_beginning_or_end(length: int) -> None:
    samples = voice(1.1)[:length]
    lost = np.ones(-(-length // PACKET_SAMPLES), np.bool_)
    assert concealed(samples, lost).shape == samples.shape
    assert not concealed(samples, lost).any()
    assert concealed(samples, losing(0, of=max(len(lost), 1))).shape == samples.shape
