"""Damaged checkpoints are refused by name before a weight is used, and the one before is taken."""

import errno
import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from tests.unit.training.toy import toy_config
from turnout import files
from turnout.errors import CheckpointError, StorageError
from turnout.training import checkpoints as module
from turnout.training.checkpoints import MANIFEST, Checkpoints, digest_of, read_checkpoint
from turnout.training.distributed import Ranks, open_fabric

WEIGHTS = "rank-0000.safetensors"
TENSORS = {"weights/a": torch.arange(64.0).reshape(8, 8), "weights/b": torch.ones(3)}


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


def test_what_was_saved_comes_back(checkpoints: Checkpoints) -> None:
    found = checkpoints.newest(pytest.fail)
    assert found is not None
    assert (found.step, found.fields) == (20, {"note": 20})
    assert found.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(found.tensors[name], TENSORS[name] * 20) for name in TENSORS)


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

    room, target = {
        "rank file": (module, "save_file"),
        "manifest": (module, "write_synced"),
        "rename": (files, "sync"),
    }[stage]
    with monkeypatch.context() as patch:
        patch.setattr(room, target, full)
        with pytest.raises(StorageError, match="No space left on device"):
            checkpoints.save(30, TENSORS, {})
    assert not list(checkpoints.folder.glob(".*"))
    found = checkpoints.newest(pytest.fail)
    assert found is not None
    assert found.step == 20


def test_what_a_killed_writer_left_is_no_checkpoint(checkpoints: Checkpoints) -> None:
    partial = checkpoints.folder / ".partial-step-00000030"
    partial.mkdir()
    (partial / WEIGHTS).write_bytes(b"half")
    found = checkpoints.newest(pytest.fail)
    assert found is not None
    assert found.step == 20
    files.remove_leftovers(checkpoints.folder)
    assert not partial.exists()
