"""Distillation: what a teacher hears and gives, what is kept of it, and the losses."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.unit.data.words import PLAIN, data_of, small_model, small_tokenizer, write_words
from tests.unit.training.toy import clean_batch, toy_batch, toy_config, toy_model, toy_trainer
from turnout.audio.features import model_features
from turnout.config import (
    CorpusConfig,
    FeatureConfig,
    ObjectiveConfig,
    OptimizerConfig,
    TrainConfig,
)
from turnout.corpora.clips import ClipReader, read_corpora
from turnout.data.augment import Augmenter
from turnout.data.batch import IGNORED, Batch, Clean
from turnout.data.loader import Loader
from turnout.data.plan import Stream, generator
from turnout.errors import ConfigError, StorageError
from turnout.guidance import Window
from turnout.model.build import build_model
from turnout.training import teacher as teaching
from turnout.training.checkpoints import read_checkpoint
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.state import RunState
from turnout.training.step import Stepper
from turnout.training.teacher import Kept, Teacher, decoder_loss, encoder_loss
from turnout.training.train import train

BOTH = ObjectiveConfig(text_weight=0.0, distil_encoder=1.0, distil_decoder=1.0, balance_weight=0.0)
WHISPER = FeatureConfig(kind="whisper", normalization="whisper", padding="window")


def stepper(tmp_path: Path, objective: ObjectiveConfig = BOTH, **changes: object) -> Stepper:
    config = toy_config(
        tmp_path, model=toy_model(dropout=0.0), objective=objective, init_from="x", **changes
    )
    torch.manual_seed(0)
    made = Stepper(config, build_model(config.model), Ranks(open_fabric(config)))
    made.teacher = Teacher(made.model, objective, tmp_path / "teacher")
    return made


def test_who_hears_the_same_is_at_no_distance(tmp_path: Path) -> None:
    made = stepper(tmp_path)
    report = made([clean_batch("a"), clean_batch("b")], RunState(), 0.0)
    # float16 of values about 1.
    assert report.distil_encoder < 1e-6 and report.distil_decoder < 1e-6
    assert report.loss == pytest.approx(report.distil_encoder + report.distil_decoder)
    loud = dataclasses.replace(clean_batch("a"), log_mel=toy_batch("a").log_mel + 0.5)
    moved = made([loud], RunState(), 0.0)
    assert moved.distil_encoder > 1e-3 and moved.distil_decoder > 1e-4 and moved.norm > 0


def test_a_student_comes_closer(tmp_path: Path) -> None:
    made = stepper(
        tmp_path,
        dataclasses.replace(BOTH, distil_decoder=0.0),
        trainable=("encoder.experts",),
        optimizer=OptimizerConfig(warmup_steps=0, learning_rate=3e-3, decay="constant"),
    )
    noisy = dataclasses.replace(clean_batch("a"), log_mel=toy_batch("a").log_mel + 0.5)
    reports = [made([noisy], RunState(), 0.0) for _ in range(15)]
    assert reports[-1].distil_encoder < reports[0].distil_encoder / 2
    # The decoder was left out: nothing compares its distributions.
    assert reports[0].attention == 0 and reports[0].distil_decoder == 0


@torch.no_grad()
def test_losses_are_those_of_their_formulas() -> None:
    torch.manual_seed(1)
    output = build_model(toy_model()).eval()
    batch = toy_batch("a")
    encoded = output.encode(batch.log_mel, batch.frame_mask, batch.encoder_guide, batch.bandwidth)
    taught = torch.randn(*encoded.hidden.shape[:1], encoded.hidden.shape[1] + 3, 16)
    expected = sum(
        float((encoded.hidden[row, frame] - taught[row, frame]).square().mean())
        for row in range(len(taught))
        for frame in range(int(encoded.frame_mask[row].sum()))
    )
    assert float(encoder_loss(encoded, taught)) == pytest.approx(expected, rel=1e-5)
    logits, theirs = torch.randn(3, 4, 9), torch.randn(3, 4, 9).log_softmax(dim=-1)
    labels = torch.randint(0, 9, (3, 4))
    labels[0, 2:] = IGNORED
    used = labels != IGNORED
    own = logits.log_softmax(dim=-1)[used]
    expected = functional.kl_div(own, theirs[used], reduction="sum", log_target=True)
    assert float(decoder_loss(logits, theirs, labels)) == pytest.approx(float(expected), rel=1e-5)


def test_what_is_kept_stays_within_its_bound(tmp_path: Path) -> None:
    values = np.arange(80, dtype=np.float16).reshape(-1, 8)
    size = values.nbytes + 32
    kept = Kept(tmp_path, 3 * size)
    for name in "abc":
        kept.put(name, values)
    found = kept.get("a", (10, 8))
    assert found is not None and np.array_equal(found, values)
    kept.put("d", values)  # b is the one that was not used for longest
    there = [kept.get(name, (10, 8)) is not None for name in "abcd"]
    assert there == [True, False, True, True]
    assert kept.get("a", (8, 10)) is not None and kept.get("a", (9, 8)) is None
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 3 * size
    again = Kept(tmp_path, 3 * size)
    again.put("e", values)
    assert len(list(tmp_path.iterdir())) == 3 and again.get("e", (10, 8)) is not None
    data = bytearray((tmp_path / "e.f16").read_bytes())
    data[-1] ^= 1
    (tmp_path / "e.f16").write_bytes(data)
    assert Kept(tmp_path, 3 * size).get("e", (10, 8)) is None
    Kept(tmp_path / "none", 0).put("a", values)
    assert not list((tmp_path / "none").iterdir())


def test_what_is_put_again_counts_once(tmp_path: Path) -> None:
    values = np.arange(80, dtype=np.float16).reshape(-1, 8)
    size = values.nbytes + 32
    kept = Kept(tmp_path, 3 * size)
    for name in "abcccc":
        kept.put(name, values)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_a_lower_bound_and_leftovers_are_seen_to_at_the_start(tmp_path: Path) -> None:
    values = np.arange(80, dtype=np.float16).reshape(-1, 8)
    size = values.nbytes + 32
    kept = Kept(tmp_path, 3 * size)
    for number, name in enumerate("abc"):
        kept.put(name, values)
        os.utime(tmp_path / f"{name}.f16", (number, number))
    (tmp_path / ".partial-01234567-d.f16").write_bytes(b"killed")
    Kept(tmp_path, size)
    assert [path.name for path in tmp_path.iterdir()] == ["c.f16"]


def test_a_full_disk_ends_nothing_and_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made, batch = stepper(tmp_path), clean_batch("a")
    assert made.teacher is not None

    def full(path: Path, data: bytes) -> None:
        raise StorageError(f"{path}: cannot be written (No space left on device)")

    expected = made.teacher(batch).hidden
    shutil.rmtree(made.teacher.kept.folder)
    monkeypatch.setattr(teaching, "write_whole", full)
    for _ in range(2):
        assert torch.equal(made.teacher(batch).hidden, expected)
    (told,) = [record.getMessage() for record in caplog.records]
    assert "not kept any more" in told and "No space left" in told


def test_ranks_share_the_bound(tmp_path: Path) -> None:
    model = build_model(toy_model())
    objective = dataclasses.replace(BOTH, teacher_cache_gb=1.0)
    assert Teacher(model, objective, tmp_path, 4).kept.most_bytes == 250_000_000


def test_going_on_needs_the_same_teacher(tmp_path: Path) -> None:
    config = toy_config(tmp_path, objective=BOTH, init_from="x", log_every=1)
    trainer = toy_trainer(config)
    trainer.stepper.teacher = Teacher(trainer.model, BOTH, tmp_path / "teacher")
    trainer.begin()
    trainer.state.step = 1
    trainer.save()
    checkpoint = read_checkpoint(trainer.checkpoints.path(1))
    trainer.restore(checkpoint)
    with torch.no_grad():
        trainer.stepper.teacher.model.encoder.norm.weight[0] += 1e-6
        changed = trainer.stepper.teacher.model
    trainer.stepper.teacher = Teacher(changed, BOTH, tmp_path / "teacher")
    with pytest.raises(ConfigError, match="the teacher is not what this run began with"):
        trainer.restore(checkpoint)


def test_what_another_teacher_heard_is_not_taken(tmp_path: Path) -> None:
    made, batch = stepper(tmp_path), clean_batch("a")
    assert made.teacher is not None
    before = made.teacher(batch).hidden
    with torch.no_grad():
        made.model.encoder.norm.bias.add_(1.0)
    other = Teacher(made.model, BOTH, tmp_path / "teacher")
    assert (other(batch).hidden - before).abs().mean() > 0.5
    assert len(list((tmp_path / "teacher").iterdir())) == 8


def test_kept_or_not_the_outputs_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, batch = stepper(tmp_path), clean_batch("a")
    teacher = made.teacher
    assert teacher is not None
    first = teacher(batch)
    monkeypatch.setattr(teacher.model, "encode", None)  # is not asked again
    again = teacher(batch)
    assert torch.equal(first.hidden, again.hidden)
    assert first.log_probs is not None and again.log_probs is not None
    assert torch.equal(first.log_probs, again.log_probs)


def loader(tmp_path: Path, cuts: str, **changes: object) -> Loader:
    model = small_model(features=WHISPER, window_seconds=2.5)
    data = data_of(cuts, train=(CorpusConfig(cuts=cuts),), **{"batch_seconds": 1.0, **changes})
    return Loader(
        data, model, small_tokenizer(), read_corpora(data.train), seed=0, rank=0, world_size=1,
        cache_dir=tmp_path, clean=True,
    )  # fmt: skip


def test_a_teacher_hears_the_recording_as_it_was(tmp_path: Path) -> None:
    cuts = write_words(tmp_path)
    noisy = dataclasses.replace(PLAIN, noise=1.0, noise_snr_db=(0.0, 0.0), time_masks=2)
    made = loader(tmp_path, cuts, augment=noisy, plans=1, window=Window.SPEECH)
    reader = ClipReader()

    def number(batch: Batch) -> str:
        return batch.utterance_ids[0].partition("/")[2]

    later_of = {number(batch): batch for batch in made.batches(7)}
    for planned, batch in zip(made.plan(0), made.batches(0), strict=True):
        (utterance,), later = planned, later_of[number(batch)]
        (clip,) = utterance.joining.clips
        assert batch.clean is not None and later.clean is not None
        # The same in every epoch, what the student hears is not.
        assert torch.equal(batch.clean.log_mel, later.clean.log_mel)
        assert not torch.equal(batch.log_mel, later.log_mel)
        assert batch.clean.log_mel.shape[1] == 250 and batch.clean.lasting.all()
        assert batch.log_mel.shape[1] == utterance.shape.num_frames < 250
        samples = reader.read(made._stores[0].clips[clip])
        gaps = [np.zeros(160 * count, np.float32) for count in utterance.shape.gaps]
        expected = model_features(np.concatenate((gaps[0], samples, gaps[1])), made.model)
        difference = np.abs(batch.clean.log_mel[0].numpy() - expected)
        assert np.quantile(difference, 0.9) < 0.01


def test_a_teacher_hears_a_telephone_call_as_one(tmp_path: Path) -> None:
    """Warped like the student's, which leaves alone what lies beyond the telephone's band."""
    warped = dataclasses.replace(PLAIN, warp=(1.15, 1.15), telephone_variants=0)
    made = loader(tmp_path, write_words(tmp_path, rate=8000), augment=warped)
    for planned, batch in zip(made.plan(0), made.batches(0), strict=True):
        assert batch.clean is not None
        assert batch.clean.bandwidth.tolist() == batch.bandwidth.tolist() == [0]
        # Bands above 4300 Hz may be empty for the student, and its gaps have faint noise.
        below = torch.from_numpy(made._examples._augmenter.bank.band_hz < 4300)
        (utterance,) = planned
        first, count = utterance.shape.gaps[0], utterance.shape.counts[0]
        word = slice(first, first + count)
        assert torch.equal(batch.clean.log_mel[0, word, below], batch.log_mel[0, word, below])


def test_where_nothing_is_said_a_teacher_hears_it_in_its_window(tmp_path: Path) -> None:
    silent = dataclasses.replace(PLAIN, empty=1.0)
    made = loader(tmp_path, write_words(tmp_path), augment=silent, window=Window.SPEECH)
    padded = Augmenter(silent, made.model, window=Window.PADDED)
    for planned, batch in zip(made.plan(0), made.batches(0), strict=True):
        (utterance,) = planned
        whole = padded.empty(utterance, generator(Stream.AUGMENT, 0, 0, 0, utterance.index))
        assert batch.clean is not None
        # Of the same noise and without masks: what a student of padded windows would hear.
        assert np.array_equal(batch.clean.log_mel[0].numpy(), whole)
        assert not batch.clean.lasting.any()
        assert batch.log_mel.shape[1] < 250 == batch.clean.log_mel.shape[1]


def test_what_is_not_heard_again_is_not_kept(tmp_path: Path) -> None:
    made, batch = stepper(tmp_path), clean_batch("a")
    assert made.teacher is not None and batch.clean is not None
    lasting = torch.tensor([True, False, True, True])
    made.teacher(dataclasses.replace(batch, clean=batch.clean._replace(lasting=lasting)))
    assert len(list((tmp_path / "teacher").iterdir())) == 3


def test_a_teacher_takes_its_own_way(tmp_path: Path) -> None:
    made, batch = stepper(tmp_path), clean_batch("a")
    assert made.teacher is not None and batch.clean is not None
    wide = torch.ones_like(batch.bandwidth)
    clean = batch.clean._replace(
        encoder_guide=wide, bandwidth=wide, decoder_guide=torch.zeros_like(batch.decoder_guide)
    )
    own = made.teacher(dataclasses.replace(batch, clean=clean))
    told = dataclasses.replace(
        batch,
        clean=clean,
        encoder_guide=0 * wide,
        bandwidth=0 * wide,
        decoder_guide=torch.ones_like(batch.decoder_guide),
    )
    again = made.teacher(told)
    assert own.log_probs is not None and again.log_probs is not None
    assert torch.equal(own.hidden, again.hidden) and torch.equal(own.log_probs, again.log_probs)
    asked = made.model.eval().encode(clean.log_mel, clean.frame_mask, wide, wide)
    assert torch.allclose(own.hidden, asked.hidden * asked.frame_mask.unsqueeze(-1), atol=1e-2)
    assert not torch.allclose(own.hidden, made.teacher(batch).hidden, atol=1e-2)


def test_distillation_needs_a_teacher_and_something_to_learn(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keep to the model that init_from names"):
        TrainConfig(objective=BOTH)
    with pytest.raises(ConfigError, match="nothing is learned"):
        ObjectiveConfig(text_weight=0.0)


def test_a_run_that_goes_on_has_the_same_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = write_words(tmp_path)
    data = data_of(cuts, plans=1, batch_seconds=4.0, dev=())
    shape = toy_model()
    model = small_model(encoder=shape.encoder, decoder=shape.decoder)
    settings = {"data": data, "model": model, "average_last": 1, "validate_every": 100}
    first = toy_config(tmp_path / "first", **settings, max_steps=2)
    base = train(first)
    config = dataclasses.replace(
        first,
        output=str(tmp_path / "student"),
        init_from=str(base),
        objective=dataclasses.replace(BOTH, text_weight=1.0),
        trainable=("encoder.experts",),
        max_steps=8,
        checkpoint_every=4,
        keep_checkpoints=3,
    )
    calls: list[int] = []
    encoded = Teacher._encoded

    def counted(self: Teacher, clean: Clean) -> tuple[torch.Tensor, torch.Tensor]:
        before = len(list(self.kept.folder.iterdir()))
        found = encoded(self, clean)
        calls.append(len(list(self.kept.folder.iterdir())) - before)
        return found

    monkeypatch.setattr(teaching.Teacher, "_encoded", counted)
    weights = (train(config) / "model.safetensors").read_bytes()
    assert calls[-1] == 0 < calls[0]  # plans come again, and with them what is kept
    for place in ("model", "checkpoints/step-00000008", "teacher"):
        shutil.rmtree(tmp_path / "student" / place)
    assert (train(config) / "model.safetensors").read_bytes() == weights
