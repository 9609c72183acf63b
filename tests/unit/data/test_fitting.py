"""What a model cannot learn from is left out and named, never dropped without a word."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tests.unit.data.words import data_of, small_model, small_tokenizer, write_words
from turnout.config import AugmentConfig, CorpusConfig, DecoderConfig, FeatureConfig, ModelConfig
from turnout.corpora.clips import Clip, read_clips
from turnout.data.fitting import Fitting, frames_needed
from turnout.data.loader import Loader
from turnout.data.store import FeatureStore, open_store
from turnout.data.variants import VariantConfig
from turnout.errors import TrainingError

TOKENIZER = small_tokenizer()
VARIANTS = VariantConfig(
    features=FeatureConfig(), telephone_variants=1, narrowband=False, trim=False
)


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """Eight clips of a second."""
    return read_clips(write_words(tmp_path / "audio", takes=1))


def fitted(
    clips: list[Clip], folder: Path, model: ModelConfig | None = None, *, join: bool = False
) -> FeatureStore:
    store = open_store(clips, VARIANTS, folder)
    return Fitting(model or small_model(), TOKENIZER, join).of(store)


def test_what_fits_stays_as_it_is(clips: list[Clip], tmp_path: Path) -> None:
    store = open_store(clips, VARIANTS, tmp_path)
    assert Fitting(small_model(window_seconds=1.0), TOKENIZER, False).of(store) is store


@pytest.mark.parametrize("join", [False, True])
def test_a_clip_longer_than_the_window_is_named(
    clips: list[Clip], tmp_path: Path, join: bool
) -> None:
    store = fitted(clips, tmp_path, small_model(window_seconds=0.99), join=join)
    assert not store.clips
    assert len(store.left_out) == 8
    assert store.left_out[0] == (
        f"{clips[0].id}: is 1.0 s long, and the model's window 0.99 s: cut it into shorter "
        "segments, or raise model.window_seconds"
    )


def test_others_keep_their_frames(clips: list[Clip], tmp_path: Path) -> None:
    clips[2] = replace(clips[2], text="uno " * 7)
    whole, store = open_store(clips, VARIANTS, tmp_path), fitted(clips, tmp_path)
    assert [clip.id for clip in store.clips] == [c.id for n, c in enumerate(clips) if n != 2]
    np.testing.assert_array_equal(store.variant(2, 0).log_power, whole.variant(3, 0).log_power)
    assert len(store.left_out) == 1


def test_more_text_than_anybody_says_is_named(clips: list[Clip], tmp_path: Path) -> None:
    text = "uno dos tres cuatro uno dos"
    clips[0] = replace(clips[0], text=text[:25])
    clips[1] = replace(clips[1], text=text[:26])
    store = fitted(clips, tmp_path)
    assert store.clips[0].text == text[:25]
    (line,) = store.left_out
    assert line.startswith(f"{clips[1].id}: has 26 characters in 1.00 s, and nobody says more than")


def test_a_text_that_ctc_cannot_align_is_named(clips: list[Clip], tmp_path: Path) -> None:
    # 24 bytes of letters that the tokenizer never saw, and one more for each equal pair.
    clips[0] = replace(clips[0], text="ж" * 24)
    needed = frames_needed(TOKENIZER.encode(clips[0].text))
    assert needed > 25
    (line,) = fitted(clips, tmp_path).left_out
    assert f"its text needs {needed} frames of the encoder, and 1.00 s of audio have 25" in line
    # Words get silence around them, and what has no CTC need not align.
    assert not fitted(clips, tmp_path, join=True).left_out
    without = small_model(ctc=False, decoder=DecoderConfig(num_layers=1))
    assert not fitted(clips, tmp_path, without).left_out


def test_no_tempo_makes_a_text_too_long(clips: list[Clip], tmp_path: Path) -> None:
    clips[0] = replace(clips[0], text="uno dos tres ж ж ж")
    needed = frames_needed(TOKENIZER.encode(clips[0].text))
    assert 9 < needed <= 25
    made = loader(clips, tmp_path, small_model(), augment=AugmentConfig(speed=(3.0, 3.0)))
    assert not made.left_out
    seen = []
    for epoch in range(3):
        for utterance in (one for batch in made.plan(epoch) for one in batch):
            frames = -(-utterance.shape.counts[0] // 4)
            clip = utterance.joining.clips[0]
            assert frames >= frames_needed(TOKENIZER.encode(clips[clip].text))
            seen.append(frames)
    assert min(seen) < 10


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_a_text_longer_than_the_decoder_writes_is_named(
    clips: list[Clip], tmp_path: Path, positions: Literal["learned", "sinusoidal", "rotary"]
) -> None:
    decoder = DecoderConfig(num_layers=1, positions=positions, max_tokens=12)
    model = small_model(decoder=decoder)
    clips[0] = replace(clips[0], text="ж" * 4)  # a space and eight bytes
    clips[1] = replace(clips[1], translations={"en": "жжж", "de": "жжжж"})  # seven; and not asked
    clips[2] = replace(clips[2], translations={"en": "жжжж"})
    store = fitted(clips, tmp_path, model)
    assert [clip.id for clip in store.clips] == [clip.id for clip in (clips[1], *clips[3:])]
    assert store.left_out == tuple(
        f"{clip.id}: its {what} needs 9 tokens, and model.decoder.max_tokens (12) leaves it 8: cut "
        "it into shorter segments, or raise that"
        for clip, what in ((clips[0], "text"), (clips[2], "translation to en"))
    )
    assert fitted(clips, tmp_path, replace(model, decoder=DecoderConfig(num_layers=0))).clips == (
        tuple(clips)
    )


def test_as_many_words_are_joined_as_the_decoder_writes(clips: list[Clip], tmp_path: Path) -> None:
    clips = [replace(clip, text="жжж", translations={"en": "жж"}) for clip in clips]  # seven tokens
    model = small_model(decoder=DecoderConfig(num_layers=1, max_tokens=4 + 3 * 7))
    made = loader(clips, tmp_path, model, join=True)
    planned = [one for epoch in range(4) for batch in made.plan(epoch) for one in batch]
    assert max(len(one.joining.clips) for one in planned) == 3
    rows = [batch.tokens.shape[1] for epoch in range(4) for batch in made.batches(epoch)]
    assert max(rows) == 25


def test_equal_neighbours_need_a_blank_between() -> None:
    assert [frames_needed(ids) for ids in ([], [4], [4, 4], [4, 5, 4], [4, 4, 4])] == [
        0,
        1,
        3,
        3,
        5,
    ]


def loader(
    clips: list[Clip], folder: Path, model: ModelConfig, *, join: bool = False, **changes: object
) -> Loader:
    data = data_of("cuts", train=(CorpusConfig(cuts="cuts", join=join),), **changes)
    return Loader(
        data, model, TOKENIZER, {"cuts": clips}, seed=0, rank=0, world_size=1, cache_dir=folder
    )


def test_a_run_lists_what_it_leaves_out_and_trains_on_the_rest(
    clips: list[Clip], tmp_path: Path
) -> None:
    clips[3] = replace(clips[3], text="cuatro " * 30)
    made = loader(clips, tmp_path, small_model())
    assert len(made.left_out) == 1
    assert clips[3].id in made.left_out[0]
    texts = {text for batch in made.batches(0) for text in batch.texts}
    assert not any(text.startswith("cuatro cuatro") for text in texts)


def test_where_nothing_is_left_the_reason_is_told(clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"8 clips are left out, such as .* is 1.0 s long"):
        loader(clips, tmp_path, small_model(window_seconds=0.5))


def test_what_a_file_has_besides_is_told(
    clips: list[Clip], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loader(clips, tmp_path, small_model())
    assert not caplog.text
    clips[0] = replace(clips[0], split="test")
    clips[1] = replace(clips[1], translations={"de": "zwei", "en": "two"})
    loader(clips, tmp_path, small_model())
    assert "cuts: 1 of 8 clips are of dev or test splits and are not trained on" in caplog.text
    assert "cuts: 1 translations from es to de are not trained on" in caplog.text
