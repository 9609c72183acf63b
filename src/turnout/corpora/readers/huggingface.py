"""A Hugging Face dataset folder: audio files with a `metadata.csv` or `metadata.jsonl`, or Parquet.

The metadata may lie at the top, or in folders below. Splits are found as the library `datasets`
finds them, in any letters: a folder's name, the name of a Parquet file, its shards' name.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath

from turnout.config.preparation import PrepareConfig
from turnout.corpora.entry import Entry, EntryStream, utterance_id
from turnout.corpora.manifest import Fields, Place, each, json_lines
from turnout.corpora.readers.columnar import (
    ENDINGS,
    KNOWN,
    LANGUAGES,
    SPEAKERS,
    TEXTS,
    columnar_entries,
    left_out,
)
from turnout.corpora.readers.rows import table_rows
from turnout.corpora.readers.table import TARGETS, listed, translation
from turnout.corpora.spelling import SPLITS as SPLIT_NAMES
from turnout.corpora.spelling import beside, usual_split
from turnout.corpora.unpacking import Unpack
from turnout.errors import ManifestError

DEEPEST = 4
"""Folders below the dataset's in which its tables may lie, as in `data/en/train/0000.parquet`."""

NUMBERED = re.compile(r"(data|part)?[-_]?\d*")
"""Files of columns that are called so have the name of their split, if any, from their folder."""


@dataclass(frozen=True)
class Found:
    """An entry, and the folder that may name its split."""

    entry: Entry
    folder: str


def metadata_files(source: Path) -> list[Path]:
    """The metadata files of a folder, its own or those of folders in it."""
    return _files(source, "metadata.csv", "metadata.jsonl")


def columnar_files(source: Path) -> list[Path]:
    """The Parquet files of a folder, else its Arrow files; the file itself where it is one."""
    if source.is_file():
        return [source] if source.suffix.lower() in ENDINGS else []
    kinds = (_files(source, f"*{ending}") for ending in ENDINGS)
    return next((files for files in kinds if files), [])


def _files(source: Path, *names: str) -> list[Path]:
    patterns = ("*/" * depth + name for depth in range(DEEPEST) for name in names)
    found = {path for pattern in patterns for path in source.glob(pattern)}
    return sorted(path for path in found if path.is_file() and not _is_hidden(path, source))


def _is_hidden(path: Path, source: Path) -> bool:
    """Caches: folders of the hub's client, and what the library keeps beside a dataset."""
    parts = path.relative_to(source).parts
    return parts[-1].startswith("cache-") or any(part.startswith((".", "_")) for part in parts)


def read_huggingface(source: Path, config: PrepareConfig, unpack: Unpack) -> EntryStream:
    """Entries of a dataset folder or of one Parquet file; audio inside of it is unpacked."""
    metadata, columnar = metadata_files(source), columnar_files(source)
    if metadata:
        found = list(_of_metadata(metadata, source, config))
        if columnar:
            yield f"not read: {_named(columnar, source)}, beside {_named(metadata[:1], source)}"
    elif columnar:
        found = list(_of_columns(columnar, source, config, unpack))
    else:
        reason = "holds no metadata.csv, metadata.jsonl or *.parquet: one of these was expected"
        found = [Place(str(source)).error(None, reason)]
    # The shards of a split say the same.
    yield from dict.fromkeys(one for one in found if isinstance(one, str))
    yield from _with_splits([one for one in found if not isinstance(one, str)])


def _of_metadata(
    files: Sequence[Path], source: Path, config: PrepareConfig
) -> Iterator[Found | ManifestError | str]:
    unknown: dict[str, None] = {}
    for file in files:
        lines = table_rows(file) if file.suffix == ".csv" else json_lines(file)
        for line in lines:
            if isinstance(line, Fields):
                unknown |= dict.fromkeys(line.values.keys() - {"file_name"} - KNOWN)
            yield from each([line], partial(_entry, file=file, source=source, config=config))
    if unknown:
        yield left_out(sorted(unknown))


def _entry(fields: Fields, file: Path, source: Path, config: PrepareConfig) -> Found:
    name = fields.needed("file_name")
    audio = beside(file.parent, name)
    inside = os.path.relpath(os.path.abspath(audio), os.path.abspath(source))  # noqa: PTH100
    if inside.split(os.sep, 1)[0] == os.pardir:
        wanted = f"the path of a file in {source} was"
        raise fields.place.wrong("file_name", name, wanted)
    folder = Path(inside).parent.as_posix().removeprefix(".")
    entry = Entry(
        id=fields.word("id") or utterance_id(inside),
        audio=audio,
        place=fields.place,
        text=fields.text(*TEXTS),
        language=fields.language(*LANGUAGES, default=config.language),
        speaker=fields.word(*SPEAKERS),
        translations=translation(fields, config),
        split=fields.split() or _split_of(PurePath(folder).parts),
        bandwidth=fields.bandwidth(),
        domain=fields.domain(),
        audio_field="file_name",
        language_field=fields.given(*LANGUAGES),
        target_field=fields.given(*TARGETS),
    )
    return Found(entry, folder)


def _of_columns(
    files: Sequence[Path], source: Path, config: PrepareConfig, unpack: Unpack
) -> Iterator[Found | ManifestError | str]:
    parts = [_parts(file, source) for file in files]
    configurations = sorted({configuration for configuration, _, _ in parts})
    if len(configurations) > 1:
        names = listed([name or "one without a folder" for name in configurations])
        yield Place(str(source)).error(
            None,
            f"holds {len(configurations)} configurations, each a corpus of its own: {names}: "
            "prepare the folder or the files of one",
        )
        return
    for file, (_, split, folder) in zip(files, parts, strict=True):
        for entry in columnar_entries(file, config, unpack):
            if isinstance(entry, ManifestError | str):
                yield entry
            else:
                yield Found(replace(entry, split=entry.split or split), folder)


def _parts(file: Path, source: Path) -> tuple[str, str | None, str]:
    """The configuration of a file of columns, its split, and what may name the split."""
    folders = () if source.is_file() else file.relative_to(source).parts[:-1]
    stem, shards, _ = file.stem.partition("-of-")
    stem = stem.rpartition("-")[0] if shards else stem
    own = usual_split(stem)
    if shards and stem and stem != "data":  # as the library names them: by the split alone
        own = SPLIT_NAMES.get(stem.lower(), stem)
    rest = [folder for folder in folders if folder != "data" and usual_split(folder) is None]
    split = own or _split_of(folders)
    named = stem
    if split is None and NUMBERED.fullmatch(stem):
        named = rest.pop() if rest else ""
    return "/".join(rest), split, named


def _split_of(folders: Sequence[str]) -> str | None:
    """The split that folders within each other name: an inner one knows better than an outer one,
    and one that is called so alone better than one that has more words."""
    inner = folders[::-1]
    exact = (SPLIT_NAMES.get(folder.lower()) for folder in inner)
    return next(filter(None, (*exact, *map(usual_split, inner))), None)


def _with_splits(found: Sequence[Found | ManifestError]) -> EntryStream:
    """The entries; those of folders whose names say no split are kept apart where others' do."""
    entries = [one.entry for one in found if isinstance(one, Found)]
    known = any(entry.split for entry in entries)
    by_name = {usual_split(entry.audio.stem) for entry in entries}
    by_name = by_name if not known and None not in by_name and len(by_name) > 1 else set()
    folders = {one.folder for one in found if isinstance(one, Found)}
    # Below what all of them lie in, such as 'data', the first folder of each.
    common = os.path.commonpath(folders or [""])
    tops = {folder: folder.removeprefix(common).strip("/").split("/")[0] for folder in folders}
    none = {tops[one.folder] for one in found if isinstance(one, Found) and not one.entry.split}
    unknown = sorted(none - {""})
    if by_name:
        yield "the names of the recordings tell the splits"
    elif unknown and (known or len(unknown) > 1):
        yield (
            f"no split that is known (train, dev, test, and the usual words for them) is named by "
            f"{listed(unknown)}: "
            + ("each is kept as a split of its own" if known else "all are written as one")
        )
    for one in found:
        if isinstance(one, ManifestError):
            yield one
        elif by_name:
            yield replace(one.entry, split=usual_split(one.entry.audio.stem))
        elif known and one.entry.split is None and tops[one.folder]:
            yield replace(one.entry, split=utterance_id(tops[one.folder] + ".")[:60])
        else:
            yield one.entry


def _named(files: Sequence[Path], source: Path) -> str:
    return listed([path.relative_to(source).as_posix() for path in files])
