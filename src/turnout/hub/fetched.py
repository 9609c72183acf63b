"""A repository's checkpoint: fetched into the cache, converted there, and not kept beside it."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.filesize import decimal

from turnout.errors import (
    FetchError,
    MissingExtra,
    ModelFolderError,
    StorageError,
    TurnoutError,
    shown,
)
from turnout.files import remove_leftovers
from turnout.hub.cache import Cache, remove_folder
from turnout.hub.convert import convert
from turnout.hub.fetch import Hub
from turnout.hub.listing import CONFIG, Listing, RemoteFile, needed_files
from turnout.hub.sources import Source
from turnout.progress import Say, byte_progress

ARCHITECTURE = "whisper"
Needed = Mapping[str, RemoteFile]
"""By the name that a file is fetched as."""


def fetched(source: Source, cache: Cache, say: Say) -> Path:
    """The model folder of what is not in the cache, once it is.

    What a break leaves is gone on with the next time. Raises FetchError, MissingExtra,
    StorageError, and ModelFolderError for what cannot be converted.
    """
    hub = Hub.of_environment(source, say)
    with cache.alone(source, lambda: say(f"{source.name}: another process is fetching it")):
        found = cache.find(source)
        if found is not None:
            return found
        listing = hub.listing(source)
        place = cache.place(source, listing.commit)
        if cache.folder(source, listing.commit) is None:
            with files_of(hub, source, listing, cache) as folder, cache.written():
                say(f"{source.name}: converting it")
                place.parent.mkdir(parents=True, exist_ok=True)
                convert_or_advise(source, folder, place, origin_of(source, listing))
        cache.note(source, listing.commit)
    return place


def convert_or_advise(source: Source, folder: Path, place: Path, origin: Mapping[str, str]) -> None:
    """Convert, and say of a shape whose graphs need PyTorch how a folder is made of it."""
    try:
        convert(folder, place, origin=origin)
    except MissingExtra as error:
        raise MissingExtra(
            f"{source.name}: run 'turnout convert {source.name} -o FOLDER' and give the folder "
            f"instead of the name: {error.what}",
            error.extra,
        ) from error


@contextmanager
def checkpoint_of(
    source: Source, cache: Cache, say: Say
) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """The folder of the files themselves, and where they come from, as long as the context lasts:
    it ends where no error does. Raises as `fetched` does."""
    hub = Hub.of_environment(source, say)
    with cache.alone(source, lambda: say(f"{source.name}: another process is fetching it")):
        listing = hub.listing(source)
        with files_of(hub, source, listing, cache) as folder:
            yield folder, origin_of(source, listing)


@contextmanager
def files_of(hub: Hub, source: Source, listing: Listing, cache: Cache) -> Iterator[Path]:
    """A folder with the files of a commit, which goes with the context; what came of them stays
    where that ends with an error that can be mended."""
    needed = needed_files(listing, source.repository)
    folder = cache.download(source, listing.commit)
    with kept_if_of_use(folder):
        with cache.written():
            forget_others(source, folder, cache)
            folder.mkdir(parents=True, exist_ok=True)
            check_room(source, needed, folder)
            fetch(hub, source, listing.commit, needed, folder)
        yield folder
        with cache.written():
            remove_folder(folder)


def origin_of(source: Source, listing: Listing) -> dict[str, str]:
    """Where a model folder's weights come from, as it is to say itself."""
    origin = {
        "repository": source.repository,
        "revision": source.revision,
        "commit": listing.commit,
    }
    return origin if listing.licence is None else {**origin, "license": listing.licence}


@contextmanager
def kept_if_of_use(folder: Path) -> Iterator[None]:
    """Let what was fetched go where it is nothing, or can never become a model."""
    try:
        yield
    except TurnoutError as error:
        # For a network, space or a package to come.
        mendable = isinstance(error, FetchError | StorageError | MissingExtra)
        if folder.is_dir() and not (mendable and bytes_in(folder)):
            remove_folder(folder)
        raise


def forget_others(source: Source, folder: Path, cache: Cache) -> None:
    """Delete what stopped downloads of the repository's other commits left."""
    for one in cache.unfinished():
        if one.source.key == source.key and one.path != folder:
            remove_folder(one.path)
    remove_leftovers(folder.parent, folder.name[-40:])


def check_room(source: Source, needed: Needed, folder: Path) -> None:
    """Raise StorageError where the disk cannot hold the files and the model that is made of
    them, which is about as large."""
    have = bytes_in(folder)
    total = sum(file.size for file in needed.values())
    free = shutil.disk_usage(folder).free
    if 2 * total - have > free:
        raise StorageError(
            f"{source.name} needs {decimal(2 * total - have)} in {folder.parent.parent}, where "
            f"{decimal(free)} are free: make room, or name another folder in TURNOUT_CACHE"
        )


def bytes_in(folder: Path) -> int:
    """Of its files."""
    return sum(file.stat().st_size for file in folder.iterdir())


def fetch(hub: Hub, source: Source, commit: str, needed: Needed, folder: Path) -> None:
    """Put the files into the folder, or what lacks of them."""
    total, have = sum(file.size for file in needed.values()), bytes_in(folder)
    hub.say(
        f"{source.name}: fetching {len(needed)} files ({decimal(total)}) of "
        f"{source.repository}@{commit[:12]} from {hub.endpoint}"
        + f"; {decimal(have)} are here from before"
        * bool(have)
    )
    try:
        with byte_progress("fetching", total) as advance:
            for name, file in needed.items():
                hub.download(source, commit, file, folder / name, advance)
                if name == CONFIG:
                    check_architecture(source, (folder / name).read_bytes())
    except KeyboardInterrupt:
        hub.say(f"{source.name}: stopped; what came is kept, and the same command goes on with it")
        raise


def check_architecture(source: Source, config: bytes) -> None:
    """Raise ModelFolderError for another one's configuration, before its weights are fetched."""
    try:
        content = json.loads(config)
    except (ValueError, RecursionError):
        content = None
    found = content.get("model_type") if isinstance(content, Mapping) else None
    if found != ARCHITECTURE:
        raise ModelFolderError(
            f"{source.repository}: {CONFIG} has the model_type {shown(found)}: checkpoints of "
            f"'{ARCHITECTURE}' are read here"
        )
