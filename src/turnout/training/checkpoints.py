"""Checkpoints on disk: whole and verified, or not there at all.

A checkpoint is a folder `step-00001000/` with one safetensors file per rank and a manifest that
holds the SHA-256 of each (no checkpoint format notices a flipped bit by itself) and of its own
content. It is written beside its place, synced, and renamed. Which one is the newest is found by
looking; nothing points at it. This module does not know what the tensors mean.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from turnout.errors import CheckpointError, StorageError
from turnout.files import PARTIAL, put_in_place, sha256_of, sync, write_synced
from turnout.training.distributed import Ranks
from turnout.training.whole_tensors import local, share_to_write

CHECKPOINT_FORMAT = 1
"""Of a manifest and the files it names."""
MANIFEST = "manifest.json"
NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """What was read back, verified."""

    step: int
    fields: dict[str, Any]
    """What the writer put into the manifest."""
    tensors: dict[str, Tensor]


class Checkpoints:
    """The checkpoints of one run; every rank calls every method except `rotate`."""

    def __init__(self, folder: Path, ranks: Ranks) -> None:
        self.folder = folder
        self.ranks = ranks

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, damaged or not, newest first."""
        if not self.folder.is_dir():
            return []
        found = (NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def path(self, step: int) -> Path:
        """The folder of one step."""
        return self.folder / f"step-{step:08d}"

    def save(self, step: int, tensors: dict[str, Tensor], fields: dict[str, Any]) -> None:
        """Write a checkpoint whole or not at all; each rank writes its share of the tensors.

        Raises StorageError on every rank where one of them could not write; what was there stays.
        """
        # One name for all ranks: they write into the same folder.
        partial = self.folder / f"{PARTIAL}{self.path(step).name}"
        with self._all_or_none(partial):
            if self.ranks.first:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
        entry: dict[str, Any] = {}
        with self._all_or_none(partial):
            entry = self._write_share(partial, tensors)
        entries = [json.loads(text) for text in self.ranks.gather_text(json.dumps(entry))]
        with self._all_or_none(partial):
            if self.ranks.first:
                manifest: dict[str, Any] = {"format": CHECKPOINT_FORMAT, "step": step}
                manifest |= {"fields": fields, "files": entries}
                manifest["digest"] = digest_of(manifest)
                text = json.dumps(manifest, ensure_ascii=False, indent=1)
                write_synced(partial / MANIFEST, text.encode())
                put_in_place(partial, self.path(step))

    def _write_share(self, folder: Path, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """This rank's file: every n-th tensor, so that each is written once."""
        share = share_to_write(tensors, self.ranks, self.ranks.size)
        path = folder / f"rank-{self.ranks.rank:04d}.safetensors"
        save_file(share, path)
        sync(path)
        return {"name": path.name, "sha256": sha256_of(path.read_bytes())}

    @contextmanager
    def _all_or_none(self, partial: Path) -> Iterator[None]:
        """A stage of writing: where it fails on one rank, it fails on all, and leaves nothing."""
        problem = None
        try:
            yield
        except (OSError, SafetensorError) as error:
            problem = error
        if self.ranks.largest(int(problem is not None)):
            if self.ranks.first:
                shutil.rmtree(partial, ignore_errors=True)
            reason = str(problem) if problem else "another rank could not write its part"
            raise StorageError(
                f"{partial.parent}: the checkpoint could not be written ({reason}): the one before "
                "it is untouched; free some space or mend the folder, then start again"
            ) from problem

    def newest(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that verifies, None where there is none at all.

        Damaged ones are refused before a tensor is used, and `warn` is told which file. Raises
        CheckpointError where all are damaged.
        """
        # The same decision on every rank: a disk may fail one of them alone.
        steps: list[int] = json.loads(self.ranks.gather_text(json.dumps(self.steps()))[0])
        for step in steps:
            checkpoint, problem = None, f"{self.path(step)}: cannot be read by another rank"
            try:
                checkpoint = read_checkpoint(self.path(step))
            except CheckpointError as error:
                problem = str(error)
            if not self.ranks.largest(int(checkpoint is None)):
                return checkpoint
            warn(f"{problem}: going back to the checkpoint before it")
        if steps:
            raise CheckpointError(
                f"{self.folder}: none of its {len(steps)} checkpoints is whole: delete the folder "
                "to begin again"
            )
        return None

    def rotate(self, keep: int, current: int) -> list[int]:
        """Delete all but the newest `keep` up to step `current`, which was just written, and
        return what is kept; later ones were refused when the run began.

        The one of `current` is read back first, so that one that verifies always stays. Raises
        CheckpointError, and deletes nothing, where it does not.
        """
        verify(self.path(current))
        steps = self.steps()
        kept = [step for step in steps if step <= current][:keep]
        for step in steps:
            if step not in kept:
                shutil.rmtree(self.path(step), ignore_errors=True)
        return kept

    def manifests(self, steps: list[int]) -> Iterator[dict[str, Any]]:
        """The manifests of these steps, damaged ones left out."""
        for step in steps:
            try:
                yield read_manifest(self.path(step))
            except CheckpointError:
                continue


def read_checkpoint(folder: Path) -> Checkpoint:
    """One checkpoint, verified; raises CheckpointError, naming the damaged file."""
    manifest = read_manifest(folder)
    tensors: dict[str, Tensor] = {}
    for entry in manifest["files"]:
        tensors.update(read_tensors(folder / Path(entry["name"]).name, entry["sha256"]))
    return Checkpoint(manifest["step"], manifest["fields"], tensors)


def verify(folder: Path) -> None:
    """Raise CheckpointError, naming the damaged file, unless every digest holds."""
    for entry in read_manifest(folder)["files"]:
        verified_bytes(folder / Path(entry["name"]).name, entry["sha256"])


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, its own digest checked."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: is damaged ({error})") from error
    if not isinstance(manifest, dict) or manifest.pop("digest", None) != digest_of(manifest):
        raise CheckpointError(f"{path}: is damaged (its digest does not match)")
    if manifest.get("format") != CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"{path}: has format {manifest.get('format')!r}, this turnout {CHECKPOINT_FORMAT}"
        )
    if not well_formed(manifest):
        raise CheckpointError(f"{path}: lacks what a manifest has: step, fields and files")
    if folder.name != f"step-{manifest['step']:08d}":
        raise CheckpointError(f"{path}: is of step {manifest['step']}: files were swapped")
    return manifest


def well_formed(manifest: dict[str, Any]) -> bool:
    """Whether it holds what `Checkpoints.save` writes."""
    step, fields, files = (manifest.get(name) for name in ("step", "fields", "files"))
    if not (isinstance(step, int) and isinstance(fields, dict) and isinstance(files, list)):
        return False
    return all(
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and isinstance(entry.get("sha256"), str)
        for entry in files
    )


def read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a file that a manifest names; raises CheckpointError unless they are those."""
    # Hashed and parsed from the same bytes: what was verified is what is used.
    data = verified_bytes(path, sha256)
    try:
        return load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: holds no tensors ({error})") from error


def verified_bytes(path: Path, sha256: str) -> bytes:
    """The content of a file that a manifest names; raises CheckpointError unless its digest
    holds."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if sha256_of(data) != sha256:
        raise CheckpointError(f"{path}: is damaged (its SHA-256 does not match the manifest)")
    return data


def digest_of(manifest: dict[str, Any]) -> str:
    """SHA-256 of a manifest without its own digest, whatever its order and spacing."""
    return sha256_of(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode())


def all_finite(tensors: dict[str, Tensor]) -> bool:
    """Whether no value that lies here is NaN or infinite."""
    here = [local(tensor) for tensor in tensors.values() if not tensor.is_meta]
    return all(bool(torch.isfinite(tensor).all()) for tensor in here)
