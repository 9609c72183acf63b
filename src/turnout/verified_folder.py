"""A folder's files: verified by digest before a byte is used, written whole or not at all.

No checkpoint format notices a flipped bit by itself, so SHA256SUMS covers every file but the model
card, which people edit. Files are read into memory, never mapped: one that is swapped or cut while
it serves cannot bring the process down. Nothing here knows what the files hold.
"""

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Self

from turnout.errors import ModelFolderError, StorageError
from turnout.files import open_regular, sha256_of, whole_folder, write_synced

CARD = "README.md"
DIGESTS = "SHA256SUMS"
MOST_DIGESTS = 1 << 20
"""Bytes; a model has a dozen files."""
MOST_REPLACED = 10
"""How often a folder may give way to another while it is opened."""


@dataclass(frozen=True)
class VerifiedFolder:
    """A folder whose files were found to be what was once written; made by `open`."""

    path: Path
    digests: Mapping[str, str]
    """File name -> SHA-256, in hexadecimal."""
    kept: dict[str, bytes] = field(default_factory=dict, repr=False, compare=False)
    """Content of files that `open` was told to keep and nobody has read yet."""

    @classmethod
    def open(cls, path: str | Path, keep: Collection[str] = ()) -> Self:
        """Check that nothing is missing or damaged; raises ModelFolderError, naming the file.

        What was verified of the files in `keep` stays in memory for the first `read` of each, which
        then neither reads nor hashes it again; `release` forgets what nobody wants.
        """
        path = Path(path)
        for _ in range(MOST_REPLACED):
            with _held(path) as before:
                try:
                    return cls._checked(path, keep)
                except ModelFolderError:
                    # Half of the old files and half of the new, where it was replaced meanwhile.
                    with _held(path) as after:
                        if after == before:
                            raise
        return cls._checked(path, keep)

    @classmethod
    def _checked(cls, path: Path, keep: Collection[str]) -> Self:
        if not path.is_dir():
            what = "is a file" if path.exists() else "does not exist"
            raise ModelFolderError(f"folder {path}: {what}: a folder with {DIGESTS} is needed")
        folder = cls(path, read_digests(path))
        folder.check_listed()
        with ExitStack() as files, ThreadPoolExecutor() as pool:
            # All are opened before one is read through, lest another model come in between.
            content = {name: files.enter_context(opened(path, name)) for name in folder.digests}
            list(pool.map(lambda name: folder._verify(name, content[name], name in keep), content))
        return folder

    def check_listed(self) -> None:
        """Raise ModelFolderError where files are not listed without which it is no such folder."""

    def has(self, name: str) -> bool:
        """Whether the file belongs to the model."""
        return name in self.digests

    def require(self, name: str) -> None:
        """Raise ModelFolderError where the model has no such file."""
        if not self.has(name):
            raise ModelFolderError(
                f"folder {self.path}: {name} is not listed in {DIGESTS}: the folder is not "
                "complete, fetch or save it again"
            )

    def _verify(self, name: str, file: BufferedReader, keep: bool) -> None:
        data = file.read() if keep else None
        found = hashlib.file_digest(file, "sha256").hexdigest() if data is None else sha256_of(data)
        self._compare(name, found)
        if data is not None:
            self.kept[name] = data

    def read(self, name: str) -> bytes:
        """The file's bytes, verified themselves: the file may have changed since `open`."""
        self.require(name)
        kept = self.kept.pop(name, None)
        if kept is not None:
            return kept
        data = read_bytes(self.path, name)
        self._compare(name, sha256_of(data))
        return data

    def release(self) -> None:
        """Forget what was kept and not read."""
        self.kept.clear()

    def _compare(self, name: str, digest: str) -> None:
        if digest != self.digests[name]:
            raise ModelFolderError(
                f"folder {self.path}: {name} is damaged (its SHA-256 is not the one in "
                f"{DIGESTS}): fetch or save it again"
            )

    def files(self) -> dict[str, bytes]:
        """Every file with its bytes, the card included: what `write_folder` takes."""
        return {**{name: self.read(name) for name in self.digests}, **self.card()}

    def card(self) -> dict[str, bytes]:
        """README.md, which no digest is of, by its name; nothing where there is none. Raises
        ModelFolderError where it is a link out of the folder."""
        if not (self.path / CARD).is_file():
            return {}
        if leads_out(self.path, CARD):
            raise ModelFolderError(
                f"folder {self.path}: {CARD} is a link out of the folder: put the card in "
                "its place, or delete the link"
            )
        return {CARD: read_bytes(self.path, CARD)}


def leads_out(folder: Path, name: str) -> bool:
    """Whether a file, which a stranger's folder would have copied unseen, is a link to somewhere
    else: not to where the hub's cache has a snapshot's files, in `blobs` beside `snapshots`."""
    home, target = folder.resolve(), (folder / name).resolve()
    cached = home.parent.name == "snapshots"
    return not (
        target.is_relative_to(home) or (cached and target.is_relative_to(home.parents[1] / "blobs"))
    )


@contextmanager
def _held(path: Path) -> Iterator[tuple[int, int] | None]:
    """What tells a folder from the one that takes its place, None where there is none; as long as
    it is held no other folder is given its number."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield None
        return
    try:
        status = os.fstat(folder)
        yield status.st_dev, status.st_ino
    finally:
        os.close(folder)


def read_digests(path: Path) -> dict[str, str]:
    """The content of SHA256SUMS; raises ModelFolderError for a line that is none."""
    digests: dict[str, str] = {}
    with opened(path, DIGESTS) as file:
        data = file.read(MOST_DIGESTS + 1)
    if len(data) > MOST_DIGESTS:
        raise ModelFolderError(
            f"folder {path}: {DIGESTS} has more than {MOST_DIGESTS} bytes: it is no model's"
        )
    text = data.decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), start=1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or Path(name).name != name:
            raise ModelFolderError(
                f"folder {path}: {DIGESTS} line {number} is not 'SHA-256  file name': the "
                "file is damaged, fetch or save it again"
            )
        digests[name] = digest
    return digests


def read_bytes(folder: Path, name: str) -> bytes:
    """A file's bytes; raises ModelFolderError."""
    with opened(folder, name) as file:
        return file.read()


@contextmanager
def opened(folder: Path, name: str) -> Iterator[BufferedReader]:
    """A file to be read; raises ModelFolderError where it is not there or cannot be."""
    try:
        with open_regular(folder / name) as file:
            yield file
    except OSError as error:
        reason = f"cannot be read: {(error.strerror or str(error)).lower()}"
        if isinstance(error, FileNotFoundError):
            reason = "is missing: the folder is no model or not complete, fetch or save it again"
        raise ModelFolderError(f"folder {folder}: {name} {reason}") from error


def write_verified(
    path: Path,
    files: Mapping[str, bytes | Iterable[bytes]],
    gone: Callable[[Path], Collection[str]],
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write a folder whole or not at all, digests included. What memory may not hold comes in
    parts. Of what is at `path`, the files that `gone` names are deleted, and the others stay.

    `check` is called with the whole folder before it takes its place, which what it raises keeps it
    from. Raises StorageError, and leaves what was there, where there is no space or no permission.
    """
    try:
        with whole_folder(path, gone(path)) as partial:
            digests: dict[str, str] = {}
            for name, data in files.items():
                digest = hashlib.sha256(data if isinstance(data, bytes) else b"")
                parts = data if isinstance(data, bytes) else _passing(data, digest.update)
                write_synced(partial / name, parts)
                digests[name] = digest.hexdigest()
            write_synced(partial / DIGESTS, digest_lines(digests))
            if check is not None:
                check(partial)
    except OSError as error:
        raise StorageError(
            f"{path}: the model cannot be written: {(error.strerror or str(error)).lower()}"
        ) from error


def _passing(parts: Iterable[bytes], see: Callable[[bytes], None]) -> Iterator[bytes]:
    for part in parts:
        see(part)
        yield part


def digest_lines(digests: Mapping[str, str]) -> bytes:
    """The content of SHA256SUMS, as sha256sum writes it."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(digests.items()) if name != CARD]
    return "".join(lines).encode()
