"""A Hugging Face dataset folder: audio files with a `metadata.csv` or `metadata.jsonl`.

The metadata may lie at the top, or in one folder for each split. Arrow and Parquet files, as
`save_to_disk` and the hub write them, hold the audio inside; they are not read.
"""

from functools import partial
from pathlib import Path

from turnout.config.preparation import PrepareConfig
from turnout.corpora.entry import Entry, EntryStream, utterance_id
from turnout.corpora.manifest import SPLIT_ALIASES, Fields, Place, beside, each, json_lines
from turnout.corpora.readers.table import TARGETS, table_rows, translation

TEXTS = ("text", "transcription", "transcript", "sentence", "normalized_text")
SPEAKERS = ("speaker", "speaker_id", "client_id")
LANGUAGES = ("language", "lang", "locale")
SPLITS = {"train", "dev", "test", *SPLIT_ALIASES}


def metadata_files(source: Path) -> list[Path]:
    """The metadata files of a folder, its own or its splits'."""
    return sorted(
        path
        for pattern in ("metadata.csv", "metadata.jsonl", "*/metadata.csv", "*/metadata.jsonl")
        for path in source.glob(pattern)
    )


def read_huggingface(source: Path, config: PrepareConfig) -> EntryStream:
    """Entries of a dataset folder; `file_name` is relative to its metadata file."""
    files = metadata_files(source)
    if not files:
        yield Place(str(source)).error(
            None,
            "holds no metadata.csv or metadata.jsonl: these two are read; Arrow and Parquet are "
            "not, so write such a dataset as a folder of audio files with metadata.csv",
        )
    for file in files:
        lines = table_rows(file) if file.suffix == ".csv" else json_lines(file)
        yield from each(lines, partial(_entry, file=file, source=source, config=config))


def _entry(fields: Fields, file: Path, source: Path, config: PrepareConfig) -> Entry:
    name = fields.needed("file_name")
    audio = beside(file.parent, name)
    return Entry(
        id=fields.word("id") or utterance_id(str((file.parent / name).relative_to(source))),
        audio=audio,
        place=fields.place,
        text=fields.text(*TEXTS),
        language=fields.language(*LANGUAGES, default=config.language),
        speaker=fields.word(*SPEAKERS),
        translations=translation(fields, config),
        split=fields.split() or _split_of(file, name, source),
        bandwidth=fields.bandwidth(),
        audio_field="file_name",
        language_field=fields.given(*LANGUAGES),
        target_field=fields.given(*TARGETS),
    )


def _split_of(file: Path, name: str, source: Path) -> str | None:
    """The split that the folder's name tells, where it is one of the usual names."""
    first = file.parent.name if file.parent != source else Path(name).parts[0]
    return SPLIT_ALIASES.get(first, first) if first in SPLITS else None
