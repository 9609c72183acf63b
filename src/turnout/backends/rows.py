"""The decoder rows of a state on ONNX Runtime: what they attend to, and what they wrote.

What rows attend to is most of what a step reads, so it is copied where nothing else helps: where
utterances leave, or rows of one do not lie side by side.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Cache = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]
"""Keys and values [layers, rows, heads, slots, dim]; which slots hold something [rows, slots]."""
Index = NDArray[np.int64]


@dataclass(frozen=True)
class OnnxRows:
    """The decoder rows of a DecoderState."""

    guide: Index
    cross: Cache
    """What the rows attend to, where slots are frames: the first of n entries is that of the first
    nth of the rows. How keys lie is a matter between a model's two graphs: they may be turned."""
    past: Cache
    """What they wrote: a slot for each token."""

    def select(self, rows: Index, cross: Cache) -> "OnnxRows":
        """These rows, which attend to this."""
        return OnnxRows(self.guide[rows], cross, of_rows(self.past, rows))

    def entries_of(self, rows: Index) -> Index:
        """Which of `cross` each of these rows attends to."""
        return rows // max(len(self.guide) // max(len(self.cross[2]), 1), 1)


def attended(cross: Cache, entries: Index, *, shared: bool) -> Cache:
    """What rows of these entries attend to: where it may be `shared`, once for those in succession,
    if these are equally many of each."""
    return of_rows(cross, each_once(entries) if shared else entries)


def each_once(entries: Index) -> Index:
    """The entries without repetition where each stands equally often in succession; otherwise as
    they are."""
    firsts = np.flatnonzero(np.diff(entries, prepend=-1))
    often = np.diff(firsts, append=len(entries))
    return entries[firsts] if len(set(often.tolist())) == 1 else entries


def of_rows(cache: Cache, rows: Index) -> Cache:
    """Keys, values and mask of these rows; of all of them, the very arrays."""
    keys, values, mask = cache
    if np.array_equal(rows, np.arange(len(mask))):
        return cache
    # What an index of NumPy's own gives lies row by row, and each step would copy it into layers.
    return keys.take(rows, axis=1), values.take(rows, axis=1), mask[rows]
