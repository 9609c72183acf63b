"""The measured bandwidth, on signals made for it."""

import numpy as np
import pytest
import soxr

from turnout.audio.bandwidth import measure_bandwidth
from turnout.audio.telephone import TelephoneChannel
from turnout.guidance import Bandwidth


def speechlike(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """Noise that falls by 30 dB towards 8 kHz, in syllables of a quarter second."""
    rng = np.random.default_rng(seed)
    length = round(16_000 * seconds)
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum *= 10 ** (-1.5 * np.linspace(0, 1, len(spectrum)))
    syllables = np.abs(np.sin(2 * np.pi * 2 * np.arange(length) / 16_000))
    samples = np.fft.irfft(spectrum, length) * syllables
    return (0.2 * samples / samples.std()).astype(np.float32)


def rounded(samples: np.ndarray) -> np.ndarray:
    return (np.clip(np.rint(samples * 32768), -32768, 32767) / 32768).astype(np.float32)


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.02])
def test_speech_with_a_high_band_is_wideband(gain: float) -> None:
    assert measure_bandwidth(rounded(speechlike() * gain), 16_000) is Bandwidth.WIDEBAND


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_telephone_speech_is_narrowband_whatever_the_file_says(gain: float, rate: int) -> None:
    channel = TelephoneChannel(noise_snr_db=20.0)
    samples = channel.apply(speechlike() * np.float32(gain), np.random.default_rng(0))
    assert measure_bandwidth(rounded(samples), rate) is Bandwidth.NARROWBAND


def test_quiet_dithered_telephone_speech_is_narrowband() -> None:
    channel = TelephoneChannel(codec=None)
    samples = channel.apply(speechlike() * np.float32(0.005), np.random.default_rng(0))
    dither = np.random.default_rng(1).triangular(-1, 0, 1, len(samples)) / 32768
    dithered = rounded((samples + dither).astype(np.float32))
    assert measure_bandwidth(dithered, 16_000) is Bandwidth.NARROWBAND


def test_a_file_at_8_khz_is_narrowband_unheard() -> None:
    assert measure_bandwidth(speechlike(), 8_000) is Bandwidth.NARROWBAND


@pytest.mark.parametrize("rate", [11_025, 12_000])
def test_rates_between_are_heard_to_their_end(rate: int) -> None:
    wide = soxr.resample(soxr.resample(speechlike(), 16_000, rate), rate, 16_000)
    assert measure_bandwidth(wide, rate) is Bandwidth.WIDEBAND
    narrow = TelephoneChannel().apply(speechlike(), np.random.default_rng(0))
    assert measure_bandwidth(rounded(narrow), rate) is Bandwidth.NARROWBAND


UPSAMPLERS = {
    "repeated": lambda low: np.repeat(low, 2),
    "linear": lambda low: np.interp(np.arange(2 * len(low)) / 2, np.arange(len(low)), low),
    "cubic": lambda low: soxr.resample(low, 8_000, 16_000, quality="QQ"),
}


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
@pytest.mark.parametrize("seconds", [0.3, 2.0])
def test_a_telephone_band_that_is_mirrored_above_4_khz_is_narrowband(
    upsampler: str, seconds: float
) -> None:
    low = soxr.resample(speechlike(seconds), 16_000, 8_000)
    samples = UPSAMPLERS[upsampler](low).astype(np.float32)
    assert measure_bandwidth(rounded(samples), 16_000) is Bandwidth.NARROWBAND


def test_long_pauses_of_digital_zero_change_nothing() -> None:
    samples = np.concatenate([np.zeros(160_000, np.float32), speechlike()])
    assert measure_bandwidth(samples, 16_000) is Bandwidth.WIDEBAND


@pytest.mark.parametrize("length", [0, 1, 100, 511, 512, 513, 16_000])
def test_silence_of_any_length_counts_as_narrowband(length: int) -> None:
    assert measure_bandwidth(np.zeros(length, np.float32), 16_000) is Bandwidth.NARROWBAND
