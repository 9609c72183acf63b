"""Columns of Parquet and Arrow files in the types that others write."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.unit.corpora.recordings import cuts_of, noise, write_lines
from turnout.config.preparation import PrepareConfig
from turnout.corpora.prepare import prepare
from turnout.corpora.readers.columnar import class_names
from turnout.errors import ManifestError

ENGLISH = PrepareConfig(language="en")
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CLASSES = {"info": {"features": {"language": {"names": ["de", "en"], "_type": "ClassLabel"}}}}


def table(folder: Path, *names: str, **others: Any) -> pa.Table:
    """A row of audio and text for each name."""
    clips = [noise(folder / "x.flac", 0.3 + 0.1 * n).read_bytes() for n in range(len(names))]
    rows = [{"bytes": data, "path": name} for data, name in zip(clips, names, strict=True)]
    columns = {"audio": pa.array(rows, AUDIO), "text": list(names), **others}
    return pa.table(columns)


def written(file: Path, found: pa.Table) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        parquet.write_table(found, file)
        return file
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, found.schema) as writer:
        writer.write_table(found)
    return file


def said(cuts: Path) -> list[tuple[str | None, str | None, str | None]]:
    return [(s.text, s.language, s.speaker) for cut in cuts_of(cuts) for s in cut.supervisions]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_the_number_of_a_class_stands_for_its_name(tmp_path: Path, name: str) -> None:
    found = table(tmp_path, "a", "b", language=pa.array([1, 0]), speaker_id=pa.array([1, 0]))
    found = found.replace_schema_metadata({"huggingface": json.dumps(CLASSES)})
    prepare(written(tmp_path / name, found), tmp_path / "out")
    assert said(tmp_path / "out/cuts.jsonl.gz") == [("a", "en", "1"), ("b", "de", "0")]


def test_a_number_beyond_the_classes_is_cited(tmp_path: Path) -> None:
    found = table(tmp_path, "a", language=pa.array([2]))
    found = found.replace_schema_metadata({"huggingface": json.dumps(CLASSES)})
    with pytest.raises(ManifestError, match=r"a.parquet:1: field 'language': is '2': a language"):
        prepare(written(tmp_path / "a.parquet", found), tmp_path / "out")


@pytest.mark.parametrize(
    "metadata",
    [
        b"", b"{", b"[]", b'{"info": []}', b'{"info": {"features": 7}}',
        b'{"info": {"features": {"language": {"names": "de"}, "text": null}}}', b"\xff",
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_classes_that_cannot_be_understood_are_none(metadata: bytes) -> None:
    assert class_names({b"huggingface": metadata}) == {}
    assert class_names(None) == {}


def test_strings_of_a_dictionary_are_strings(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    columns = {name: pa.array([name]).dictionary_encode() for name in ("text", "speaker")}
    columns["audio"] = pa.array(["a.wav"]).dictionary_encode()
    prepare(written(tmp_path / "a.parquet", pa.table(columns)), tmp_path / "out", ENGLISH)
    assert said(tmp_path / "out/cuts.jsonl.gz") == [("text", "en", "speaker")]


def test_a_whole_number_among_gaps_is_one(tmp_path: Path) -> None:
    found = table(tmp_path, "a", "b", speaker_id=pa.array([12.0, None]))
    prepare(written(tmp_path / "a.parquet", found), tmp_path / "out", ENGLISH)
    assert said(tmp_path / "out/cuts.jsonl.gz") == [("a", "en", "12"), ("b", "en", None)]


def test_columns_that_cannot_be_told_apart_are_named(tmp_path: Path) -> None:
    found = table(tmp_path, "a").append_column("text", pa.array(["b"]))
    with pytest.raises(ManifestError, match=r"names a column twice: .* are audio, text, text \("):
        prepare(written(tmp_path / "a.parquet", found), tmp_path / "out", ENGLISH)


def test_what_python_cannot_hold_loses_its_rows_alone(tmp_path: Path) -> None:
    moments = pa.array([1, *[1000] * 16], pa.timestamp("ns"))
    names = [f"{number}" for number in range(17)]
    found = table(tmp_path, *names, id=moments)
    options = PrepareConfig(language="en", skip_bad=True)
    with pytest.raises(ManifestError, match=r"rows 1 to 16 cannot be read .*Nanosecond"):
        prepare(written(tmp_path / "a.parquet", found), tmp_path / "out", options)


def test_parquet_without_texts_says_once_what_it_has(tmp_path: Path) -> None:
    found = table(tmp_path, "a", "b").rename_columns(["audio", "label"])
    message = r"has no column of texts: one of text, .* its columns are audio, label \(1 line"
    with pytest.raises(ManifestError, match=message):
        prepare(written(tmp_path / "a.parquet", found), tmp_path / "out", ENGLISH)


def test_the_same_audio_under_two_names_is_one_recording(tmp_path: Path) -> None:
    for split in ("train", "test"):
        written(tmp_path / f"source/{split}.parquet", table(tmp_path, f"{split}.wav"))
    message = r"train.parquet:1: field 'text': is 'train.wav', and 'test.wav' in line 1 of .*test"
    with pytest.raises(ManifestError, match=message):
        prepare(tmp_path / "source", tmp_path / "out", ENGLISH)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "metadata.jsonl"])
def test_columns_that_are_not_read_are_named_once(tmp_path: Path, name: str) -> None:
    if name == "metadata.jsonl":
        for split in ("train", "test"):
            noise(tmp_path / split / "a.wav")
            row = {"file_name": "a.wav", "text": "a", "Speaker": "s", "age": 7}
            write_lines(tmp_path / split / name, row)
    else:
        for number, split in enumerate(("train", "test")):
            found = table(tmp_path, *"ab"[: number + 1]).slice(number)
            columns = {"Speaker": pa.array(["s"]), "age": pa.array([7])}
            for column, values in columns.items():
                found = found.append_column(column, values)
            written(tmp_path / split / name, found)
    summary = prepare(tmp_path, tmp_path / "out", ENGLISH)
    assert summary.notes == ("columns left out: Speaker, age",)
