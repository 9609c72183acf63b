"""Log-mel frames: equal to their two references, and a known function of the samples."""

from dataclasses import replace

import kaldi_native_fbank
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.audio.features import (
    SAMPLE_RATE,
    log_mel,
    log_mel_of,
    mel_power,
    model_features,
    num_frames,
)
from turnout.config import FeatureConfig, ModelConfig

KALDI = FeatureConfig(normalization="none")
PEAK = FeatureConfig()
WHISPER = FeatureConfig(kind="whisper", normalization="whisper")


def noise(length: int, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(length).astype(np.float32) * level


def kaldi_reference(samples: np.ndarray, num_mels: int) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = num_mels
    fbank = kaldi_native_fbank.OnlineFbank(options)
    fbank.accept_waveform(SAMPLE_RATE, (samples * 32768).tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(index) for index in range(fbank.num_frames_ready)])


@pytest.mark.parametrize("length", [80, 159, 160, 161, 239, 240, 399, 400, 401, 5000, 16_001])
def test_kaldi_features_equal_kaldi_native_fbank(length: int) -> None:
    samples = noise(length) + np.float32(0.05)
    ours = log_mel(samples, KALDI)
    reference = kaldi_reference(samples, 80)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, reference, atol=2e-4)


def test_other_numbers_of_mel_bands_equal_kaldis() -> None:
    samples = noise(8000)
    ours = log_mel(samples, FeatureConfig(normalization="none", num_mels=40))
    np.testing.assert_allclose(ours, kaldi_reference(samples, 40), atol=2e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("length", [400, 1000, 16_000, 48_123])
def test_whisper_features_equal_transformers(length: int) -> None:
    from transformers import WhisperFeatureExtractor

    samples = noise(length)
    reference = WhisperFeatureExtractor()(
        samples, sampling_rate=SAMPLE_RATE, padding="do_not_pad", return_tensors="np"
    )
    np.testing.assert_allclose(log_mel(samples, WHISPER), reference.input_features[0].T, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, 3000), config=st.sampled_from([KALDI, PEAK, WHISPER]))
def test_every_length_gives_the_promised_frames(length: int, config: FeatureConfig) -> None:
    frames = log_mel(noise(length), config)
    assert frames.shape == (num_frames(length, config), 80)
    assert np.isfinite(frames).all()
    assert (len(frames) > 0) == (length > 0)


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1000, 60_000), frame=st.integers(0, 10_000))
def test_a_frame_depends_on_its_own_window_alone(length: int, frame: int) -> None:
    samples = noise(length)
    inner = 2 + frame % (num_frames(length, KALDI) - 4)
    cut = mel_power(samples[(inner - 2) * 160 : (inner + 3) * 160], KALDI)[2]
    np.testing.assert_allclose(mel_power(samples, KALDI)[inner], cut, rtol=1e-3)


def test_peak_normalisation_is_decibels_below_the_loudest() -> None:
    power = np.array([[1e6, 1e4], [1e5, 1e-9]], np.float32)
    config = FeatureConfig(num_mels=2, dynamic_range_db=60.0)
    np.testing.assert_allclose(log_mel_of(power, config), [[2.0, 1.0], [1.5, -1.0]], atol=1e-6)


def test_peak_normalisation_ignores_the_level() -> None:
    samples = noise(16_000)
    np.testing.assert_allclose(
        log_mel(samples, PEAK), log_mel(samples * np.float32(0.01), PEAK), atol=1e-3
    )


@pytest.mark.parametrize("offset", [0.0, 0.1234, 0.9, -1.0])
def test_silence_and_offsets_lie_on_the_floor(offset: float) -> None:
    frames = log_mel(np.full(8000, offset, np.float32), PEAK)
    assert (frames == -2.0).all()


def test_utterance_normalisation_has_mean_0_and_variance_1_per_band() -> None:
    frames = log_mel(noise(16_000), FeatureConfig(normalization="utterance"))
    np.testing.assert_allclose(frames.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(frames.std(axis=0), 1.0, atol=1e-3)


def test_samples_of_two_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(10, 2\)"):
        mel_power(np.zeros((10, 2), np.float32), KALDI)


def test_padded_features_are_those_of_the_audio_and_silence_up_to_the_window() -> None:
    model = ModelConfig(features=replace(WHISPER, padding="window"), window_seconds=3.0)
    samples = noise(16_000)
    silence = np.zeros(32_000, dtype=np.float32)
    expected = log_mel(np.concatenate([samples, silence]), WHISPER)
    assert expected.shape == (300, 80)
    assert np.array_equal(model_features(samples, model), expected)
    # Longer than the window they never are, and without padding they are as long as the audio.
    assert len(model_features(noise(64_000), model)) == 400
    assert len(model_features(samples, replace(model, features=WHISPER))) == 100


@pytest.mark.parametrize("config", [KALDI, replace(WHISPER, num_mels=128)])
def test_no_product_is_so_large_that_a_blas_begins_threads(
    config: FeatureConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenBLAS does from 2**18 multiplications on, and its threads then wait at full speed."""
    sizes, product = [], np.matmul

    def measured(left: np.ndarray, right: np.ndarray, **options: np.ndarray) -> np.ndarray:
        sizes.append(left.shape[-2] * right.size)
        return product(left, right, **options)

    monkeypatch.setattr(np, "matmul", measured)
    mel_power(noise(SAMPLE_RATE * 8), config)
    assert sizes
    assert max(sizes) <= 2**18


@pytest.mark.parametrize("frames", [1, 7, 8, 9, 255, 256, 257, 300])
def test_how_many_frames_there_are_moves_none_of_them(frames: int) -> None:
    """But for those at the end, whose windows reach behind it."""
    samples = noise(160 * 600)
    whole, part = (mel_power(one, KALDI) for one in (samples, samples[: 160 * (frames + 3)]))
    assert len(part) == frames + 3
    np.testing.assert_array_equal(part[:frames], whole[:frames])
