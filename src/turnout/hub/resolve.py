"""The door: a model's name -> its folder, fetched and converted the first time it is asked for."""

import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from turnout import model_folder
from turnout.adapters.folder import is_adapter
from turnout.errors import ModelFolderError, UsageError
from turnout.hub.cache import Cache
from turnout.hub.sources import PUBLISHED, SCHEME, looks_like_path, missing, source_of
from turnout.model_folder import CONFIG, ModelFolder, shipped, shipped_models
from turnout.progress import Say
from turnout.verified_folder import read_bytes

to_log: Say = logging.getLogger(__name__).info


def resolve(name: str | Path | None = None, say: Say = to_log) -> Path:
    """The folder of a model: of one that ships (the default one for None), at a path, or by one of
    the names of `hub.sources`, which is fetched where it is not in the cache.

    `say` is told what is fetched before it is. Raises MissingModel, UsageError, for an adapter too,
    FetchError, MissingExtra, StorageError, and ModelFolderError for what cannot be converted.
    """
    refuse_adapter(name)
    if is_here(name):
        return model_folder.resolve(name)
    if not isinstance(name, str):
        raise missing(name)
    source, cache = source_of(name), Cache.of_environment()
    found = cache.find(source)
    if found is not None:
        return found
    from turnout.hub.fetched import fetched  # noqa: PLC0415 - what is there needs none of it

    return fetched(source, cache, say)


def open_model(
    name: str | Path | None = None, say: Say = to_log, keep: Collection[str] = ()
) -> ModelFolder:
    """The folder that `resolve` finds, opened with `keep`; raises ModelFolderError, too."""
    path = resolve(name, say)
    try:
        return ModelFolder.open(path, keep)
    except ModelFolderError as error:
        if is_here(name):
            raise
        raise ModelFolderError(
            f"{error}; 'turnout models --remove {name}' lets it be fetched again"
        ) from error


def refuse_adapter(name: str | Path | None) -> None:
    """Raise UsageError for an adapter, one that ships too, where a model alone can be taken."""
    if is_adapter_name(name):
        raise UsageError(
            f"{name}: is an adapter, no model: give its base here; 'turnout specialise --model "
            "BASE --adapter FOLDER -o OUTPUT' makes one model of both"
        )


def in_cache(place: str) -> bool:
    """Whether this is a name, and what has it is in the cache; raises as `resolve` does."""
    if not is_name(place):
        return False
    return Cache.of_environment().find(source_of(place)) is not None


@contextmanager
def checkpoint_at(place: str, say: Say = to_log) -> Iterator[tuple[Path, Mapping[str, str] | None]]:
    """The folder of a checkpoint at a path, or by name, whose files are fetched for as long as the
    context lasts; with where they come from. Raises as `resolve` does."""
    refuse_adapter(place)
    if not is_name(place):
        if not is_here(place) and not looks_like_path(place):
            raise missing(place)
        yield Path(place), None
        return
    from turnout.hub.fetched import checkpoint_of  # noqa: PLC0415 - what is there needs none of it

    with checkpoint_of(source_of(place), Cache.of_environment(), say) as found:
        yield found


def is_name(place: str) -> bool:
    """Whether it is one of the names of `hub.sources`; what lies at this path goes first."""
    return not is_here(place) and (place in PUBLISHED or place.startswith(SCHEME))


def is_model(place: str) -> bool:
    """Whether a model of ours ships under this name, or lies at this path."""
    if not is_here(place):
        return False
    with suppress(ModelFolderError, OSError):
        path = model_folder.resolve(place)
        return bool(model_folder.parse_config(read_bytes(path, CONFIG), path))
    return False


def is_here(name: str | Path | None) -> bool:
    """Whether it ships, or lies at this path."""
    # Unlike pathlib's, it takes a name that is too long for one that is not there.
    return name is None or str(name) in shipped_models() or os.path.exists(name)  # noqa: PTH110


def is_adapter_name(name: str | Path | None) -> bool:
    """Whether this is an adapter in a model's place."""
    return name is not None and adapter_at(name) is not None


def adapter_at(name: str | Path) -> Path | None:
    """The folder of the adapter that ships under a name, or lies at a path; None where it is
    none."""
    if str(name) in shipped_adapters():
        return model_folder.SHIPPED / str(name)
    with suppress(OSError, ValueError):  # a name that cannot be a path's
        return Path(name) if is_adapter(name) else None
    return None


def shipped_adapters() -> tuple[str, ...]:
    """Names of the adapters inside the package."""
    return tuple(name for name in shipped() if is_adapter(model_folder.SHIPPED / name))
