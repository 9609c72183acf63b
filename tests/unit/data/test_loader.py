import multiprocessing
from collections.abc import Sequence
from dataclasses import fields, replace
from hashlib import sha256
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.unit.data.words import TEXTS, data_of, small_model, small_tokenizer, word, write_words
from turnout.config import (
    AugmentConfig,
    CorpusConfig,
    FeatureConfig,
    ModelConfig,
    VocabularyConfig,
)
from turnout.corpora.clips import read_clips, read_corpora
from turnout.data.batch import Batch
from turnout.data.loader import Loader
from turnout.data.variants import VariantConfig, _calls
from turnout.errors import ConfigError, TrainingError
from turnout.guidance import Task

TOKENIZER = small_tokenizer()
SETTINGS = VariantConfig(features=FeatureConfig(), telephone_variants=1, narrowband=True, trim=True)


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_words(tmp_path_factory.mktemp("audio"), takes=8)


def loader(cuts: str, *, seed: int = 1, rank: int = 0, world: int = 1, **changes) -> Loader:
    data = data_of(cuts, **changes)
    return Loader(
        data,
        small_model(),
        TOKENIZER,
        read_corpora(data.train),
        seed=seed,
        rank=rank,
        world_size=world,
        cache_dir=Path(cuts).parent / "cache",
    )


def same(left: Sequence[Batch], right: Sequence[Batch]) -> bool:
    """Whether two sequences of batches hold the same, to the last bit."""
    if len(left) != len(right):
        return False
    for one, other in zip(left, right, strict=True):
        for field in fields(Batch):
            a, b = getattr(one, field.name), getattr(other, field.name)
            if not (torch.equal(a, b) if isinstance(a, Tensor) else a == b):
                return False
    return True


def test_batches_can_begin_anywhere(cuts: str) -> None:
    whole = list(loader(cuts).batches(3))
    assert len(whole) >= 3
    fresh = loader(cuts)
    list(fresh.batches(0))
    assert same(list(fresh.batches(3, 2)), whole[2:])
    assert not list(fresh.batches(3, len(whole)))


def test_nothing_is_replayed_to_begin_late(cuts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = loader(cuts)
    length = len(made.plan(0))
    drawn = []
    collate = made._collator.batch
    monkeypatch.setattr(made._collator, "batch", lambda ex: drawn.append(len(ex)) or collate(ex))
    list(made.batches(0, length - 1))
    assert len(drawn) == 1


def test_seeds_and_epochs_differ(cuts: str) -> None:
    first = list(loader(cuts).batches(0))
    assert same(first, list(loader(cuts).batches(0)))
    assert not same(first, list(loader(cuts, seed=2).batches(0)))
    assert not same(first, list(loader(cuts).batches(1)))


@pytest.mark.parametrize("start", [0, 1])
def test_workers_change_nothing(cuts: str, start: int) -> None:
    alone = list(loader(cuts).batches(0, start))
    torch.manual_seed(4)
    before = torch.get_rng_state()
    assert same(list(loader(cuts, workers=2).batches(0, start)), alone)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_workers_stay_and_change_nothing_however_they_begin(cuts: str, method: str) -> None:
    alone = loader(cuts)
    before = set(multiprocessing.active_children())
    working = loader(cuts, workers=2, worker_start=method)
    began: list[set[BaseProcess]] = []
    # Left in the midst of an epoch, gone on with in another, and to its end.
    for epoch, start, count in ((0, 1, 1), (3, 0, None), (4, 0, None)):
        made = list(islice(working.batches(epoch, start), count))
        assert same(made, list(alone.batches(epoch, start))[:count])
        began.append(set(multiprocessing.active_children()) - before)
    assert len(began[0]) == 2
    assert began[0] == began[1] == began[2]
    working.close()
    assert not set(multiprocessing.active_children()) - before


def test_batch_mates_do_not_matter(cuts: str) -> None:
    def frames(batch_seconds: float) -> dict[str, Tensor]:
        return {
            name: batch.log_mel[row, batch.frame_mask[row]]
            for batch in loader(cuts, batch_seconds=batch_seconds).batches(0)
            for row, name in enumerate(batch.utterance_ids)
        }

    few, many = frames(5.0), frames(60.0)
    assert few.keys() == many.keys()
    assert all(torch.equal(few[name], many[name]) for name in few)


def test_ranks_share_an_epoch(cuts: str) -> None:
    parts = [list(loader(cuts, rank=rank, world=3).batches(0)) for rank in range(3)]
    assert len({len(part) for part in parts}) == 1
    names = {name for part in parts for batch in part for name in batch.utterance_ids}
    alone = {name for batch in loader(cuts).batches(0) for name in batch.utterance_ids}
    assert names == alone


def test_batches_keep_their_budget(cuts: str) -> None:
    for batch in loader(cuts).batches(0):
        assert batch.log_mel.shape[0] * batch.log_mel.shape[1] <= 1200
        assert batch.seconds <= 12.0


def test_the_curriculum_counts_from_the_beginning_of_the_epoch(cuts: str) -> None:
    made = loader(cuts, augment=AugmentConfig(empty=0.0))

    def longest(progress) -> int:
        return max(len(t.split()) for b in made.batches(0, 0, progress) for t in b.texts)

    assert longest(0.0) == 1
    assert longest(0.1) == 3
    assert longest(1.0) == 6


def test_texts_belong_together(cuts: str) -> None:
    for batch in loader(cuts).batches(0):
        by_row = dict(zip(batch.guidance, batch.texts, strict=True))
        assert len(by_row) >= 2
        for row in range(0, len(batch.texts), 2):
            spoken, translated = batch.texts[row : row + 2]
            assert " ".join(TEXTS[word] for word in spoken.split()) == translated


def test_one_task_can_be_drawn(cuts: str) -> None:
    batches = list(loader(cuts, tasks="draw", translate_weight=0.3, epoch_hours=0.2).batches(0))
    tasks = [guidance.task for batch in batches for guidance in batch.guidance]
    assert len(tasks) == sum(len(batch.utterance_ids) for batch in batches)
    assert 0.2 < tasks.count(Task.TRANSLATE) / len(tasks) < 0.4


def test_some_utterances_are_empty(cuts: str) -> None:
    batches = list(loader(cuts, augment=AugmentConfig(empty=0.5)).batches(0))
    lengths = torch.cat([batch.ctc_lengths for batch in batches])
    assert 0.2 < float((lengths == 0).float().mean()) < 0.8


def test_whole_utterances_take_the_same_path(cuts: str) -> None:
    made = loader(cuts, train=(CorpusConfig(cuts=cuts),))
    batches = list(made.batches(0))
    assert sum(len(batch.utterance_ids) for batch in batches) == 64
    assert same(list(made.batches(0, 1)), batches[1:])


def test_test_speakers_are_never_heard(tmp_path: Path) -> None:
    held_out = write_words(tmp_path, split="test")
    with pytest.raises(TrainingError, match="none of the 0 clips|nothing to learn from"):
        loader(held_out)


def test_no_corpus_is_an_error(cuts: str) -> None:
    with pytest.raises(TrainingError, match="name at least one corpus"):
        loader(cuts, train=())


def test_an_unknown_language_is_an_error(cuts: str, tmp_path: Path) -> None:
    model = ModelConfig(vocabulary=VocabularyConfig(languages=("ar",), translations=()))
    with pytest.raises(ConfigError, match="spoken in es"):
        Loader(
            data_of(cuts),
            model,
            TOKENIZER,
            {cuts: read_clips(cuts)},
            seed=0,
            rank=0,
            world_size=1,
            cache_dir=tmp_path,
        )


def test_the_fingerprint_follows_the_texts(cuts: str, tmp_path: Path) -> None:
    other = write_words(tmp_path, takes=2)
    assert loader(cuts).fingerprint == loader(cuts, seed=9).fingerprint
    assert loader(cuts).fingerprint != loader(other).fingerprint


def test_the_fingerprint_follows_language_and_domain(cuts: str, tmp_path: Path) -> None:
    vocabulary = VocabularyConfig(languages=("es", "de"), translations=(("es", "en"),))

    def fingerprint(**changes: str) -> str:
        clips = read_clips(cuts)
        clips[3] = replace(clips[3], **changes)  # pyright: ignore[reportArgumentType]
        made = Loader(
            data_of(cuts), ModelConfig(vocabulary=vocabulary), TOKENIZER, {cuts: clips},
            seed=0, rank=0, world_size=1, cache_dir=Path(cuts).parent / "cache",
        )  # fmt: skip
        return made.fingerprint

    found = [
        fingerprint(), fingerprint(language="de"), fingerprint(domain="de"),
        fingerprint(domain="calls"),
    ]  # fmt: skip
    assert len(set(found)) == 4
    # Of one language without domains it is what it was before they were in it.
    digest = sha256()
    (store,) = loader(cuts)._stores
    digest.update(store.digest.encode())
    for clip in store.clips:
        digest.update(repr((clip.text, sorted(clip.translations.items()))).encode())
    assert found[0] == digest.hexdigest()


def test_strangers_are_told_of_and_have_lines_of_their_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cuts = write_words(tmp_path / "audio", takes=1, rate=8000)
    data = data_of(cuts)
    clips = [replace(clip, speaker=None) for clip in read_clips(cuts)]
    Loader(
        data, small_model(), TOKENIZER, {cuts: clips}, seed=0, rank=0, world_size=1,
        cache_dir=tmp_path,
    )  # fmt: skip
    assert "no speaker is stated of 8 of 8 words" in caplog.text
    assert "(8 recordings)" in caplog.text
    lines = [
        next(_calls(replace(clips[0], path=f"{n}.wav"), word("uno", 120.0))).tobytes()
        for n in [*range(20), 0]
    ]
    assert len(set(lines)) > 5
    # Segments of one recording came over one line.
    assert lines[0] == lines[-1]
