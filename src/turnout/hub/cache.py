"""The cache: models that were fetched and converted, by repository and commit.

::

    models/owner--name@COMMIT/       a model folder
    revisions/owner--name@REVISION   the commit that the revision was when it was fetched
    fetching/owner--name@COMMIT/     what a download that was stopped has so far
    locks/owner--name.lock           one process at a time fetches and converts

Reading changes nothing in it, so it may lie where nobody can write.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from turnout.errors import StorageError
from turnout.files import locked, partial_of, write_whole
from turnout.hub.sources import COMMIT, MAIN, Source
from turnout.model_folder import DIGESTS

ENTRY = re.compile(r"([^@]+?)--([^@]+)@([0-9a-f]{40})")


@dataclass(frozen=True)
class Cached:
    """A model, or what there is so far of one, in the cache."""

    source: Source
    """At the revision that it was fetched as; at its commit where nothing says so any more."""
    commit: str
    path: Path


@dataclass(frozen=True)
class Cache:
    """A folder, which need not be there yet."""

    root: Path

    @classmethod
    def of_environment(cls) -> "Cache":
        """TURNOUT_CACHE, by default the platform's; raises StorageError where it has none."""
        named = os.environ.get("TURNOUT_CACHE")
        if named:
            return cls(Path(named).expanduser().absolute())
        return cls(platform_cache() / "turnout")

    def place(self, source: Source, commit: str) -> Path:
        """Where the model folder belongs."""
        return self.root / "models" / f"{source.key}@{commit}"

    def download(self, source: Source, commit: str) -> Path:
        """Where its files are fetched to."""
        return self.root / "fetching" / f"{source.key}@{commit}"

    def find(self, source: Source) -> Path | None:
        """The model folder of what is called so, None where it is not in the cache."""
        commit = source.commit or self._noted(source)
        return None if commit is None else self.folder(source, commit)

    def folder(self, source: Source, commit: str) -> Path | None:
        """The model folder of a commit, None where it is not in the cache."""
        place = self.place(source, commit)
        try:
            return place if (place / DIGESTS).is_file() else None
        except OSError as error:
            raise self.trouble(error, "read") from error

    def _noted(self, source: Source) -> str | None:
        try:
            text = (self.root / "revisions" / source.revision_key).read_text("ascii", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self.trouble(error, "read") from error
        return text.strip() if COMMIT.fullmatch(text.strip()) else None

    def note(self, source: Source, commit: str) -> None:
        """Keep which commit a revision is; raises StorageError."""
        if source.commit is None:
            write_whole(self.root / "revisions" / source.revision_key, f"{commit}\n".encode())

    @contextmanager
    def alone(self, source: Source, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the repository against other processes and threads; `waiting` is called where
        another has it. Raises StorageError where nothing can be written."""
        lock = self.root / "locks" / f"{source.key}.lock"
        with self.written():
            lock.parent.mkdir(parents=True, exist_ok=True)
            lock.touch()
        with ExitStack() as held:
            try:
                held.enter_context(locked(lock, wait=False, threads=True))
            except BlockingIOError:
                waiting()
                held.enter_context(locked(lock, wait=True, threads=True))
            yield

    @contextmanager
    def written(self) -> Iterator[None]:
        """Turn an OSError of what is written here into a StorageError."""
        try:
            yield
        except OSError as error:
            raise self.trouble(error, "written") from error

    def trouble(self, error: OSError, what: str) -> StorageError:
        """One line for what the system says."""
        reason = (error.strerror or str(error)).lower()
        return StorageError(
            f"the cache {self.root} cannot be {what} ({reason}): make room or give access, or name "
            "another folder in TURNOUT_CACHE"
        )

    def models(self) -> list[Cached]:
        """The models, in the order of their names."""
        return [one for one in self._in("models") if (one.path / DIGESTS).is_file()]

    def unfinished(self) -> list[Cached]:
        """Downloads that were stopped."""
        return self._in("fetching")

    def _in(self, part: str) -> list[Cached]:
        found: list[Cached] = []
        for path in _listed(self.root / part):
            if match := ENTRY.fullmatch(path.name):
                commit = match[3]
                plain = Source(f"{match[1]}/{match[2]}", commit)
                known = (one for one in self._revisions(plain) if self._noted(one) == commit)
                found.append(Cached(next(known, plain), commit, path))
        return found

    def _revisions(self, source: Source) -> list[Source]:
        """The repository at each revision that was kept, `main` first."""
        begin = f"{source.key}@"
        names = [path.name for path in _listed(self.root / "revisions")]
        words = [unquote(name.removeprefix(begin)) for name in names if name.startswith(begin)]
        return [Source(source.repository, word) for word in sorted(words, key=MAIN.__ne__)]

    def remove(self, source: Source) -> list[Path]:
        """Delete a model, what was kept of its revision, and every stopped download of its
        repository; the folders that are gone. Raises StorageError."""
        place = self.find(source)
        stopped = [one.path for one in self.unfinished() if one.source.key == source.key]
        with self.written():
            for one in self._revisions(source):
                same = place is not None and self.find(one) == place
                if same or one == source:
                    (self.root / "revisions" / one.revision_key).unlink(missing_ok=True)
            gone = [*([place] if place else []), *stopped]
            for path in gone:
                remove_folder(path)
        return gone


def remove_folder(path: Path) -> None:
    """Delete a folder so that nobody finds half of it; of a link, the link. Raises OSError."""
    if path.is_symlink():
        path.unlink()
        return
    partial = partial_of(path)
    path.rename(partial)
    shutil.rmtree(partial)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # nothing was ever put there, or nobody may look
        return []


def platform_cache() -> Path:
    """Where programs of this platform keep what they can fetch again; raises StorageError."""
    try:
        home = Path.home()
    except RuntimeError as error:
        raise StorageError(
            "there is no home folder to keep fetched models in: name a folder in TURNOUT_CACHE"
        ) from error
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # XDG's base directory specification: what is relative is to be ignored.
    return named if named.is_absolute() else home / ".cache"
