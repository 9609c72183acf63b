"""What can happen to a checkpoint on its disk; every function really changes something."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from turnout.training.checkpoints import MANIFEST

BLOCK = 4096


def flip_a_bit(checkpoint: Path, before: Path, rng: Random) -> Path:
    """One bit of one file; returns the damaged file, as all of these do."""
    path = any_file(checkpoint, rng)
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return path


def truncate(checkpoint: Path, before: Path, rng: Random) -> Path:
    """Anything from all but one byte to nothing."""
    path = any_file(checkpoint, rng)
    os.truncate(path, rng.randrange(path.stat().st_size))
    return path


def zero_a_block(checkpoint: Path, before: Path, rng: Random) -> Path:
    """A block of a disk, as a lost write leaves it."""
    path = any_file(checkpoint, rng)
    data = bytearray(path.read_bytes())
    starts = [n for n in range(0, len(data), BLOCK) if any(data[n : n + BLOCK])]
    start = rng.choice(starts)
    data[start : start + BLOCK] = bytes(len(data[start : start + BLOCK]))
    path.write_bytes(data)
    return path


def delete_a_file(checkpoint: Path, before: Path, rng: Random) -> Path:
    """One of them."""
    path = any_file(checkpoint, rng)
    path.unlink()
    return path


def swap_a_file(checkpoint: Path, before: Path, rng: Random) -> Path:
    """A file of the checkpoint before, in the place of its namesake."""
    path = any_file(checkpoint, rng)
    shutil.copy(before / path.name, path)
    return path


def swap_all_files(checkpoint: Path, before: Path, rng: Random) -> Path:
    """The checkpoint before, whole, under the name of this one."""
    shutil.rmtree(checkpoint)
    shutil.copytree(before, checkpoint)
    return checkpoint / MANIFEST


def swap_rank_files(checkpoint: Path, before: Path, rng: Random) -> Path:
    """The ranks' files, under each other's names."""
    first, second = sorted(checkpoint.glob("rank-*"))
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    return first


def edit_the_manifest(checkpoint: Path, before: Path, rng: Random) -> Path:
    """Another value somewhere in it; still JSON, and still a manifest."""
    path = checkpoint / MANIFEST
    manifest = json.loads(path.read_text())
    holder, key = rng.choice(list(leaves(manifest)))
    value = holder[key]
    holder[key] = f"{value}0" if isinstance(value, str) else (value or 0) + 1
    path.write_text(json.dumps(manifest))
    return path


def leaves(value: Any) -> list[tuple[Any, Any]]:
    """Where the plain values of nested JSON are: (what holds it, its key)."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found: list[tuple[Any, Any]] = []
    for key, item in items:
        found += leaves(item) if isinstance(item, dict | list) else [(value, key)]
    return found


def any_file(checkpoint: Path, rng: Random) -> Path:
    """One of the checkpoint's files."""
    return rng.choice(sorted(checkpoint.iterdir()))


Damage = Callable[[Path, Path, Random], Path]
DAMAGES: dict[Damage, tuple[int, int]] = {
    flip_a_bit: (4, 1000),
    truncate: (3, 300),
    zero_a_block: (3, 300),
    delete_a_file: (2, 30),
    swap_a_file: (1, 30),
    swap_all_files: (1, 1),
    swap_rank_files: (1, 1),
    edit_the_manifest: (2, 300),
}
"""Each with its trials at the small and the full size."""
