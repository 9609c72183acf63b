"""Stored tensors -> the content of model.safetensors, in parts: one is in memory at a time."""

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from turnout.errors import ModelFolderError
from turnout.hub.stored import StoredTensor, refused

Watched = Callable[[list[str]], Iterable[str]]
"""Gives the names as they are; whoever looks on may count them."""


def stored_kind(tensor: StoredTensor, *, half: bool) -> str:
    """'F32' or 'F16': float32 is kept unless `half`; bfloat16 has fewer digits than float16, and so
    have integers."""
    return "F32" if tensor.kind == "F32" and not half else "F16"


def stored_size(tensor: StoredTensor, kind: str) -> int:
    """Bytes of a tensor that is written as 'F32' or 'F16'."""
    return prod(tensor.shape) * (2 if kind == "F16" else 4)


def weights_size(tensors: Mapping[str, StoredTensor], *, half: bool) -> int:
    """Bytes of all of them."""
    kinds = (stored_kind(tensor, half=half) for tensor in tensors.values())
    return sum(map(stored_size, tensors.values(), kinds))


def weights_parts(
    tensors: Mapping[str, StoredTensor], *, half: bool, watched: Watched = lambda names: names
) -> Iterator[bytes]:
    """The header and then each tensor (github.com/huggingface/safetensors, "Format").

    Raises ModelFolderError for a file that cannot be read any more, and for values that are not
    finite or that float16 cannot hold.
    """
    # The wider ones first, as the format's own library lays them, so that each is aligned.
    kinds = {name: stored_kind(tensor, half=half) for name, tensor in tensors.items()}
    names = sorted(tensors, key=lambda name: (kinds[name] == "F16", name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        begin, end = end, end + stored_size(tensors[name], kinds[name])
        shape = list(tensors[name].shape)
        header[name] = {"dtype": kinds[name], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for name in watched(names):
        yield values_of(tensors[name], name, kinds[name])


def values_of(tensor: StoredTensor, name: str, kind: str) -> bytes:
    """A tensor's values as they are written; raises ModelFolderError."""
    read = tensor.read()
    with np.errstate(over="ignore"):  # told below
        values = read.astype("<f2" if kind == "F16" else "<f4", copy=False)
    if not np.isfinite(values).all():
        raise misfit(tensor, name, finite=bool(np.isfinite(read).all()))
    return values.tobytes()


def misfit(tensor: StoredTensor, name: str, *, finite: bool) -> ModelFolderError:
    """The error for values that cannot be written."""
    what = "that float16 cannot hold" if finite else "that are not finite: it is damaged"
    return refused(tensor.path, f"the tensor {name} has values {what}")
