"""A few recordings of each set, in tar files as the sets are: what the quick versions of benchmarks
learn from and are tested on, so that all else of them is as it always is.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from whisper_speech import content

Row = dict[str, Any]
Keep = Callable[[Sequence[Row]], Iterable[Row]]
"""Of the rows of a manifest those that are left."""


def of_each_split(count: int) -> Keep:
    """The first of each split."""
    return lambda rows: (row for own in grouped(rows, "split") for row in own[:count])


def of_speakers(speakers: int, count: int) -> Keep:
    """Of the first speakers some utterances each, far apart: neighbours often say the same."""

    def kept(rows: Sequence[Row]) -> Iterable[Row]:
        for own in grouped(rows, "speaker")[:speakers]:
            yield from own[:: max(len(own) // count, 1)][:count]

    return kept


def grouped(rows: Sequence[Row], key: str) -> list[list[Row]]:
    """The rows of each value, in the order of the values."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row[key], []).append(row)
    return [found[value] for value in sorted(found)]


def few_of(data: Path, place: Path, kept: Mapping[str, Keep]) -> Path:
    """The folder `place`, with a tar of a few rows for each of these sets of `data`; written where
    they are not there."""
    place.mkdir(parents=True, exist_ok=True)
    for name, keep in kept.items():
        path = place / f"{name}.tar"
        if not path.exists():
            part = path.with_suffix(".part")
            write_few(data / path.name, part, name, keep)
            part.replace(path)
    return place


def write_few(source: Path, target: Path, name: str, keep: Keep) -> None:
    """The tar of a set with some of its rows, and their files, alone."""
    manifest = f"{name}/manifest.jsonl"
    with tarfile.open(source) as tar, tarfile.open(target, "w") as few:
        rows = list(keep([json.loads(row) for row in content(tar, manifest).splitlines()]))
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        files = {f"{name}/{row['audio_filepath']}" for row in rows}
        for member, data in ((manifest, lines), *((one, content(tar, one)) for one in files)):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            few.addfile(info, io.BytesIO(data))
