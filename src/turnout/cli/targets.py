"""Where recordings' files are written: checked before any work, so that none is lost at its end.

Knows no verb and writes nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from turnout.errors import UsageError


def check_targets(
    audio: Sequence[Path], folder: Path, endings: Sequence[str], more: Sequence[str] = ()
) -> None:
    """Raise UsageError where `folder` is a file, where two recordings would be written to one file
    of it, or where a recording would be written over.

    A recording is written to its stem with each of `endings`, all of them together to `more`.
    """
    check_folder(folder)
    owners: dict[Path, Path] = {}
    for path in audio:
        for ending in endings:
            target = folder / f"{path.stem}{ending}"
            if target in owners:
                raise UsageError(
                    f"{owners[target]} and {path} would both be written to {target}: "
                    "rename one, or run them apart"
                )
            owners[target] = path
    recordings = set(identities(audio))
    for target in (*owners, *(folder / name for name in more)):
        if any(found in recordings for found in identities([target])):
            raise UsageError(
                f"{target} is one of the recordings and would be written over: choose another "
                "folder with -o"
            )


def check_folder(folder: Path) -> None:
    """Raise UsageError where there is a file in its place, or where a folder above it would be."""
    for place in (folder, *folder.parents):
        if place.exists():
            if not place.is_dir():
                raise UsageError(f"{place} is a file: a folder is needed")
            return


def identities(paths: Sequence[Path]) -> Iterator[tuple[int, int]]:
    """What tells files apart, whatever they are called; of those that there are."""
    for path in paths:
        # A name that cannot be looked up is said to be none where it is opened.
        with suppress(OSError, ValueError):
            found = path.stat()
            yield found.st_dev, found.st_ino
