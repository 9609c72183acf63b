"""Files that make a folder, the canary, when what they say is run; and trials that watch for it."""

import gzip
import io
import os
import pickle
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.reliability.tally import Tally
from turnout.errors import TurnoutError


@dataclass(frozen=True)
class Song:
    """Unpickled, it makes the canary."""

    path: str

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        """What the pickle says to call."""
        return os.mkdir, (self.path,)


@dataclass(frozen=True)
class Canary:
    """What must never be there, and the files that would make it."""

    path: Path

    @property
    def sings(self) -> bool:
        """Whether something was run; it is quiet again afterwards."""
        there = self.path.exists()
        if there:
            self.path.rmdir()
        return there

    def pickles(self) -> dict[str, bytes]:
        """The song in what pickles are kept in."""
        song = Song(str(self.path))
        plain = pickle.dumps(song)
        return {
            "pickle": plain,
            "pickle of protocol 0": pickle.dumps(song, protocol=0),
            "pickle of tensors": pickle.dumps({"encoder.weight": np.zeros(3), "epoch": song}),
            "torch's zip": torch_file({"model": song}),
            "torch's older file": torch_file({"model": song}, _use_new_zipfile_serialization=False),
            "gzip": gzip.compress(plain),
            "tar": tar_file("model.ckpt", plain),
            "NumPy objects": array_file(np.array([song], dtype=object)),
        }

    def yamls(self) -> tuple[str, ...]:
        """The song as a YAML value."""
        return (
            f"!!python/object/apply:os.mkdir ['{self.path}']",
            f"!!python/object/new:os.mkdir ['{self.path}']",
            f"!!python/object/apply:os.system ['mkdir {self.path}']",
            f"!!python/object/apply:subprocess.call [[mkdir, '{self.path}']]",
        )


NESTED = b"[" * 100_000
"""JSON that no parser gets to the bottom of."""


def torch_file(content: object, **options: bool) -> bytes:
    """What `torch.save` writes."""
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def tar_file(name: str, content: bytes) -> bytes:
    """A tar with one member."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def array_file(array: np.ndarray) -> bytes:
    """A `.npy` file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def arrays_file(**arrays: np.ndarray) -> bytes:
    """A `.npz` file."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


class Miners:
    """Trials that each watch the canary."""

    def __init__(self, tally: Tally, canary: Canary) -> None:
        self.tally = tally
        self.canary = canary

    @contextmanager
    def down(self, name: str) -> Iterator[None]:
        """A trial in which nothing may be run."""
        with self.tally.trial(name):
            try:
                yield
            finally:
                assert not self.canary.sings, "the canary sings"

    def refuse(
        self, name: str, naming: str, call: Callable[..., object], *arguments: object
    ) -> None:
        """A trial in which a call is refused in one line that names what it should."""
        with self.down(name):
            said = refusal(call, *arguments)
            assert said is not None, "was not refused"
            assert naming in said, said

    def control(self, **calls: Callable[[], object]) -> None:
        """How others read such files: each of these calls must make the canary sing."""
        silent = []
        for name, call in calls.items():
            call()
            if not self.canary.sings:
                silent.append(name)
        self.tally.measure(controls=len(calls), silent_controls=silent)
        self.tally.controlled(not silent)


def refusal(call: Callable[..., object], *arguments: object) -> str | None:
    """The one line in which a call is refused, None where it is not.

    Raises AssertionError where it fails in another way or in several lines.
    """
    try:
        call(*arguments)
    except TurnoutError as error:
        assert "\n" not in str(error), f"several lines: {error}"
        return str(error)
    except Exception as error:
        raise AssertionError(f"failed with {error!r}") from error
    return None
