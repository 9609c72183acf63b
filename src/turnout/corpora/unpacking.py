"""Audio that a source holds inside itself -> files of their own, which cuts can name."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PureWindowsPath

from turnout.files import sha256_of, write_whole

Unpack = Callable[[str, bytes], Path]
"""A name, of whoever made the source, and an audio file's bytes -> where these lie now."""
ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")
LONGEST_STEM = 60


@contextmanager
def unpacking(folder: Path) -> Iterator[Unpack]:
    """Write into `folder`; what this context wrote is gone again where it ends in an error.

    Each file is named by its digest as well, so that nothing else is ever overwritten, and the
    same audio is one file. What is called raises StorageError.
    """
    made: list[Path] = []
    paths: dict[str, Path] = {}
    new = not folder.parent.exists()

    def put(name: str, data: bytes) -> Path:
        digest = sha256_of(data)
        # Under whichever name it came first: one recording under two could be in two splits.
        path = paths.setdefault(digest, folder / _file_name(name, digest))
        if not path.is_file() or path.read_bytes() != data:
            write_whole(path, data)
            made.append(path)
        return path

    try:
        yield put
    except BaseException:  # Ctrl-C as well
        for path in made:
            with suppress(OSError):
                path.unlink()
        with suppress(OSError):  # as long as there is something else in them
            folder.rmdir()
            if new:
                folder.parent.rmdir()
        raise


def _file_name(name: str, digest: str) -> str:
    """Of letters that no file system minds: the name may hold anything."""
    given = PureWindowsPath(name)  # which knows both kinds of slashes
    stem = re.sub(r"[^\w-]+", "-", given.stem)[:LONGEST_STEM].strip("-") or "audio"
    ending = given.suffix if ENDING.fullmatch(given.suffix) else ""
    return f"{stem}-{digest[:12]}{ending}"
