"""A checkpoint's tensors as they lie in its files: where, of which type and shape; read one by one.

Other people's files are data of any kind: sizes are held against the file before memory is used.
"""

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.adapters.stored import json_of, parsed
from turnout.errors import ModelFolderError
from turnout.files import open_regular

MOST_JSON = 8 << 20
"""Bytes of a JSON file: the largest vocabularies have 1 million."""
KINDS: dict[str, str] = {
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # NumPy has none: its bits
    "I8": "<i1",
    "I16": "<i2",
}
"""What safetensors calls the types that are read here -> how NumPy reads their bytes."""
INTEGERS = ("I8", "I16")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that was not read yet."""

    path: Path
    offset: int
    """Bytes of the file before it."""
    kind: str
    """One of KINDS."""
    shape: tuple[int, ...]
    scale: "StoredTensor | None" = None
    """Of integers: by what they were multiplied, one for each row or one for all."""

    @property
    def nbytes(self) -> int:
        """Its size in the file."""
        return prod(self.shape) * np.dtype(KINDS[self.kind]).itemsize

    def rows(self, first: int, last: int) -> "StoredTensor":
        """Rows `first` to before `last`."""
        row = self.nbytes // self.shape[0]
        scale = self.scale
        if scale is not None and scale.shape:
            scale = scale.rows(first, last)
        shape = (last - first, *self.shape[1:])
        return replace(self, offset=self.offset + first * row, shape=shape, scale=scale)

    def read(self) -> NDArray[Any]:
        """Its values: float32 where they are stored so, and of bfloat16 and integers.

        Raises ModelFolderError.
        """
        kind = np.dtype(KINDS[self.kind])
        found = np.frombuffer(read_part(self.path, self.offset, self.nbytes), kind)
        found = found.reshape(self.shape)
        if self.kind == "BF16":
            return (found.astype(np.uint32) << 16).view(np.float32)
        if self.kind not in INTEGERS:
            return found
        values = found.astype(np.float32)
        if self.scale is not None:
            scales = self.scale.read().astype(np.float32)
            values /= scales.reshape(-1, *(1,) * (values.ndim - 1)) if scales.ndim else scales
        return values


def refused(path: Path, reason: str) -> ModelFolderError:
    """The error for a file of a checkpoint, or its folder, that cannot be taken."""
    return ModelFolderError(f"checkpoint {path}: {reason}")


def read_part(path: Path, offset: int, size: int) -> bytes:
    """Bytes of a file; raises ModelFolderError where it cannot be read or ends before them."""
    try:
        with open_regular(path) as file:
            file.seek(offset)
            data = file.read(size)
    except OSError as error:
        raise refused(path, f"cannot be read: {(error.strerror or str(error)).lower()}") from error
    if len(data) < size:
        raise refused(path, "is cut off: fetch it again")
    return data


def size_of(path: Path) -> int:
    """Bytes of a file; raises ModelFolderError where it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.seek(0, 2)
    except OSError as error:
        raise refused(path, f"cannot be read: {(error.strerror or str(error)).lower()}") from error


def read_small(path: Path, most: int = MOST_JSON) -> bytes:
    """A file that is known to be small; raises ModelFolderError."""
    size = size_of(path)
    if size > most:
        raise refused(path, f"has {size} bytes; no file of its name has more than {most}")
    return read_part(path, 0, size)


def parse_object(path: Path, data: bytes) -> dict[str, Any]:
    """The object of a JSON text, none of whose keys comes twice; raises ModelFolderError."""
    return parsed(data, f"checkpoint {path}:")


def read_object(path: Path) -> dict[str, Any]:
    """The object of a small JSON file; raises ModelFolderError."""
    return parse_object(path, read_small(path))


def read_list(path: Path) -> list[Any]:
    """The list of a small JSON file; raises ModelFolderError."""
    content = json_of(read_small(path), f"checkpoint {path}:")
    if not isinstance(content, list):
        raise refused(path, "is not a JSON list: fetch it again")
    return content
