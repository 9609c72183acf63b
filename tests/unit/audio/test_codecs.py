"""The codecs: in step with what went in, intelligible after, and clear where one cannot be had."""

import subprocess
import sys

import numpy as np
import pytest
import soxr

from turnout.audio import codecs
from turnout.audio.codecs import CODECS, check_codec, recode
from turnout.audio.features import mel_power
from turnout.config import FeatureConfig
from turnout.errors import ConfigError, MissingExtra

EVERY = [(name, rate) for name, codec in CODECS.items() for rate in codec.bit_rates]


def voice(seconds: float = 3.0, rate: int = 8000) -> np.ndarray:
    """Something like speech: syllables of a gliding voice, its harmonics shaped by two formants."""
    rng = np.random.default_rng(3)
    time = np.arange(round(seconds * rate)) / rate
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    wave = np.zeros_like(time)
    for order in range(1, 28):
        hz = order * pitch
        first = 500 + 250 * np.sin(2 * np.pi * 1.3 * time)
        gain = np.exp(-(((hz - first) / 250) ** 2)) + 0.4 * np.exp(-(((hz - 1700) / 400) ** 2))
        wave += (gain + 0.01) * np.sin(order * phase)
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * time) + 0.4, 0, 1)
    wave = wave / np.abs(wave).max() * 0.5 * syllables
    return (wave + 1e-4 * rng.standard_normal(len(time))).astype(np.float32)


def envelopes(samples: np.ndarray) -> np.ndarray:
    """Decibels of 24 bands below 3.4 kHz in each frame, silence left at one level."""
    wide = soxr.resample(samples, 8000, 16000).astype(np.float32)
    power = mel_power(wide, FeatureConfig(num_mels=40))[:, :27]
    return 10 * np.log10(np.maximum(power, power.max() * 1e-4))


def lag(before: np.ndarray, after: np.ndarray) -> int:
    """By how many samples `after` comes later, by their envelopes' finest match."""
    both = 2 * len(before)
    spectrum = np.fft.rfft(after, both) * np.conj(np.fft.rfft(before, both))
    # Of a band where no codec turns the phase: high-passes do below 400 Hz.
    hz = np.fft.rfftfreq(both, 1 / 8000)
    match = np.fft.irfft(spectrum * ((hz > 400) & (hz < 2500)))
    near = np.concatenate([match[-200:], match[:200]])
    return int(near.argmax()) - 200


@pytest.mark.parametrize(("name", "bit_rate"), EVERY)
def test_a_codec_keeps_step_and_speech(name: str, bit_rate: int) -> None:
    pytest.importorskip("av")
    before = voice()
    after = recode(before, name, bit_rate)
    assert after.shape == before.shape
    assert after.dtype == np.float32
    assert np.abs(after).max() <= 1.0
    assert abs(lag(before, after)) <= 4
    likeness = np.corrcoef(envelopes(before).ravel(), envelopes(after).ravel())[0, 1]
    assert likeness > 0.9
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, recode(before, name, bit_rate))


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("length", [0, 1, 159, 161])
def test_any_length_stays(name: str, length: int) -> None:
    pytest.importorskip("av")
    assert recode(voice()[:length], name).shape == (length,)


def test_more_bits_are_nearer() -> None:
    pytest.importorskip("av")
    before = voice()
    for name in ("g726", "opus"):
        errors = [
            float(np.square(recode(before, name, rate) - before).mean())
            for rate in (CODECS[name].bit_rates[0], CODECS[name].bit_rates[-1])
        ]
        assert errors[1] < 0.8 * errors[0]


def test_opus_codes_wideband_too() -> None:
    pytest.importorskip("av")
    before = voice(rate=16_000)
    after = recode(before, "opus", 24_000, rate=16_000)
    assert after.shape == before.shape
    assert np.corrcoef(before, after)[0, 1] > 0.9


def test_what_a_codec_cannot_have_is_one_line() -> None:
    with pytest.raises(ConfigError, match="'mp7' is unknown: choose one of mulaw, alaw, gsm"):
        recode(voice(), "mp7")
    with pytest.raises(ConfigError, match=r"gsm at 9000 bit/s.*it has 13000 bit/s"):
        recode(voice(), "gsm", 9000)
    with pytest.raises(ConfigError, match="at 8000 Hz"):
        recode(voice(), "mulaw", 64_000, rate=16_000)


def test_pyav_is_imported_where_it_is_needed() -> None:
    code = (
        "import sys, numpy, turnout.audio.codecs as c\n"
        "for name in ('mulaw', 'alaw', 'gsm'): c.recode(numpy.zeros(400, numpy.float32), name)\n"
        "print('av' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_without_pyav_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_codec.cache_clear()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"the codec amr_nb needs the extra 'av'"):
        recode(voice(), "amr_nb")
    assert len(recode(voice(), "gsm")) == len(voice())


def test_a_pyav_without_the_encoder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    check_codec.cache_clear()
    lacking = codecs.Codec(bit_rates=(1,), encoder="libnosuch")
    monkeypatch.setitem(CODECS, "amr_nb", lacking)
    with pytest.raises(ConfigError, match=r"this PyAV cannot encode amr_nb .*turnout\[av\]"):
        check_codec("amr_nb")
    check_codec.cache_clear()
