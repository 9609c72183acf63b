"""Which reader a source needs, by its name and content."""

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from turnout.config.preparation import PrepareConfig
from turnout.corpora.entry import EntryStream
from turnout.corpora.manifest import Fields, json_lines
from turnout.corpora.readers.common_voice import is_common_voice, read_common_voice
from turnout.corpora.readers.huggingface import (
    columnar_files,
    metadata_files,
    read_huggingface,
)
from turnout.corpora.readers.kaldi import read_kaldi
from turnout.corpora.readers.lhotse import read_lhotse
from turnout.corpora.readers.nemo import read_nemo
from turnout.corpora.readers.published import (
    ARABIC_NAME,
    FSDD_NAME,
    LIBRISPEECH_PARTS,
    read_arabic_commands,
    read_fsdd,
    read_librispeech,
)
from turnout.corpora.readers.table import listed, read_table
from turnout.corpora.unpacking import Unpack
from turnout.errors import UsageError

Reader = Callable[[Path, PrepareConfig], EntryStream]

READERS: dict[str, Reader] = {
    "nemo": read_nemo,
    "kaldi": read_kaldi,
    "table": read_table,
    "common_voice": read_common_voice,
    "lhotse": read_lhotse,
    "fsdd": read_fsdd,
    "arabic_commands": read_arabic_commands,
    "librispeech": read_librispeech,
}
OF_FILES = {"nemo", "table", "lhotse"}
MOST_TRIED = 200
OF_BOTH = {"common_voice", "huggingface"}
ACCEPTED = (
    "JSON lines (*.jsonl), CSV or TSV, lhotse cuts (*.jsonl.gz), Parquet, or a folder: Kaldi "
    "(wav.scp), Hugging Face (metadata.csv, metadata.jsonl or *.parquet), Common Voice, the Free "
    "Spoken Digit Dataset, Arabic Speech Commands or LibriSpeech as published"
)


def reader_of(source: Path, config: PrepareConfig, unpack: Unpack) -> Reader:
    """The reader for `source`, of the kind that the configuration names or that is found.

    `unpack` puts audio that lies inside of the source into files. Raises UsageError where there is
    no such source, or it is nothing known.
    """
    if not source.exists():
        raise UsageError(f"{source}: there is no such file or folder to prepare")
    kind: str | None = config.kind
    if kind == "auto":
        kind = _kind_of_folder(source) if source.is_dir() else _kind_of_file(source)
    if kind is None:
        raise UsageError(
            f"{source}: is no corpus that is known{_within(source)}: accepted are {ACCEPTED}"
        )
    if kind not in OF_BOTH and source.is_dir() == (kind in OF_FILES):
        wanted = "a file" if kind in OF_FILES else "a folder"
        raise UsageError(f"{source}: '{kind}' is read from {wanted}, and this is not one")
    if kind == "huggingface":
        return partial(read_huggingface, unpack=unpack)
    return READERS[kind]


def _within(source: Path) -> str:
    """Which folders in a folder are corpora, such as the languages of Common Voice."""
    folders = sorted(path for path in source.glob("*") if path.is_dir())[:MOST_TRIED]
    names = [path.name for path in folders if _kind_of_folder(path)]
    return f", though these folders in it are: {listed(names)}" if names else ""


def _kind_of_file(source: Path) -> str | None:
    name = source.name.lower().removesuffix(".gz")
    if columnar_files(source):
        return "huggingface"
    if is_common_voice(source):
        return "common_voice"
    if name.endswith((".csv", ".tsv")):
        return "table"
    if not name.endswith((".jsonl", ".json", ".ndjson")):
        return None
    first = next((line for line in json_lines(source) if isinstance(line, Fields)), None)
    fields = set(first.values) if first else set()
    lhotse = {"supervisions", "recording", "sources", "recording_id"}
    return "lhotse" if fields & lhotse else "nemo"


def _kind_of_folder(source: Path) -> str | None:
    """The first kind of which the folder has what is looked for."""
    looked_for = {
        "kaldi": (source / "wav.scp").is_file,
        "common_voice": lambda: is_common_voice(source),
        "huggingface": lambda: metadata_files(source) or columnar_files(source),
        "librispeech": lambda: any((source / part).is_dir() for part in LIBRISPEECH_PARTS),
        "fsdd": lambda: _any_named(FSDD_NAME, source.glob("recordings/*.wav")),
        "arabic_commands": lambda: _any_named(ARABIC_NAME, source.glob("dataset/*/*.wav")),
    }
    return next((kind for kind, there in looked_for.items() if there()), None)


def _any_named(pattern: re.Pattern[str], paths: Iterable[Path]) -> bool:
    return any(pattern.fullmatch(path.name) for path in paths)
