"""An adapter on the disk, verified before a byte is used and written whole or not at all.

::

    adapter.json          its name, its base's name and digest, its experts and what they are for
    adapter.safetensors   EXPERT/TENSOR, or EXPERT/TENSOR.up and EXPERT/TENSOR.down
    README.md  LICENSE    card and licence
    SHA256SUMS

Adapters come from strangers: what does not belong to its base is refused before memory is used.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from turnout.adapters.change import DOWN, UP, Change, LowRank, Whole
from turnout.adapters.stored import Place, parsed, places_of, shapes_in, tensors_in
from turnout.config.plain import nearest
from turnout.config.routing import DOMAIN
from turnout.errors import ModelFolderError, StorageError, UsageError, shown
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

ADAPTER = "adapter.json"
TENSORS = "adapter.safetensors"
LICENSE = "LICENSE"
ADAPTER_TYPE = "turnout-adapter"
FORMAT_VERSION = 1
MOST_JSON = 1 << 20
MOST_PAPER = 1 << 20
"""Of a licence, or a card."""
MOST_EXPERTS = 256
MOST_DIFFERENCE = 1e30
"""Of a low-rank difference. float32 ends at 3.4e38, and weights are below 1e4."""
NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,62}\w)?", re.ASCII)
DIGEST = re.compile(r"[0-9a-f]{64}")
KEYS = ("model_type", "format_version", "name", "base", "experts")


@dataclass(frozen=True, kw_only=True)
class ExpertEntry:
    """What adapter.json says of an expert."""

    name: str
    when: Mapping[Guide, str]
    """It is for what has all of these values."""
    rank: int | None
    """Of its low-rank differences; None where all of its tensors are whole."""


@dataclass(frozen=True, kw_only=True)
class AdapterFacts:
    """The content of adapter.json."""

    name: str
    base: str | None
    """What `--model` takes; None where the base has no name of its own."""
    digest: str
    """`weights_digest` of the base."""
    experts: tuple[ExpertEntry, ...]


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
        return {
            name: read_bytes(self.path, name) if name == CARD else self.read(name) for name in names
        }

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


def facts_of(data: bytes, place: str) -> AdapterFacts:
    """The content of adapter.json; raises ModelFolderError, which begins with `place`."""
    content = parsed(data, place)
    if content.get("model_type") != ADAPTER_TYPE:
        raise ModelFolderError(
            f"{place}: model_type is {shown(content.get('model_type'))}: '{ADAPTER_TYPE}' is read "
            "here"
        )
    version = content.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise ModelFolderError(
            f"{place}: format_version is {shown(version)}: this turnout reads {FORMAT_VERSION}; "
            "install the turnout that wrote the adapter, or a newer one"
        )
    check_keys(content, KEYS, place)
    base, experts = content["base"], content["experts"]
    if not isinstance(base, dict):
        raise ModelFolderError(f"{place}: base must be an object with name and digest")
    check_keys(base, ("name", "digest"), f"{place}: base")
    if not (isinstance(base["digest"], str) and DIGEST.fullmatch(base["digest"])):
        raise ModelFolderError(f"{place}: base.digest is no SHA-256: {shown(base['digest'])}")
    if not isinstance(base["name"], str | None):
        raise ModelFolderError(f"{place}: base.name must be a name or null")
    if not isinstance(experts, list) or not experts:
        raise ModelFolderError(f"{place}: experts must be a list of at least one")
    if len(experts) > MOST_EXPERTS:
        raise ModelFolderError(
            f"{place}: has {len(experts)} experts: {MOST_EXPERTS} are the most that are read"
        )
    entries = tuple(entry_of(one, place) for one in experts)
    names = [entry.name for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ModelFolderError(f"{place}: two experts are called '{twice}': name each differently")
    return AdapterFacts(
        name=name_in(content, place), base=base["name"], digest=base["digest"], experts=entries
    )


def check_keys(content: Mapping[str, Any], known: Iterable[str], place: str) -> None:
    """Raise ModelFolderError where other keys are there than these."""
    names = dict.fromkeys(known)
    for key in content:
        if key not in names:
            raise ModelFolderError(f"{place}: unknown key {shown(key)}{nearest(key, names)}")
    for key in names:
        if key not in content:
            raise ModelFolderError(f"{place}: key '{key}' is missing")


def name_in(content: Mapping[str, Any], place: str) -> str:
    """The name that an object says; raises ModelFolderError where it is none."""
    name = content["name"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ModelFolderError(
            f"{place}: name is {shown(name)}: up to 64 letters, digits, '.', '_' and '-' are needed"
        )
    return name


def entry_of(content: Any, place: str) -> ExpertEntry:
    """An expert of adapter.json; raises ModelFolderError."""
    if not isinstance(content, dict):
        raise ModelFolderError(f"{place}: an expert must be an object with name, when and rank")
    check_keys(content, ("name", "when", "rank"), f"{place}: an expert")
    name, when, rank = name_in(content, place), content["when"], content["rank"]
    place = f"{place}: expert '{name}'"
    if not isinstance(when, dict) or not when:
        raise ModelFolderError(f"{place}: when must say what it is for, such as language: es")
    for guide, value in when.items():
        if guide not in list(Guide):
            raise ModelFolderError(
                f"{place}: when names {shown(guide)}: choose of {', '.join(Guide)}"
            )
        pattern = DOMAIN if guide == Guide.DOMAIN else NAME
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ModelFolderError(f"{place}: the {guide} {shown(value)} is no name")
    if rank is not None and (type(rank) is not int or rank < 1):
        raise ModelFolderError(f"{place}: rank is {shown(rank)}: a number from 1, or null")
    return ExpertEntry(name=name, when={Guide(key): when[key] for key in when}, rank=rank)


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
        wanted = wanted_shape(base, end, entries[expert].rank, shapes)
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
    if rank is None or len(shape) != 2 or rank > min(shape):
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


def adapter_bytes(facts: AdapterFacts) -> bytes:
    """The content of adapter.json."""
    content = {
        "model_type": ADAPTER_TYPE,
        "format_version": FORMAT_VERSION,
        "name": facts.name,
        "base": {"name": facts.base, "digest": facts.digest},
        "experts": [
            {
                "name": entry.name,
                "when": {guide.value: value for guide, value in entry.when.items()},
                "rank": entry.rank,
            }
            for entry in facts.experts
        ],
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def check_readable(facts: AdapterFacts) -> None:
    """Raise UsageError for what could be written and not be read again."""
    data = adapter_bytes(facts)
    try:
        facts_of(data, f"adapter '{facts.name}'")
    except ModelFolderError as error:
        raise UsageError(str(error)) from error
    if len(data) > MOST_JSON:
        raise UsageError(f"adapter '{facts.name}': its {ADAPTER} would have {len(data)} bytes")


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
