from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.unit.data.words import PLAIN, planned, write_words
from turnout.audio.features import log_mel
from turnout.config import AugmentConfig, ModelConfig
from turnout.corpora.clips import ClipReader, read_clips
from turnout.data.augment import Augmenter, masked, stretched, warp_matrix
from turnout.data.channel import Sound
from turnout.data.joining import Joining, join_waveforms
from turnout.data.noise import noise_bank, recorded
from turnout.data.plan import draw_shape
from turnout.data.variants import Variant, VariantConfig, variants_of

MODEL = ModelConfig()
FEATURES = MODEL.features
STRONG = AugmentConfig(empty=0.0, noise=1.0)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[np.ndarray], list[Variant]]:
    """Waveforms and stored variants of three clips."""
    clips = read_clips(write_words(tmp_path_factory.mktemp("audio"), takes=1))[:3]
    reader = ClipReader()
    samples = [reader.read(clip) for clip in clips]
    config = VariantConfig(features=FEATURES, telephone_variants=0, narrowband=False, trim=True)
    stored = [variants_of(clip, s, config)[0] for clip, s in zip(clips, samples, strict=True)]
    return samples, stored


def speech(
    config: AugmentConfig, words: list[Variant], joining: Joining, *, seed: int, narrow=False
) -> np.ndarray:
    counts = [len(word.log_power) for word in words]
    shape = draw_shape(counts, joining, config, np.random.default_rng(1))
    utterance = replace(planned(gaps=(), narrow=narrow), joining=joining, shape=shape)
    frames = Augmenter(config, MODEL).speech(words, utterance, np.random.default_rng(seed))
    assert len(frames) == utterance.shape.num_frames
    return frames


def test_without_changes_joined_frames_are_the_frames_of_joined_samples(words) -> None:
    samples, stored = words
    joining = Joining(clips=(0,), gaps=(0.5, 0.4), silent=True)
    frames = speech(PLAIN, stored[:1], joining, seed=0)
    expected = log_mel(join_waveforms(samples[:1], joining, np.random.default_rng(0)), FEATURES)
    assert abs(len(frames) - len(expected)) <= 1
    count = min(len(frames), len(expected))
    # Near the word's edges, windows of samples reach into the gap and those of the clip do not.
    inside = slice(56, 50 + len(stored[0].log_power) - 6)
    assert np.abs(frames[:count] - expected[:count])[inside].mean() < 0.03
    assert np.array_equal(frames[:48], expected[:48])


def test_the_generator_decides_all(words) -> None:
    _, stored = words
    joining = Joining(clips=(0, 1, 2), gaps=(0.1, 0.1, 0.2, 0.3), silent=False)
    first, again, other = (speech(STRONG, stored, joining, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.isfinite(first).all() and first.dtype == np.float32


def test_narrowband_stays_below_4_khz(words) -> None:
    _, stored = words
    joining = Joining(clips=(0, 1), gaps=(0.1, 0.1, 0.2), silent=False)
    beyond = noise_bank(FEATURES).band_hz > 4300
    config = replace(STRONG, time_masks=0, mel_masks=0)
    tops = [
        speech(config, stored[:2], joining, seed=seed, narrow=True)[:, beyond].max()
        for seed in range(20)
    ]
    assert sum(top < -1.99 for top in tops) >= 12
    assert speech(config, stored[:2], joining, seed=0)[:, beyond].max() > -1.0


def test_noise_has_the_ratio_that_was_asked_for(words) -> None:
    _, stored = words
    joining = Joining(clips=(0,), gaps=(0.5, 0.5), silent=True)
    for snr in (10.0, 30.0):
        config = replace(PLAIN, noise=1.0, noise_snr_db=(snr, snr))
        levels = []
        for seed in range(10):
            decibels = 20.0 * (speech(config, stored[:1], joining, seed=seed) - 2.0)
            power = (10 ** (decibels / 10)).sum(axis=1)
            levels.append(10 * np.log10(power[60:80].mean() / power[:45].mean()))
        assert np.mean(levels) == pytest.approx(snr, abs=4.0)


@pytest.mark.parametrize("narrow", [False, True])
def test_empty_utterances_are_finite_and_loud_or_not(narrow: bool) -> None:
    augmenter, utterance = Augmenter(STRONG, MODEL), planned(gaps=(120,), narrow=narrow)
    made = [augmenter.empty(utterance, np.random.default_rng(seed)) for seed in range(60)]
    assert all(frames.shape == (120, 80) and np.isfinite(frames).all() for frames in made)
    silent = sum(bool((frames < -1.99).all()) for frames in made)
    assert 0 < silent < 40


def test_sounds_keep_to_the_telephone_s_band_where_it_is_narrow() -> None:
    above = noise_bank(FEATURES).band_hz > 4000
    for narrow in (False, True):
        augmenter = Augmenter(replace(PLAIN, sounds=1.0), MODEL)
        utterance = planned(gaps=(120,), narrow=narrow)
        made = [augmenter.empty(utterance, np.random.default_rng(seed)) for seed in range(20)]
        assert any((frames[:, above] > frames.min()).any() for frames in made) != narrow


def test_an_unwarped_spectrum_stays_as_it_is() -> None:
    hz = noise_bank(FEATURES).band_hz
    np.testing.assert_allclose(warp_matrix(hz, 1.0, 80), np.eye(80), atol=1e-5)


@pytest.mark.parametrize("warp", [0.87, 0.95, 1.08, 1.15])
def test_warping_moves_a_formant_by_its_factor(warp: float) -> None:
    hz = noise_bank(FEATURES).band_hz
    spectrum = np.exp(-(((hz - 1500.0) / 200.0) ** 2)).astype(np.float32)
    moved = spectrum @ warp_matrix(hz, warp, 80)
    assert (moved @ hz) / moved.sum() == pytest.approx(1500.0 * warp, rel=0.02)


def test_warping_narrowband_leaves_the_top_alone() -> None:
    hz = noise_bank(FEATURES).band_hz
    edge = int((hz < 4000).sum())
    spectrum = np.where(np.arange(80) < edge, 1.0, -30.0).astype(np.float32)
    for warp in (0.87, 1.15):
        np.testing.assert_allclose(spectrum @ warp_matrix(hz, warp, edge), spectrum, atol=1e-4)


@pytest.mark.parametrize(("frames", "count"), [(1, 1), (1, 4), (5, 1), (40, 33), (40, 48)])
def test_stretching_keeps_lines_straight(frames: int, count: int) -> None:
    ramp = np.linspace(0, 10, frames)[:, None].astype(np.float16)
    result = stretched(ramp, count)
    np.testing.assert_allclose(
        result[:, 0], np.linspace(0, float(ramp[-1, 0]), count) if count > 1 else 0.0, atol=0.02
    )


def test_masks_hide_at_most_what_is_allowed() -> None:
    config = replace(PLAIN, time_masks=2, time_mask_frames=20, mel_masks=2, mel_mask_bands=14)
    rng = np.random.default_rng(0)
    for _ in range(50):
        log_mel = rng.uniform(0.1, 1.0, (300, 80)).astype(np.float32)
        log_mel[0, 0] = 0.0
        hidden = masked(log_mel.copy(), config, rng) == 0.0
        assert hidden.all(axis=1).sum() <= 40 and hidden.all(axis=0).sum() <= 28
    short = masked(rng.uniform(0.1, 1.0, (30, 80)).astype(np.float32), config, rng)
    assert (short == short.min()).all(axis=1).sum() <= 6
    assert masked(np.ones((1, 80), np.float32), config, rng).shape == (1, 80)


def test_recorded_noise_is_heard_anew_in_each_epoch(tmp_path: Path) -> None:
    time = np.arange(64_000) / 16_000
    beep = 0.1 * np.sin(2 * np.pi * 2000 * time) * (time < 2)
    soundfile.write(tmp_path / "beep.wav", beep, 16_000)
    noises = (Sound(str(tmp_path / "beep.wav"), 0),)
    frames = 300
    heard = [recorded(noises, frames, FEATURES, np.random.default_rng(n)) for n in range(4)]
    # About a mean of 1 wherever it begins, and none like the other.
    assert all(0.3 < power.mean() < 2.0 for power in heard)
    assert len({power.tobytes() for power in heard}) == 4
    peak = int(heard[0].mean(axis=0).argmax())
    made = Augmenter(replace(PLAIN, noise=1.0, noise_snr_db=(10.0, 10.0)), MODEL, noises)
    word = Variant(np.full((frames, 80), 3.0, np.float16), np.full(80, -30.0, np.float16))
    utterance = planned(counts=[frames], gaps=[0, 0])
    tonal = 0
    for epoch in range(40):
        log_mel = made.speech([word], utterance, np.random.default_rng(epoch))
        bands = log_mel.mean(axis=0)
        tonal += bool(bands[peak] > np.median(bands) + 0.05)
    assert 10 <= tonal <= 30
