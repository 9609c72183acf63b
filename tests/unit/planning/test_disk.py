"""Bytes of a feature store by formula are those of a real one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from turnout.config import (
    AugmentConfig,
    ChannelConfig,
    CorpusConfig,
    DataConfig,
    FeatureConfig,
    TrainConfig,
)
from turnout.corpora.clips import Clip
from turnout.data.channel import open_channel
from turnout.data.store import open_store
from turnout.data.variants import VariantConfig
from turnout.guidance import Bandwidth
from turnout.planning.disk import store_bytes
from turnout.planning.plan import GB

CLIPS, SECONDS = 3, 2.0
CHANNEL = ChannelConfig(codecs=("none",), room=0.0, noise=0.0)


@pytest.mark.parametrize(
    "augment",
    [
        AugmentConfig(),
        AugmentConfig(narrowband=0.0),
        AugmentConfig(telephone_variants=1, channel=CHANNEL),
        AugmentConfig(narrowband=0.0, channel=CHANNEL),
    ],
)
def test_a_real_store_is_as_large_as_is_foreseen(augment: AugmentConfig, tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / f"{index}.wav") for index in range(CLIPS)]
    settings = VariantConfig(
        features=FeatureConfig(num_mels=40),
        telephone_variants=augment.telephone_variants,
        narrowband=augment.narrowband > 0,
        trim=False,
        channel=open_channel(augment.channel) if augment.channel else None,
    )
    store = open_store(clips, settings, tmp_path / "cache")
    run = TrainConfig(data=DataConfig(augment=augment))
    run = replace(run, model=replace(run.model, features=FeatureConfig(num_mels=40)))
    foreseen = store_bytes(run, CLIPS * SECONDS / 3600, SECONDS)
    written = sum(path.stat().st_size for path in store.folder.iterdir())
    # Headers of the index's arrays, and the empty list of what was left out.
    assert 0 < written - foreseen < 1500


def test_a_thousand_hours_take_173_gb() -> None:
    assert round(store_bytes(TrainConfig(), 1000, 15.0) / GB) == 173
    streamed = DataConfig(train=(CorpusConfig(shards="shards"),))
    assert store_bytes(TrainConfig(data=streamed), 1000, 15.0) == 0


def write_clip(path: Path) -> Clip:
    """Two seconds of noise."""
    noise = np.random.default_rng(0).normal(0, 0.05, round(SECONDS * 16000))
    soundfile.write(path, noise.astype(np.float32), 16000)
    return Clip(
        id=path.stem, path=str(path), start=0.0, duration=SECONDS, text="x", language="en",
        bandwidth=Bandwidth.WIDEBAND, speaker="a", translations={},
        channel=None, split=None,
    )  # fmt: skip
