"""Which reader a source needs, by its name and content."""

from collections.abc import Callable
from pathlib import Path

from turnout.config.preparation import PrepareConfig
from turnout.corpora.entry import EntryStream
from turnout.corpora.manifest import Fields, json_lines
from turnout.corpora.readers.huggingface import metadata_files, read_huggingface
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
from turnout.corpora.readers.table import read_table
from turnout.errors import UsageError

Reader = Callable[[Path, PrepareConfig], EntryStream]

READERS: dict[str, Reader] = {
    "nemo": read_nemo,
    "kaldi": read_kaldi,
    "table": read_table,
    "huggingface": read_huggingface,
    "lhotse": read_lhotse,
    "fsdd": read_fsdd,
    "arabic_commands": read_arabic_commands,
    "librispeech": read_librispeech,
}
OF_FILES = {"nemo", "table", "lhotse"}
ACCEPTED = (
    "JSON lines (*.jsonl), CSV or TSV, lhotse cuts (*.jsonl.gz), or a folder: Kaldi (wav.scp), "
    "Hugging Face (metadata.csv or metadata.jsonl), the Free Spoken Digit Dataset, Arabic Speech "
    "Commands or LibriSpeech as published"
)


def reader_of(source: Path, config: PrepareConfig) -> Reader:
    """The reader for `source`, of the kind that the configuration names or that is found.

    Raises UsageError where there is no such source, or it is nothing known.
    """
    if not source.exists():
        raise UsageError(f"{source}: there is no such file or folder to prepare")
    kind: str | None = config.kind
    if kind == "auto":
        kind = _kind_of_folder(source) if source.is_dir() else _kind_of_file(source)
    if kind is None:
        raise UsageError(f"{source}: is no corpus that is known: accepted are {ACCEPTED}")
    if source.is_dir() == (kind in OF_FILES):
        wanted = "a file" if kind in OF_FILES else "a folder"
        raise UsageError(f"{source}: '{kind}' is read from {wanted}, and this is not one")
    return READERS[kind]


def _kind_of_file(source: Path) -> str | None:
    name = source.name.removesuffix(".gz")
    if name.endswith((".csv", ".tsv")):
        return "table"
    if not name.endswith((".jsonl", ".json", ".ndjson")):
        return None
    first = next((line for line in json_lines(source) if isinstance(line, Fields)), None)
    fields = set(first.values) if first else set()
    lhotse = {"supervisions", "recording", "sources", "recording_id"}
    return "lhotse" if fields & lhotse else "nemo"


def _kind_of_folder(source: Path) -> str | None:
    if (source / "wav.scp").is_file():
        return "kaldi"
    if metadata_files(source) or any(source.glob("**/*.arrow")):
        return "huggingface"
    if any((source / part).is_dir() for part in LIBRISPEECH_PARTS):
        return "librispeech"
    if any(FSDD_NAME.fullmatch(path.name) for path in source.glob("recordings/*.wav")):
        return "fsdd"
    if any(ARABIC_NAME.fullmatch(path.name) for path in source.glob("dataset/*/*.wav")):
        return "arabic_commands"
    return None
