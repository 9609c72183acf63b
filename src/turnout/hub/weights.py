"""Stored tensors -> the content of model.safetensors, in parts: one is in memory at a time."""

import json
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ModelFolderError
from turnout.hub.int8_graphs import LARGEST, SCALE, SMALLEST, Norms
from turnout.hub.stored import KINDS, StoredTensor, refused

Floats = NDArray[np.float32]
FAINT, MOST = 1e-6, 1e3
"""What is silent is made neither louder nor quieter without end."""
Watched = Callable[[list[str]], Iterable[str]]
"""Gives the names as they are; whoever looks on may count them."""


@dataclass(frozen=True)
class Part:
    """A tensor as it is written."""

    kind: str
    """'F32', 'F16' or 'I8'."""
    shape: tuple[int, ...]
    values: Callable[[], bytes]
    """Reads them; raises ModelFolderError."""

    @property
    def nbytes(self) -> int:
        """Its size in the file."""
        return prod(self.shape) * self.width

    @property
    def width(self) -> int:
        """Bytes of a number."""
        return np.dtype(KINDS[self.kind]).itemsize


def stored_kind(tensor: StoredTensor, *, half: bool) -> str:
    """'F32' or 'F16': float32 is kept unless `half`; bfloat16 has fewer digits than float16, and so
    have integers."""
    return "F32" if tensor.kind == "F32" and not half else "F16"


def float_parts(tensors: Mapping[str, StoredTensor], *, half: bool) -> dict[str, Part]:
    """Tensors in floats, with `half` all in float16."""
    found: dict[str, Part] = {}
    for name, tensor in tensors.items():
        kind = stored_kind(tensor, half=half)
        found[name] = Part(kind, tensor.shape, partial(values_of, tensor, name, kind))
    return found


def int8_parts(
    tensors: Mapping[str, StoredTensor], matrices: Collection[str], norms: Norms
) -> dict[str, Part]:
    """The matrices as int8 with a scale for each row, which is a tensor of its own; the others in
    floats.

    What is loud behind a norm is made quieter in the norm, and the columns of the matrices that
    take it louder by as much: in floats the same, and less is lost where a frame has one scale for
    all of its numbers (SmoothQuant, arXiv 2211.10438, with the norm's own weights in place of
    frames that were looked at).
    """
    found = float_parts(tensors, half=False)
    columns: dict[str, Floats] = {}
    for norm, behind in norms.items():
        factor = balanced(
            [floats(tensors, one) for one in norm], [floats(tensors, one) for one in behind]
        )
        columns |= dict.fromkeys(behind, factor)
        for name in norm:
            values = floats(tensors, name) / factor
            found[name] = Part("F32", values.shape, values.tobytes)
    for name in matrices:
        shape = tensors[name].shape
        read = partial(rounded, tensors, name, columns.get(name))
        found[name] = Part("I8", shape, lambda read=read: read()[0])
        found[name + SCALE] = Part("F32", shape[:1], lambda read=read: read()[1])
    return found


def balanced(norm: Sequence[Floats], matrices: Sequence[Floats]) -> Floats:
    """By how much each number behind a norm is made quieter: between how loud weight and bias make
    it and how loud its columns are, of rows that are equally loud."""
    given = np.sqrt(np.sum([np.square(one) for one in norm], axis=0))
    rows = [one / np.abs(one).max(axis=1, keepdims=True, initial=SMALLEST) for one in matrices]
    taken = np.sqrt(np.mean([np.square(one).mean(axis=0) for one in rows], axis=0))
    factor = np.sqrt(np.maximum(given, FAINT) / np.maximum(taken, FAINT))
    factor /= np.exp(np.log(factor).mean())
    return np.clip(factor, 1 / MOST, MOST).astype("<f4")


def rounded(
    tensors: Mapping[str, StoredTensor], name: str, louder: Floats | None
) -> tuple[bytes, bytes]:
    """A matrix's values as int8, its columns so much louder first, and each row's scale: the
    largest of a row becomes 127."""
    values = floats(tensors, name)
    values = values if louder is None else values * louder
    scales = scales_of(values)
    return np.rint(values / scales[:, None]).astype("i1").tobytes(), scales.tobytes()


def floats(tensors: Mapping[str, StoredTensor], name: str) -> Floats:
    """A tensor in float32; raises ModelFolderError."""
    values = values_of(tensors[name], name, "F32")
    return np.frombuffer(values, "<f4").reshape(tensors[name].shape)


def scales_of(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """What one of int8 stands for in each row."""
    loudest = np.abs(values).max(axis=1, initial=0.0)
    return (np.maximum(loudest, SMALLEST) / LARGEST).astype("<f4")


def weights_size(parts: Mapping[str, Part]) -> int:
    """Bytes of all of them."""
    return sum(part.nbytes for part in parts.values())


def weights_parts(
    parts: Mapping[str, Part], *, watched: Watched = lambda names: names
) -> Iterator[bytes]:
    """The header and then each tensor (github.com/huggingface/safetensors, "Format").

    Raises ModelFolderError for a file that cannot be read any more, and for values that are not
    finite or that float16 cannot hold.
    """
    # The wider ones first, as the format's own library lays them, so that each is aligned.
    names = sorted(parts, key=lambda name: (-parts[name].width, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        begin, end = end, end + parts[name].nbytes
        shape = list(parts[name].shape)
        header[name] = {"dtype": parts[name].kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for name in watched(names):
        yield parts[name].values()


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
