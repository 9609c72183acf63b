"""An adapter on the disk, verified before a byte is used and written whole or not at all.

::

    adapter.json          its name, its base's name and digest, its experts and what they are for
    adapter.safetensors   EXPERT/TENSOR, or EXPERT/TENSOR.up and EXPERT/TENSOR.down
    README.md  LICENSE    card and licence
    SHA256SUMS

Adapters come from strangers: what does not belong to its base is refused before memory is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from turnout.adapters.change import DOWN, UP, Change, LowRank, Whole
from turnout.adapters.facts import ADAPTER, MOST_JSON, AdapterFacts, ExpertEntry, facts_of
from turnout.adapters.stored import Place, places_of, shapes_in, tensors_in
from turnout.errors import ModelFolderError, StorageError, shown
from turnout.guidance import Guide
from turnout.verified_folder import (
    CARD,
    DIGESTS,
    VerifiedFolder,
    opened,
    read_bytes,
    read_digests,
    write_verified,
)

TENSORS = "adapter.safetensors"
LICENSE = "LICENSE"
MOST_PAPER = 1 << 20
"""Of a licence, or a card."""
MOST_DIFFERENCE = 1e30
"""Of a low-rank difference. float32 ends at 3.4e38, and weights are below 1e4."""


@dataclass(frozen=True, kw_only=True)
class Expert:
    """An expert that is ready for its base."""

    name: str
    adapter: str
    """Whose it is."""
    when: Mapping[Guide, str]
    changes: Mapping[str, Change]
    """By the name of the base's tensor."""


class AdapterFolder(VerifiedFolder):
    """An adapter's folder; made by `open`."""

    def check_listed(self) -> None:
        """Raise ModelFolderError where something is missing."""
        self.require(ADAPTER)
        self.require(TENSORS)

    @property
    def place(self) -> str:
        """What errors begin with."""
        return f"adapter {self.path}"

    @cached_property
    def facts(self) -> AdapterFacts:
        """Raises ModelFolderError, naming the key, where they cannot be."""
        size = (self.path / ADAPTER).stat().st_size
        if size > MOST_JSON:
            raise ModelFolderError(f"{self.place}: {ADAPTER} has {size} bytes: it is no adapter's")
        return facts_of(self.read(ADAPTER), f"{self.place}: {ADAPTER}")

    def papers(self) -> dict[str, bytes]:
        """Its licences, notices and card, by name; raises ModelFolderError where one is too
        long."""
        names = [name for name in self.digests if name.startswith(LICENSE)]
        names += [CARD] if (self.path / CARD).is_file() else []
        for name in names:
            with opened(self.path, name) as file:
                if file.seek(0, 2) > MOST_PAPER:
                    raise ModelFolderError(
                        f"{self.place}: {name} has more than {MOST_PAPER} bytes: it is none"
                    )
        return {**{name: self.read(name) for name in names if name != CARD}, **self.card()}

    def experts(self, shapes: Mapping[str, tuple[int, ...]]) -> list[Expert]:
        """Its experts, for a base that has tensors of these shapes by these names.

        Raises ModelFolderError for tensors that do not belong to it, before they are read, and for
        values that are not finite.
        """
        entries = {entry.name: entry for entry in self.facts.experts}
        place = f"{self.place}: {TENSORS}"
        check_places(shapes_in(self.path, TENSORS, place), entries, shapes, place)
        data = self.read(TENSORS)
        places = places_of(BytesIO(data), len(data), place)
        check_places(places, entries, shapes, place)  # the file may have changed since
        found: dict[str, dict[str, Any]] = {name: {} for name in entries}
        for name, values in tensors_in(data, places):
            if not np.isfinite(values).all():
                raise ModelFolderError(f"{place}: {name} has values that are not finite")
            expert, _, tensor = name.partition("/")
            found[expert][tensor] = values
        changes = {name: changes_of(tensors, shapes) for name, tensors in found.items()}
        for name, own in changes.items():
            check_products(own, f"{place}: {name}")
        return [
            Expert(
                name=entry.name,
                adapter=self.facts.name,
                when=entry.when,
                changes=changes[entry.name],
            )
            for entry in entries.values()
        ]


def check_places(
    places: Mapping[str, Place],
    entries: Mapping[str, ExpertEntry],
    shapes: Mapping[str, tuple[int, ...]],
    place: str,
) -> None:
    """Raise ModelFolderError where a tensor is no expert's, none of the base's, or of another
    shape."""
    ends: dict[tuple[str, str], set[str]] = {}
    for name, one in places.items():
        expert, _, tensor = name.partition("/")
        if expert not in entries:
            raise ModelFolderError(f"{place}: {shown(name)} is for no expert of {ADAPTER}")
        base, end = split_end(tensor, shapes)
        rank = entries[expert].rank
        most = min(shapes.get(base, ()), default=rank)
        if end and rank is not None and most is not None and rank > most:
            raise ModelFolderError(
                f"{place}: {name} is of rank {rank}: {most} is the most for {list(shapes[base])}"
            )
        wanted = wanted_shape(base, end, rank, shapes)
        if wanted is None:
            raise ModelFolderError(f"{place}: its base has no part for {shown(name)}")
        if one.shape != wanted:
            raise ModelFolderError(
                f"{place}: {name} is {list(one.shape)}, and {list(wanted)} belongs to its base"
            )
        ends.setdefault((expert, base), set()).add(end)
    for (expert, base), found in ends.items():
        if found not in ({""}, {UP, DOWN}):
            raise ModelFolderError(
                f"{place}: {expert}/{base} must be there whole, or as {UP} and {DOWN}"
            )
    idle = next((name for name in entries if name not in {expert for expert, _ in ends}), None)
    if idle is not None:
        raise ModelFolderError(f"{place}: the expert '{idle}' has no tensor")


def split_end(tensor: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, str]:
    """The base's tensor that an expert's is for, and which half of a difference it is."""
    end = next((end for end in (UP, DOWN) if tensor not in shapes and tensor.endswith(end)), "")
    return tensor.removesuffix(end), end


def wanted_shape(
    base: str, end: str, rank: int | None, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[int, ...] | None:
    """The shape of what an expert has for a tensor of its base; None where there is no such."""
    shape = shapes.get(base)
    if shape is None or not end:
        return shape
    if rank is None or len(shape) != 2:
        return None
    return (shape[0], rank) if end == UP else (rank, shape[1])


def changes_of(found: Mapping[str, Any], shapes: Mapping[str, Any]) -> dict[str, Change]:
    """The changes that an expert's tensors are."""
    whole = {name: Whole(values) for name, values in found.items() if name in shapes}
    names = {name.removesuffix(UP) for name in found if name not in shapes and name.endswith(UP)}
    low = {name: LowRank(found[name + UP], found[name + DOWN]) for name in sorted(names)}
    return {**whole, **low}


def check_products(changes: Mapping[str, Change], place: str) -> None:
    """Raise ModelFolderError where the product of a low-rank difference may leave float32, which
    would be seen only once its path is opened."""
    for name, change in changes.items():
        if not isinstance(change, LowRank) or change.up.size == 0:
            continue
        loudest = [float(np.abs(part).max()) for part in (change.up, change.down)]
        if change.up.shape[1] * loudest[0] * loudest[1] > MOST_DIFFERENCE:
            raise ModelFolderError(
                f"{place}/{name}: its difference may be beyond {MOST_DIFFERENCE:g}: it is damaged, "
                "or its training failed"
            )


def write_adapter(path: Path, files: Mapping[str, bytes]) -> None:
    """Write an adapter's folder whole or not at all; another adapter gives way to it. Raises
    StorageError, and leaves what was there, where that is something else."""
    write_verified(path.resolve(), files, files_of_adapter)


def files_of_adapter(path: Path) -> frozenset[str]:
    """Names of the files of the adapter at `path`; none where there is nothing.

    Raises StorageError where something else is there: it would be lost.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return frozenset()
    try:
        listed = read_digests(path)
        facts_of(read_bytes(path, ADAPTER), str(path))
    except (ModelFolderError, OSError) as error:
        raise StorageError(f"{path}: exists and is no adapter: choose another path") from error
    return frozenset({*listed, CARD, DIGESTS})


def is_adapter(path: str | Path) -> bool:
    """Whether a folder is an adapter's, by what lies in it."""
    return (Path(path) / ADAPTER).is_file()
