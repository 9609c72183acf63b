"""Damaged checkpoints are refused by name before a weight is used, and the one before is taken."""

import errno
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.unit.training.toy import run_toy, toy_config
from turnout.errors import CheckpointError, StorageError, TrainingError
from turnout.training import checkpoints as module
from turnout.training.checkpoints import MANIFEST, Checkpoints, digest_of, read_checkpoint
from turnout.training.distributed import Ranks, open_fabric

WEIGHTS = "rank-0000.safetensors"
TENSORS = {"weights/a": torch.arange(64.0).reshape(8, 8), "weights/b": torch.ones(3)}
BIG = {"weights/a": torch.randn(200_000)}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Steps 10 and 20."""
    ranks = Ranks(open_fabric(toy_config(tmp_path)))
    found = Checkpoints(tmp_path / "checkpoints", ranks)
    for step in (10, 20):
        found.save(step, {n: t * step for n, t in TENSORS.items()}, {"note": step})
    return found


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def blank(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    end = min(start + 4096, len(data))
    data[start:end] = bytes(b ^ 255 for b in data[start:end])
    path.write_bytes(data)


def delete(path: Path, rng: random.Random) -> None:
    path.unlink()


def test_what_was_saved_comes_back(checkpoints: Checkpoints) -> None:
    found = checkpoints.newest(pytest.fail)
    assert found is not None
    assert (found.step, found.fields) == (20, {"note": 20})
    assert found.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(found.tensors[name], TENSORS[name] * 20) for name in TENSORS)


@pytest.mark.parametrize("damage", [flip, truncate, blank, delete], ids=lambda d: d.__name__)
@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
def test_the_damaged_file_is_named_and_the_one_before_taken(
    checkpoints: Checkpoints, name: str, damage: Callable[[Path, random.Random], None]
) -> None:
    folder = checkpoints.path(20)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for seed in range(8):
        damage(folder / name, random.Random(seed))
        said: list[str] = []
        found = checkpoints.newest(said.append)
        assert found is not None
        assert found.step == 10, f"seed {seed}"
        assert len(said) == 1
        assert str(folder / name) in said[0]
        for file, data in whole.items():
            (folder / file).write_bytes(data)


def test_files_swapped_between_steps_are_refused(checkpoints: Checkpoints) -> None:
    shutil.copy(checkpoints.path(10) / WEIGHTS, checkpoints.path(20) / WEIGHTS)
    with pytest.raises(CheckpointError, match=WEIGHTS):
        read_checkpoint(checkpoints.path(20))
    shutil.rmtree(checkpoints.path(20))
    shutil.copytree(checkpoints.path(10), checkpoints.path(20))
    with pytest.raises(CheckpointError, match="is of step 10"):
        read_checkpoint(checkpoints.path(20))


def test_an_edited_manifest_is_refused_even_where_it_is_valid_json(
    checkpoints: Checkpoints,
) -> None:
    path = checkpoints.path(20) / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["fields"]["note"] = 21
    path.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="digest does not match"):
        read_checkpoint(checkpoints.path(20))


def test_a_manifest_cannot_point_out_of_its_folder(checkpoints: Checkpoints) -> None:
    outside = checkpoints.folder / "outside.safetensors"
    shutil.copy(checkpoints.path(20) / WEIGHTS, outside)
    path = checkpoints.path(20) / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["files"][0]["name"] = "../outside.safetensors"
    del manifest["digest"]
    path.write_text(json.dumps({**manifest, "digest": digest_of(manifest)}))
    with pytest.raises(CheckpointError, match="step-00000020/outside.safetensors: cannot be read"):
        read_checkpoint(checkpoints.path(20))


def test_where_all_are_damaged_it_says_so(checkpoints: Checkpoints) -> None:
    for step in (10, 20):
        flip(checkpoints.path(step) / WEIGHTS, random.Random(step))
    with pytest.raises(CheckpointError, match="none of its 2 checkpoints is whole"):
        checkpoints.newest(lambda _: None)


def test_rotation_keeps_the_newest_and_never_the_last_that_verifies(
    checkpoints: Checkpoints,
) -> None:
    checkpoints.save(30, TENSORS, {})
    assert checkpoints.rotate(2, 30) == [30, 20]
    assert checkpoints.steps() == [30, 20]
    checkpoints.save(40, TENSORS, {})
    flip(checkpoints.path(40) / WEIGHTS, random.Random(0))
    with pytest.raises(CheckpointError, match="step-00000040"):
        checkpoints.rotate(1, 40)
    assert checkpoints.steps() == [40, 30, 20]


def test_after_a_fall_back_the_damaged_one_goes_with_the_next_save(
    checkpoints: Checkpoints,
) -> None:
    flip(checkpoints.path(20) / WEIGHTS, random.Random(0))
    checkpoints.save(15, TENSORS, {})
    checkpoints.rotate(2, 15)
    assert checkpoints.steps() == [15, 10]


@pytest.mark.parametrize("stage", ["rank file", "manifest", "rename"])
def test_without_space_the_last_one_stays(
    checkpoints: Checkpoints, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = {"rank file": "save_file", "manifest": "write_synced", "rename": "sync"}[stage]
    with monkeypatch.context() as patch:
        patch.setattr(module, target, full)
        with pytest.raises(StorageError, match="No space left on device"):
            checkpoints.save(30, TENSORS, {})
    assert not list(checkpoints.folder.glob(".*"))
    found = checkpoints.newest(pytest.fail)
    assert found is not None
    assert found.step == 20


def test_a_limit_on_file_sizes_leaves_nothing_half_written(checkpoints: Checkpoints) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StorageError):
            checkpoints.save(30, BIG, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert checkpoints.steps() == [20, 10]
    assert not list(checkpoints.folder.glob(".*"))


def test_no_format_notices_a_flipped_bit_by_itself(checkpoints: Checkpoints) -> None:
    """The negative control: why there is a manifest."""
    path = checkpoints.path(20) / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    loaded = safetensors.torch.load(bytes(data))
    assert loaded.keys() == TENSORS.keys()


def test_a_run_falls_back_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = run_toy(toy_config(tmp_path / "whole", max_steps=8))
    run_toy(toy_config(tmp_path / "other", max_steps=8))
    newest = tmp_path / "other" / "checkpoints" / "step-00000008"
    flip(newest / WEIGHTS, random.Random(1))
    again = run_toy(toy_config(tmp_path / "other", max_steps=8))
    for one, two in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, two)
    assert read_checkpoint(newest).step == 8


def test_weights_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    trainer = run_toy(toy_config(tmp_path, max_steps=4))
    with torch.no_grad():
        next(iter(trainer.model.parameters())).view(-1)[0] = float("nan")
    trainer.state.step += 1
    with pytest.raises(TrainingError, match="not finite at step 5"):
        trainer.save()
    assert trainer.checkpoints.steps() == [4, 2]
