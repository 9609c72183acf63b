"""The decoder rows of a state on ONNX Runtime: what they attend to, and what they wrote.

What rows attend to is most of what a step reads, and lies in memory once for all rows of an
utterance where the graph can take it so. It is then as if all utterances had equally many rows:
some are held that nobody sees, which get what another gets.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cache = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]
"""Keys and values [layers, rows, heads, slots, dim]; which slots hold something [rows, slots]."""
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """How the rows of a state are held."""

    entries: Index
    """What is attended to, in ascending order where it is shared; equally many of the held rows in
    succession attend to each."""
    shown: Index
    """[rows]: which of the held rows each is."""
    given: Index
    """[held]: what this row is given, a held row gets."""

    @classmethod
    def of(cls, entries: Index, *, shared: bool) -> "Layout":
        """That of rows of these entries."""
        if not shared:
            return cls(entries, np.arange(len(entries)), np.arange(len(entries)))
        found = np.unique(entries, return_index=True, return_inverse=True, return_counts=True)
        each, firsts, inverse, counts = found
        most = int(counts.max(initial=1))
        # How many rows of its entry stand before each.
        before = np.empty_like(inverse)
        ends = np.cumsum(counts)
        before[np.argsort(inverse, kind="stable")] = np.arange(len(entries)) - np.repeat(
            ends - counts, counts
        )
        shown, given = inverse * most + before, np.repeat(firsts, most)
        given[shown] = np.arange(len(entries))
        return cls(each, shown, given)


@dataclass(frozen=True)
class OnnxRows:
    """The decoder rows of a DecoderState, as they are held."""

    layout: Layout
    guide: Index
    """[held]"""
    cross: Cache
    """What the rows attend to, where slots are frames. How keys lie is a matter between a model's
    two graphs: they may be turned."""
    past: Cache
    """What they wrote: a slot for each token."""
    own: bool
    """Whether nobody else reads `cross`."""

    @property
    def each(self) -> int:
        """Held rows of an entry."""
        return max(len(self.guide) // max(len(self.cross[2]), 1), 1)

    def shown(self, array: NDArray[Any]) -> NDArray[Any]:
        """What an array of held rows has of the state's."""
        whole = np.array_equal(self.layout.shown, np.arange(len(array)))
        return array if whole else array[self.layout.shown]

    def keep(self, counts: Index) -> "OnnxRows":
        """What they wrote, up to so many tokens of each row; empty slots come last."""
        keys, values, mask = self.past
        most = counts[self.layout.given, None]
        kept = mask & (mask.cumsum(axis=1) <= most)
        slots = np.argsort(~kept, axis=1, kind="stable")[:, : int(counts.max(initial=0))]
        places = slots[None, :, None, :, None]
        past = (
            np.take_along_axis(keys, places, axis=3),
            np.take_along_axis(values, places, axis=3),
            np.take_along_axis(kept, slots, axis=1),
        )
        return replace(self, past=past)

    def select(self, rows: Index, *, shared: bool, moved: bool) -> "OnnxRows":
        """These rows; where not `moved`, they attend to what those before them do."""
        held = self.layout.shown[rows]
        layout = Layout.of(held // self.each, shared=shared)
        cross, own = self.cross, self.own
        if moved and shared and own:
            cross = closed_up(cross, layout.entries)
        elif moved:
            cross = of_rows(cross, layout.entries)
            own = cross is not self.cross
        taken = held[layout.given]
        return OnnxRows(layout, self.guide[taken], cross, of_rows(self.past, taken), own)


def of_rows(cache: Cache, rows: Index) -> Cache:
    """Keys, values and mask of these rows; of all of them, the very arrays."""
    keys, values, mask = cache
    if np.array_equal(rows, np.arange(len(mask))):
        return cache
    # What an index of NumPy's own gives lies row by row, and each step would copy it into layers.
    return keys.take(rows, axis=1), values.take(rows, axis=1), mask[rows]


def closed_up(cache: Cache, rows: Index) -> Cache:
    """The same of rows in ascending order, in the memory of `cache`, layer by layer: new memory
    takes longer to get than to fill."""
    keys, values, mask = cache
    for to, taken in enumerate(rows.tolist()):
        if to != taken:
            keys[:, to], values[:, to] = keys[:, taken], values[:, taken]
    return keys[:, : len(rows)], values[:, : len(rows)], mask[rows]
