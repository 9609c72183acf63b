"""The telephone channel: G.711 as others code it, the filter's edges, reproducible noise."""

from io import BytesIO

import numpy as np
import pytest
import soundfile

from turnout.audio.telephone import (
    TELEPHONE_RATE,
    TelephoneChannel,
    add_noise,
    g711_table,
    random_channel,
)

VALUES = np.arange(-32768, 32768).astype(np.int16)


def libsndfile_g711(subtype: str) -> np.ndarray:
    file = BytesIO()
    soundfile.write(file, VALUES, 8000, format="WAV", subtype=subtype)
    file.seek(0)
    return soundfile.read(file, dtype="int16")[0].astype(int)


def tone(hz: float, seconds: float = 0.5) -> np.ndarray:
    time = np.arange(round(16_000 * seconds)) / 16_000
    return (0.3 * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def level_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples[1000:-1000])) + 1e-12))


def test_mulaw_is_libsndfiles() -> None:
    np.testing.assert_array_equal(g711_table("mulaw"), libsndfile_g711("ULAW"))


def test_alaw_is_libsndfiles_but_on_decision_values() -> None:
    # ITU-T G.711 counts negative values from -1, libsndfile from 0: it differs where a negative
    # value is itself a bound between two steps, and there by one step.
    differs = g711_table("alaw") != libsndfile_g711("ALAW")
    assert 0 < differs.sum() < 128
    assert (VALUES[differs] < 0).all()
    assert (VALUES[differs] % 16 == 0).all()


def test_alaw_codes_16_bit_values_to_256() -> None:
    table = g711_table("alaw")
    assert len(np.unique(table)) == 256
    np.testing.assert_array_equal(np.unique(table), -np.unique(table)[::-1])
    assert table[32768] == 8
    assert table[32767] == -8


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        g711_table("mulaw")[0] = 1


@pytest.mark.parametrize("hz", [500.0, 1000.0, 3000.0])
def test_the_filter_passes_speech(hz: float) -> None:
    channel = TelephoneChannel(codec=None, bandpass=True)
    after = channel.apply(tone(hz), np.random.default_rng(0))
    assert level_db(after) == pytest.approx(level_db(tone(hz)), abs=0.3)


@pytest.mark.parametrize("hz", [100.0, 150.0, 3700.0])
def test_the_filter_stops_what_lies_outside(hz: float) -> None:
    channel = TelephoneChannel(codec=None, bandpass=True)
    assert level_db(channel.apply(tone(hz), np.random.default_rng(0))) < level_db(tone(hz)) - 35


def test_the_filter_delays_nothing() -> None:
    click = np.zeros(4000, np.float32)
    click[2000] = 0.9
    after = TelephoneChannel(codec=None).apply(click, np.random.default_rng(0))
    assert np.abs(after).argmax() == 2000


def test_nothing_is_left_above_4_khz() -> None:
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    after = TelephoneChannel().apply(noise, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(after[1000:15_000] * np.hanning(14_000))) ** 2
    hz = np.fft.rfftfreq(14_000, 1 / 16_000)
    assert 10 * np.log10(power[hz > 4200].mean() / power[hz < 3000].mean()) < -80


@pytest.mark.parametrize("length", [0, 1, 2, 3, 159, 16_001])
def test_the_length_stays(length: int) -> None:
    samples = np.full(length, 0.1, np.float32)
    after = TelephoneChannel(noise_snr_db=20.0).apply(samples, np.random.default_rng(0))
    assert after.shape == (length,)
    assert after.dtype == np.float32


def test_noise_has_the_ratio_asked_for() -> None:
    speech = tone(1000.0, 2.0)
    noise = add_noise(speech, 20.0, np.random.default_rng(0)) - speech
    assert level_db(speech) - level_db(noise) == pytest.approx(20.0, abs=0.2)


def test_loud_speech_is_clipped_to_full_scale() -> None:
    line = TelephoneChannel(codec=None, bandpass=False).at_8khz(
        tone(1000.0) * 10, np.random.default_rng(0)
    )
    assert np.abs(line).max() <= 1.0
    assert len(line) == TELEPHONE_RATE // 2


def test_the_same_seed_gives_the_same_channel_and_samples() -> None:
    def once(seed: int) -> tuple[TelephoneChannel, np.ndarray]:
        rng = np.random.default_rng(seed)
        channel = random_channel(rng)
        return channel, channel.apply(tone(440.0), rng)

    for seed in range(8):
        first, second = once(seed), once(seed)
        assert first[0] == second[0]
        np.testing.assert_array_equal(first[1], second[1])


def test_random_channels_cover_every_codec_filter_and_noise() -> None:
    rng = np.random.default_rng(0)
    channels = [random_channel(rng) for _ in range(200)]
    assert {channel.codec for channel in channels} == {"mulaw", "alaw", None}
    assert {channel.bandpass for channel in channels} == {True, False}
    assert {channel.noise_snr_db is None for channel in channels} == {True, False}
