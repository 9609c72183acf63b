"""A model with its adapters: found by name or path, held against each other, and ready."""

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from turnout.adapters.compose import Adapted, adapted, check_dense
from turnout.adapters.digest import weights_digest
from turnout.adapters.facts import DIGEST
from turnout.adapters.folder import AdapterFolder
from turnout.adapters.stored import parsed, shapes_in, weights_of
from turnout.errors import (
    FetchError,
    MissingModel,
    ModelFolderError,
    StorageError,
    TurnoutError,
    UsageError,
    shown,
)
from turnout.files import write_whole
from turnout.hub.cache import Cache
from turnout.hub.card import ROUNDED, SOURCE
from turnout.hub.resolve import (
    adapter_at,
    is_adapter_name,
    open_model,
    shipped_adapters,
    to_log,
)
from turnout.hub.sources import MAIN, SCHEME, source_of
from turnout.model_folder import WEIGHTS, ModelFolder, shipped
from turnout.progress import Say

Names = Sequence[str | Path]


def open_adapted(
    name: str | Path | None = None,
    adapters: Names = (),
    say: Say = to_log,
    keep: Collection[str] = (),
) -> tuple[ModelFolder, Adapted | None]:
    """A model's folder, and what it is together with these adapters, None where there are none.

    The model may be an adapter itself, which names its base. Raises as `open_model` does, and
    UsageError and ModelFolderError where they do not belong together.
    """
    folders = adapter_folders(name, adapters)
    first = is_adapter_name(name)
    base = open_base(folders[0], say, keep) if first else open_model(name, say, keep)
    return base, with_adapters(base, folders) if folders else None


def adapter_folders(name: str | Path | None, adapters: Names) -> list[AdapterFolder]:
    """The adapters that are asked for, verified, that in the model's place among them."""
    names = [name, *adapters] if name is not None and is_adapter_name(name) else adapters
    return [open_adapter(one) for one in names]


def open_base(adapter: AdapterFolder, say: Say, keep: Collection[str]) -> ModelFolder:
    """The model that an adapter is for; raises MissingModel where it is not at hand."""
    name = adapter.facts.base
    instead = f"give it with --model, and this with --adapter {adapter.path}"
    if name is None:
        raise MissingModel(f"{adapter.place} does not say what its base is called: {instead}")
    try:
        return open_model(name, say, keep)
    except (MissingModel, FetchError) as error:
        raise MissingModel(
            f"{adapter.place}: its base {shown(name)} is not at hand: {instead}"
        ) from error


def with_adapters(base: ModelFolder, folders: Sequence[AdapterFolder]) -> Adapted:
    """The base with the experts of these adapters, which were made for it.

    Raises UsageError and ModelFolderError.
    """
    if not base.has(WEIGHTS):
        raise ModelFolderError(
            f"model folder {base.path}: has no {WEIGHTS}, only graphs: no adapter can change them"
        )
    base.require_floats("adapters are for")
    check_dense(base.config)
    for folder in folders:
        check_base(folder, base)
    place = f"model folder {base.path}: {WEIGHTS}"
    shapes = {name: one.shape for name, one in shapes_in(base.path, WEIGHTS, place).items()}
    experts = [expert for folder in folders for expert in folder.experts(shapes)]
    return adapted(base.config, experts)


def check_base(adapter: AdapterFolder, base: ModelFolder) -> None:
    """Raise UsageError where an adapter is for other weights."""
    found, wanted = digest_of(base), adapter.facts.digest
    if found == wanted:
        return
    named = "" if adapter.facts.base is None else f" ({shown(adapter.facts.base)})"
    rounded = told_of(base).get(ROUNDED)
    why = (
        f"whose weights were rounded to {shown(rounded)}, so that they cannot be the same: take a "
        "copy in float32 or float16"
        if rounded
        else "which has other weights"
    )
    raise UsageError(
        f"{adapter.place}: is for a model{named} of digest {wanted[:12]}, not for {base.path} "
        f"({found[:12]}), {why}"
    )


def digest_of(folder: ModelFolder) -> str:
    """The digest of a model's weights: kept in the cache, by that of the file that they lie in.

    Raises ModelFolderError.
    """
    folder.require(WEIGHTS)
    kept = place_of_digest(folder)
    if kept is not None:
        with suppress(OSError):  # it is worked out again
            text = kept.read_text("ascii", "replace").strip()
            if DIGEST.fullmatch(text):
                return text
    found = weights_digest(weights_of(folder))
    if kept is not None:
        with suppress(StorageError):  # where nothing can be kept it takes a second each time
            write_whole(kept, f"{found}\n".encode())
    return found


def place_of_digest(folder: ModelFolder) -> Path | None:
    """Where a digest is kept; None where nothing can be."""
    try:
        return Cache.of_environment().root / "digests" / folder.digests[WEIGHTS]
    except StorageError:
        return None


def told_of(folder: ModelFolder) -> dict[str, Any]:
    """What a converted checkpoint's folder tells of where it comes from; nothing of others. Raises
    ModelFolderError where that is no JSON."""
    if not folder.has(SOURCE):
        return {}
    return parsed(folder.read(SOURCE), f"model folder {folder.path}: {SOURCE}")


def name_of(folder: ModelFolder, given: str | Path) -> str | None:
    """What a model is called everywhere, its revision included; None where it is known by nothing
    but its place here."""
    told = told_of(folder)
    repository, revision = told.get("repository"), told.get("revision", MAIN)
    if isinstance(repository, str) and isinstance(revision, str):
        with suppress(TurnoutError):  # a stranger's source.json says anything
            return source_of(f"{SCHEME}{repository}@{revision}").name
    return str(given) if str(given) in shipped() else None


def open_adapter(name: str | Path) -> AdapterFolder:
    """The adapter that ships under a name, or lies at a path, verified; raises MissingModel where
    there is none, and ModelFolderError."""
    place = adapter_at(name)
    if place is not None:
        return AdapterFolder.open(place)
    names = ", ".join(shipped_adapters()) or "none in this installation"
    if os.path.exists(name):  # noqa: PTH110 - takes a name that is too long for one not there
        raise MissingModel(f"{name}: is no adapter: a folder with adapter.json is needed")
    raise MissingModel(
        f"no adapter '{name}': give the path of its folder, or the name of one that ships ({names})"
    )
