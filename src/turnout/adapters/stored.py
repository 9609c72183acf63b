"""Tensors in a safetensors file (github.com/huggingface/safetensors, "Format"), looked at before
they are read: a stranger's file is data of any kind."""

import json
import struct
from collections.abc import Iterator, Mapping
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from turnout.errors import ModelFolderError, shown
from turnout.model_folder import WEIGHTS
from turnout.verified_folder import VerifiedFolder, opened

Tensors = Mapping[str, NDArray[Any]]
Kinds = Mapping[str, np.dtype[Any]]
KINDS: Kinds = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
KINDS_OF_MODELS: Kinds = {**KINDS, "I8": np.dtype("i1")}
MOST_HEADER = 16 << 20
"""Bytes; the largest Whisper has 1,259 tensors, of about 120 bytes each."""


class Place(NamedTuple):
    """Where a tensor lies."""

    kind: str
    """One of KINDS, or of KINDS_OF_MODELS."""
    shape: tuple[int, ...]
    begin: int
    """From the end of the header."""
    end: int


def places_of(file: BinaryIO, size: int, place: str, kinds: Kinds = KINDS) -> dict[str, Place]:
    """The tensors of a file of this size, by name, all of these kinds; raises ModelFolderError,
    which begins with `place`, where they do not fill it one after the other."""
    head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if not 0 < length <= min(MOST_HEADER, size - 8):
        raise ModelFolderError(f"{place} is no safetensors file, or is cut off: fetch it again")
    content = parsed(file.read(length), place)
    content.pop("__metadata__", None)
    found = {name: place_of(name, entry, place, kinds) for name, entry in content.items()}
    end = 0
    for name, one in sorted(found.items(), key=lambda item: item[1].begin):
        if one.begin != end:
            raise ModelFolderError(f"{place}: the tensor {shown(name)} lies over another, or apart")
        end = one.end
    if end != size - 8 - length:
        raise ModelFolderError(f"{place} has not the size that its header says: fetch it again")
    return found


def parsed(data: bytes, place: str) -> dict[str, Any]:
    """The object of a JSON text, none of whose keys comes twice; raises ModelFolderError."""
    content = json_of(data, place)
    if not isinstance(content, dict):
        raise ModelFolderError(f"{place} is not a JSON object: fetch it again")
    return content


def json_of(data: bytes, place: str) -> Any:
    """What a JSON text holds, no object of it with a key that comes twice; raises
    ModelFolderError."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key comes twice")
        return found

    try:
        return json.loads(data, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"{place} is not JSON ({error}): fetch it again") from error


def place_of(name: str, entry: Any, place: str, kinds: Kinds) -> Place:
    """Where a header says that a tensor lies; raises ModelFolderError."""
    entry = entry if isinstance(entry, dict) else {}
    kind, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if kind not in list(kinds):  # what JSON holds may have no hash
        raise ModelFolderError(
            f"{place}: the tensor {shown(name)} is of type {shown(kind)}: "
            f"{' and '.join(kinds)} are read here"
        )
    if not (sizes(shape) and sizes(offsets) and len(offsets) == 2):
        raise ModelFolderError(f"{place}: the tensor {shown(name)} has no shape or no place")
    begin, end = offsets
    if end - begin != prod(shape) * kinds[kind].itemsize:
        raise ModelFolderError(f"{place}: the tensor {shown(name)} has another size than its shape")
    return Place(kind, tuple(shape), begin, end)


def sizes(value: Any) -> bool:
    """Whether this is a list of a few whole numbers, none of them negative."""
    return (
        isinstance(value, list)
        and len(value) <= 8
        and all(type(one) is int and 0 <= one < 1 << 62 for one in value)
    )


def tensors_in(data: bytes, places: Mapping[str, Place]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name and values of each tensor of a file whose places were found by `places_of`."""
    first = 8 + struct.unpack("<Q", data[:8])[0]
    for name, one in places.items():
        kind = KINDS[one.kind]
        values = np.frombuffer(data, kind, prod(one.shape), first + one.begin)
        yield name, values.reshape(one.shape)


def shapes_in(folder: Path, name: str, place: str, kinds: Kinds = KINDS) -> dict[str, Place]:
    """The places of a file's tensors; raises ModelFolderError."""
    with opened(folder, name) as file:
        size = file.seek(0, 2)
        file.seek(0)
        return places_of(file, size, place, kinds)


def weights_of(folder: VerifiedFolder, name: str = WEIGHTS) -> dict[str, NDArray[Any]]:
    """A folder's tensors as they are stored, by name; raises ModelFolderError."""
    data = folder.read(name)
    return dict(tensors_in(data, places_of(BytesIO(data), len(data), f"{folder.path}: {name}")))


def safetensors_of(tensors: Tensors) -> bytes:
    """A file of these tensors, which are float16 or float32."""
    return safetensors.numpy.save(dict(tensors), {"format": "pt"})
