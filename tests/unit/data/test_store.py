import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.words import write_words
from turnout.audio.features import mel_power
from turnout.config import FeatureConfig
from turnout.corpora.clips import Clip, ClipReader, read_clips
from turnout.data import store as store_module
from turnout.data.joining import word_span
from turnout.data.store import FeatureStore, digest_of, open_store
from turnout.data.variants import VariantConfig
from turnout.errors import StorageError, TrainingError

CONFIG = VariantConfig(features=FeatureConfig(), telephone_variants=2, narrowband=True, trim=True)


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    return read_clips(write_words(tmp_path / "audio", takes=1))


def variants(store: FeatureStore) -> list[int]:
    """How many versions there are of each clip."""
    return (store.offsets >= 0).sum(axis=1).tolist()


def test_the_first_variant_is_the_trimmed_clip(clips: list[Clip], tmp_path: Path) -> None:
    store = open_store(clips, CONFIG, tmp_path)
    samples = ClipReader().read(clips[2])
    first, last = word_span(samples)
    expected = np.log(mel_power(samples[first:last], CONFIG.features))
    np.testing.assert_allclose(
        store.variant(2, 0).log_power.astype(np.float32), expected, atol=0.01
    )
    assert store.counts[2] == len(expected) < 60


def test_telephone_variants_differ_and_end_at_4_khz(clips: list[Clip], tmp_path: Path) -> None:
    store = open_store(clips, CONFIG, tmp_path)
    assert variants(store) == [3] * len(clips)
    native, first, second = (store.variant(0, k).log_power.astype(np.float32) for k in range(3))
    assert native.shape == first.shape == second.shape
    assert not np.array_equal(first, second)
    assert first[:, 66:].mean() < native[:, 66:].mean() - 3.0


def test_variants_are_made_only_where_wanted(clips: list[Clip], tmp_path: Path) -> None:
    wide = open_store(clips, replace(CONFIG, narrowband=False), tmp_path)
    assert set(variants(wide)) == {1}
    narrow = read_clips(write_words(tmp_path / "8k", rate=8000, takes=1))
    assert variants(open_store(narrow, replace(CONFIG, narrowband=False), tmp_path))[0] == 3


def test_a_store_is_built_once(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_store(clips, CONFIG, tmp_path)
    monkeypatch.setattr(store_module, "_build", lambda *_: pytest.fail("built again"))
    again = open_store(clips, CONFIG, tmp_path)
    np.testing.assert_array_equal(first.frames, again.frames)


def test_workers_change_nothing(clips: list[Clip], tmp_path: Path) -> None:
    alone = open_store(clips, CONFIG, tmp_path / "a")
    together = open_store(clips, CONFIG, tmp_path / "b", workers=2)
    np.testing.assert_array_equal(alone.frames, together.frames)
    np.testing.assert_array_equal(alone.offsets, together.offsets)


def test_a_pickled_store_is_its_path(clips: list[Clip], tmp_path: Path) -> None:
    store = open_store(clips, CONFIG, tmp_path).subset([5, 2, 7])
    data = pickle.dumps(store)
    held = store.frames.nbytes + store.floors.nbytes
    assert len(data) < 4000 < held
    again = pickle.loads(data)
    assert again.clips == store.clips
    for clip in range(3):
        for number in range(3):
            one, other = store.variant(clip, number), again.variant(clip, number)
            np.testing.assert_array_equal(one.log_power, other.log_power)
            np.testing.assert_array_equal(one.floor, other.floor)
    assert not again.frames.flags.writeable
    # Where it lies does not depend on where a process works.
    assert pickle.loads(data).folder.is_absolute()
    np.testing.assert_array_equal(again.subset([1]).frames, store.frames)


def test_the_digest_follows_audio_and_settings(clips: list[Clip]) -> None:
    digest = digest_of(clips, CONFIG)
    retold = [replace(clip, text="other") for clip in clips]
    assert digest_of(retold, CONFIG) == digest
    normalised = replace(CONFIG, features=FeatureConfig(normalization="utterance"))
    assert digest_of(clips, normalised) == digest
    assert digest_of(clips[1:], CONFIG) != digest
    assert digest_of(clips, replace(CONFIG, trim=False)) != digest
    assert digest_of(clips, replace(CONFIG, features=FeatureConfig(num_mels=40))) != digest
    Path(clips[0].path).write_bytes(b"shorter")
    assert digest_of(clips, CONFIG) != digest


def test_bad_clips_are_left_out_and_named(
    clips: list[Clip], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path(clips[1].path).write_bytes(b"not audio")
    Path(clips[3].path).unlink()
    store = open_store(clips, CONFIG, tmp_path)
    assert [clip.id for clip in store.clips] == [
        clip.id for number, clip in enumerate(clips) if number not in (1, 3)
    ]
    assert len(store.left_out) == 2
    assert "2 of 8 clips could not be read and are left out" in caplog.text
    whole = open_store([clips[2]], CONFIG, tmp_path)
    np.testing.assert_array_equal(store.variant(1, 0).log_power, whole.variant(0, 0).log_power)


def test_nothing_readable_is_an_error(clips: list[Clip], tmp_path: Path) -> None:
    for clip in clips:
        Path(clip.path).unlink(missing_ok=True)
    with pytest.raises(TrainingError, match="none of the 8 clips can be used"):
        open_store(clips, CONFIG, tmp_path)


def test_an_interrupted_build_leaves_nothing_behind(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", no_space)
        with pytest.raises(StorageError, match=r"No space left.*set data\.cache"):
            open_store(clips, CONFIG, cache)
    assert not [path for path in cache.iterdir() if path.is_dir()]
    killed = cache / f".partial-killed-mel-{digest_of(clips, CONFIG)}"
    killed.mkdir()
    assert len(open_store(clips, CONFIG, cache).clips) == len(clips)
    assert not killed.exists()
