"""Features that are padded to the model's window, in training: as they are everywhere else."""

from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.words import PLAIN, data_of, planned, small_model, small_tokenizer, write_words
from turnout.audio.features import WINDOW_SAMPLES, mel_power, model_features, num_frames
from turnout.config import CorpusConfig, FeatureConfig, ModelConfig
from turnout.corpora.clips import Clip, read_clips
from turnout.data import variants
from turnout.data.augment import Augmenter
from turnout.data.joining import background_power
from turnout.data.loader import Loader
from turnout.data.variants import VariantConfig, variants_of
from turnout.guidance import Bandwidth

KALDI = FeatureConfig(padding="window")
WHISPER = FeatureConfig(kind="whisper", normalization="whisper", padding="window")
MOST_ROUNDING = 3.5e-3
"""Logarithms of mel power are stored in float16, whose numbers between 16 and 32 lie 1/64 apart:
half of that is 0.0017 on the scale of 'peak' (0.0009 on Whisper's), and the loudest value, which
both are measured from, is rounded as well."""
WINDOW_SECONDS = 1.5


def clip(seconds: float) -> Clip:
    return Clip(
        id="a", path="", start=0.0, duration=seconds, channel=None, text="uno", language="es",
        speaker="s", bandwidth=Bandwidth.WIDEBAND, translations={}, split=None,
    )  # fmt: skip


def trained_on(samples: np.ndarray, model: ModelConfig) -> tuple[np.ndarray, int]:
    """The features that training gives the model of a whole clip, and the frames of the clip."""
    settings = VariantConfig(
        features=model.features,
        telephone_variants=0,
        narrowband=False,
        trim=False,
        window_seconds=model.window_seconds,
    )
    (stored,) = variants_of(clip(len(samples) / 16_000), samples, settings)
    count = len(stored.log_power)
    alone = planned(counts=(count,), gaps=(0, 0))
    return Augmenter(PLAIN, model).speech([stored], alone, np.random.default_rng(0)), count


@pytest.mark.parametrize(("seconds", "times"), [(None, 1), (WINDOW_SECONDS, 2)])
def test_frames_are_computed_twice_only_where_they_differ(
    seconds: float | None, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The floor is of the clip alone, and its frames, where they are padded, of more than it."""
    computed: list[int] = []

    def counted(samples: np.ndarray, features: FeatureConfig) -> np.ndarray:
        computed.append(len(samples))
        return mel_power(samples, features)

    monkeypatch.setattr(variants, "mel_power", counted)
    samples = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    settings = VariantConfig(
        features=KALDI,
        telephone_variants=0,
        narrowband=False,
        trim=False,
        window_seconds=seconds,
    )
    (found,) = variants_of(clip(1.0), samples, settings)
    assert computed == [16_000, 16_000 + WINDOW_SAMPLES][:times]
    floor = np.log(background_power(mel_power(samples, KALDI))).astype(np.float16)
    np.testing.assert_array_equal(found.floor, floor)
    heard = mel_power(np.pad(samples, (0, computed[-1] - 16_000)), KALDI)
    logs = np.log(np.maximum(heard, np.float32(np.exp(variants.LOWEST_LOG))))
    np.testing.assert_array_equal(found.log_power, logs.astype(np.float16))


@pytest.mark.parametrize("features", [KALDI, WHISPER], ids=["kaldi", "whisper"])
@pytest.mark.parametrize("length", [1, 399, 16_000, 16_123, 23_700, 23_999, 24_000])
def test_training_hears_what_the_model_hears(features: FeatureConfig, length: int) -> None:
    model = small_model(features=features, window_seconds=WINDOW_SECONDS)
    # As loud at its end as anywhere: what the last frames hear behind it shows.
    samples = (0.1 * np.random.default_rng(length).standard_normal(length)).astype(np.float32)
    frames, count = trained_on(samples, model)
    expected = model_features(samples, model)
    assert frames.shape == expected.shape == (150, 80)
    np.testing.assert_allclose(frames, expected, atol=MOST_ROUNDING, rtol=0)
    # Windows overlap: some frames more than the clip has hear its end.
    assert 0 <= count - num_frames(length, features) <= 3


@pytest.mark.parametrize("features", [KALDI, WHISPER], ids=["kaldi", "whisper"])
def test_an_utterance_costs_a_window_and_counts_its_audio(
    tmp_path: Path, features: FeatureConfig
) -> None:
    cuts = write_words(tmp_path, takes=2)
    model = small_model(features=features, window_seconds=3.0)
    data = data_of(
        cuts, train=(CorpusConfig(cuts=cuts), CorpusConfig(cuts=cuts, join=True)), augment=PLAIN
    )
    loader = Loader(
        data, model, small_tokenizer(), {cuts: read_clips(cuts)},
        seed=1, rank=0, world_size=1, cache_dir=tmp_path,
    )  # fmt: skip
    plan, batches = loader.plan(0), list(loader.batches(0))
    assert len(plan) == len(batches) > 2
    for utterances, batch in zip(plan, batches, strict=True):
        assert batch.log_mel.shape == (len(utterances), 300, 80)
        assert batch.frame_mask.all()
        # Twelve seconds hold four windows of three.
        assert len(utterances) <= 4
        assert batch.seconds == pytest.approx(sum(one.shape.num_frames for one in utterances) / 100)
    assert sum(len(utterances) == 4 for utterances in plan) >= len(plan) - 1
