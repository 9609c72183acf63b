"""Common Voice as it is published: `train.tsv`, `dev.tsv`, `test.tsv`, and the clips in `clips/`.

One of its tables can be read alone. `validated.tsv` holds the clips of the three splits again, with
their speakers, and is read where there are none of these.
"""

from functools import partial
from pathlib import Path, PurePath

from turnout.config.preparation import PrepareConfig
from turnout.corpora.entry import Entry, EntryStream, utterance_id
from turnout.corpora.manifest import Fields, each
from turnout.corpora.readers.rows import columns_of, has_tabs, table_rows
from turnout.corpora.readers.table import listed
from turnout.corpora.spelling import beside

COLUMNS = {"client_id", "path", "sentence"}
"""What every release has; with `locale`, the language, in all but the oldest."""
SPLITS = ("train", "dev", "test")
WHOLE = "validated"


def is_common_voice(source: Path) -> bool:
    """Whether it is one of the tables, or a folder of them with clips."""
    if source.is_dir():
        tables = (source / f"{name}.tsv" for name in (*SPLITS, WHOLE))
        return (source / "clips").is_dir() and any(map(is_common_voice, tables))
    if not source.is_file() or not has_tabs(source):
        return False
    return COLUMNS.issubset(columns_of(source))


def read_common_voice(source: Path, config: PrepareConfig) -> EntryStream:
    """Entries of one table, or of a folder's three splits."""
    if source.is_file():
        yield from _entries(source, None, config)
        return
    there = [name for name in SPLITS if (source / f"{name}.tsv").is_file()]
    chosen = {f"{name}.tsv": name for name in there} or {f"{WHOLE}.tsv": None}
    others = sorted(path.name for path in source.glob("*.tsv") if path.name not in chosen)
    if others:
        yield f"not read: {listed(others)}; name one of them to prepare it alone"
    for name, split in chosen.items():
        yield from _entries(source / name, split, config)


def _entries(table: Path, split: str | None, config: PrepareConfig) -> EntryStream:
    return each(table_rows(table), partial(_entry, table=table, split=split, config=config))


def _entry(fields: Fields, table: Path, split: str | None, config: PrepareConfig) -> Entry:
    name = fields.needed("path")
    if not PurePath(name).suffix:
        name += ".mp3"  # the first releases left it out
    clip = beside(table.parent / "clips", name)
    return Entry(
        id=utterance_id(name),
        audio=clip if clip.is_file() else beside(table.parent, name),
        place=fields.place,
        text=fields.text("sentence"),
        language=fields.language("locale", default=config.language),
        speaker=fields.word("client_id"),
        split=split,
        audio_field="path",
        language_field="locale",
    )
