"""Parquet and Arrow files of a Hugging Face dataset -> entries, a few rows in memory at a time.

The audio is a column of structs of `bytes` and `path`, as the library `datasets` writes it, of
bytes, or of paths. Rows are counted from 1, as lines are.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from turnout.config.preparation import PrepareConfig
from turnout.corpora.entry import Entry, EntryStream, utterance_id
from turnout.corpora.manifest import Fields, Place, each
from turnout.corpora.readers.table import TARGETS, listed, translation
from turnout.corpora.spelling import beside
from turnout.corpora.unpacking import Unpack
from turnout.errors import ManifestError

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".parquet", ".arrow")
TEXTS = (
    "text", "transcription", "transcript", "sentence", "normalized_text", "raw_text",
    "raw_transcription",
)  # fmt: skip
SPEAKERS = ("speaker", "speaker_id", "client_id")
LANGUAGES = ("language", "lang", "locale")
AUDIO = ("audio", "speech", "file_name", "file", "path", "audio_filepath")
"""Columns that may hold it, the likeliest first."""
OTHERS = ("id", "split", "bandwidth", "domain", "translation", *TARGETS)
KNOWN = {*TEXTS, *SPEAKERS, *LANGUAGES, *OTHERS}
AT_ONCE = 16
"""Rows of audio in memory."""

Row = dict[str, Any]
Batch = tuple[int, "pa.RecordBatch | ManifestError | str"]
"""Some rows, or a word on them, and how many there were before them."""


def columnar_entries(file: Path, config: PrepareConfig, unpack: Unpack) -> EntryStream:
    """Entries of the rows of one file."""
    batches = _parquet(file) if file.suffix.lower() == ".parquet" else _arrow(file)
    for before, batch in batches:
        if isinstance(batch, ManifestError | str):
            yield batch
            continue
        name = _audio_column(batch.schema, file)
        try:
            rows = _named(batch.to_pylist(), class_names(batch.schema.metadata))
        except (ValueError, OverflowError) as error:  # such as nanoseconds, which Python has not
            found = f"rows {before + 1} to {before + batch.num_rows}"
            yield Place(str(file)).error(None, f"{found} cannot be read ({_first_line(error)})")
            continue
        lines = (
            (row.pop(name), Fields(row, Place(str(file), before + number)))
            for number, row in enumerate(rows, start=1)
        )
        yield from each(lines, lambda line: _entry(*line, name, config, unpack))  # noqa: B023


def _entry(audio: Any, fields: Fields, column: str, config: PrepareConfig, unpack: Unpack) -> Entry:
    file = Path(fields.place.file)
    path, data = audio, None
    if isinstance(audio, dict):
        path, data = audio.get("path"), audio.get("bytes")
    elif isinstance(audio, bytes):
        path, data = None, audio
    if not path and not data:
        raise fields.place.error(column, "holds no audio: bytes or a path were expected")
    path = str(path or "")
    # Beside bytes, the name alone: the folders are of whoever made the file.
    name = PureWindowsPath(path).name
    name = name or f"{file.stem}-{fields.place.line:06d}"
    return Entry(
        id=fields.word("id") or utterance_id(name),
        audio=unpack(name, data) if data else beside(file.parent, path),
        place=fields.place,
        text=fields.text(*TEXTS),
        language=fields.language(*LANGUAGES, default=config.language),
        speaker=fields.word(*SPEAKERS),
        translations=translation(fields, config),
        split=fields.split(),
        bandwidth=fields.bandwidth(),
        domain=fields.domain(),
        audio_field=column,
        language_field=fields.given(*LANGUAGES),
        target_field=fields.given(*TARGETS),
    )


def class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """By column, the names of its classes, whose numbers alone are in the rows: so the library
    `datasets` writes languages, for one."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return {}  # it says nothing of classes that could be understood


def _named(rows: list[Row], names: Mapping[str, list[str]]) -> list[Row]:
    """The rows with the names of classes in place of their numbers."""
    for row in rows:
        for column in names.keys() & row.keys():
            if isinstance(row[column], int) and 0 <= row[column] < len(names[column]):
                row[column] = names[column][row[column]]
    return rows


def _audio_column(schema: "pa.Schema", file: Path) -> str:
    """The column that holds the audio; raises ManifestError."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import

    def holds(name: str) -> bool:
        kind = schema.field(name).type
        if pa.types.is_struct(kind):
            return not {"bytes", "path"}.isdisjoint(field.name for field in kind)
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        return name in AUDIO and any(is_kind(kind) for is_kind in path_or_bytes)

    path_or_bytes = (
        pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view,
        pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view,
    )  # fmt: skip
    names = [name for name in (*AUDIO, *schema.names) if name in schema.names and holds(name)]
    if names:
        return names[0]
    raise Place(str(file)).error(
        None,
        "has no column of audio: structs of 'bytes' and 'path' were expected, or a column "
        f"'audio' of one of them; its columns are {listed(schema.names)}",
    )


def _wanted(schema: "pa.Schema", file: Path) -> list[str]:
    """The columns that are read: others, such as arrays, may be large. Raises ManifestError."""
    place = Place(str(file))
    if len(set(schema.names)) < len(schema.names):
        raise place.error(None, f"names a column twice: its columns are {listed(schema.names)}")
    if not set(TEXTS).intersection(schema.names):
        wanted = f"one of {', '.join(TEXTS)} was expected"
        found = f"its columns are {listed(schema.names)}"
        raise place.error(None, f"has no column of texts: {wanted}; {found}")
    audio = _audio_column(schema, file)
    return [name for name in schema.names if name in KNOWN or name == audio]


def left_out(names: Iterable[str]) -> str:
    """A remark on the columns of these names."""
    return f"columns left out: {listed(list(names))}"


def _parquet(file: Path) -> Iterator[Batch]:
    """The rows of each row group; one that is damaged loses its own rows alone."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415

    place, before = Place(str(file)), 0
    try:
        opened = ParquetFile(file, memory_map=True, pre_buffer=False)
        columns = _wanted(opened.schema_arrow, file)
    except (pa.ArrowException, OSError, ValueError) as error:
        yield 0, place.error(None, f"cannot be read ({_first_line(error)})")
        return
    except ManifestError as error:
        yield 0, error
        return
    with opened:
        if rest := [name for name in opened.schema_arrow.names if name not in columns]:
            yield 0, left_out(rest)
        for group in range(opened.num_row_groups):
            ends = before + opened.metadata.row_group(group).num_rows
            try:
                batches = opened.iter_batches(AT_ONCE, row_groups=[group], columns=columns)
                for batch in batches:
                    batch.validate(full=True)
                    yield before, batch
                    before += batch.num_rows
            except (pa.ArrowException, OSError, ValueError) as error:
                reason = f"rows {before + 1} to {ends} cannot be read ({_first_line(error)})"
                yield before, place.error(None, reason)
            before = ends


def _arrow(file: Path) -> Iterator[Batch]:
    """The rows of a file as `save_to_disk` writes it; nothing behind a damaged batch."""
    import pyarrow as pa  # noqa: PLC0415

    place, before = Place(str(file)), 0
    try:
        with pa.memory_map(str(file)) as mapped, pa.ipc.open_stream(mapped) as reader:
            columns = _wanted(reader.schema, file)
            if rest := [name for name in reader.schema.names if name not in columns]:
                yield 0, left_out(rest)
            for batch in reader:
                # It lies in memory as it lies in the file, whose offsets may lead anywhere.
                batch.validate(full=True)
                for start in range(0, batch.num_rows, AT_ONCE):
                    yield before + start, batch.select(columns).slice(start, AT_ONCE)
                before += batch.num_rows
    except ManifestError as error:
        yield before, error
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = f"cannot be read from row {before + 1} on ({_first_line(error)})"
        yield before, place.error(None, reason)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
