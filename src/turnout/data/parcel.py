"""A batch on its way from the worker that made it, as one block of shared memory.

PyTorch fetches every tensor by several messages to and from its worker, each of which waits until
the next batch, that the worker is busy with, lets it answer: a batch has a dozen of tensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from turnout.data.batch import Batch, Clean

ALIGNED = 64
"""Bytes: where tensors of PyTorch's own begin."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parcel:
    """A batch whose tensors lie in a row."""

    block: Tensor
    """[bytes]"""
    places: tuple["Place", ...]
    """Of the tensors that `names` says, and behind these of those of `clean`, if any."""
    names: tuple[str, ...]
    rest: Mapping[str, Any]
    """What is no tensor, by its name."""


@dataclass(frozen=True)
class Place:
    """Where a tensor lies."""

    start: int
    shape: torch.Size
    dtype: torch.dtype

    def of(self, block: Tensor) -> Tensor:
        """The tensor, as it lies there."""
        stop = self.start + self.shape.numel() * self.dtype.itemsize
        return block[self.start : stop].view(self.dtype).view(self.shape)


def packed(batch: Batch) -> Parcel:
    """The batch, copied."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    clean = values.pop("clean") or ()
    named = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    tensors = [*named.values(), *clean]
    sizes = [-(-tensor.nbytes // ALIGNED) * ALIGNED for tensor in tensors]
    *starts, size = accumulate(sizes, initial=0)
    places = [Place(start, t.shape, t.dtype) for start, t in zip(starts, tensors, strict=True)]
    block = torch.empty(size, dtype=torch.uint8)
    for place, tensor in zip(places, tensors, strict=True):
        place.of(block).copy_(tensor)
    return Parcel(
        block=block,
        places=tuple(places),
        names=tuple(named),
        rest={name: value for name, value in values.items() if name not in named},
    )


def unpacked(parcel: Parcel) -> Batch:
    """The batch, its tensors where they lie."""
    tensors = [place.of(parcel.block) for place in parcel.places]
    named = dict(zip(parcel.names, tensors, strict=False))
    clean = tensors[len(named) :]
    return Batch(**named, **parcel.rest, clean=Clean(*clean) if clean else None)
