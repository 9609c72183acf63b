"""Dataset folders of Hugging Face: splits by their usual words, and audio inside of Parquet."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.unit.corpora.recordings import cuts_of, noise, write_lines
from turnout.audio.waveform import read_audio
from turnout.cli import main
from turnout.config.preparation import PrepareConfig
from turnout.corpora.prepare import prepare
from turnout.corpora.readers.columnar import columnar_entries
from turnout.errors import ManifestError, UsageError
from turnout.evaluation.references import read_data

ENGLISH = PrepareConfig(language="en")
SHARED = Path(__file__).parents[4] / "shared" / "faults"


def folder(place: Path, text: str = "yes", name: str = "a.wav") -> Path:
    """Audio and its metadata."""
    noise(place / name)
    write_lines(place / "metadata.jsonl", {"file_name": name, "text": text})
    return place


def texts(output: Path) -> dict[str, list[str | None]]:
    """Of each split."""
    return {
        path.name.removesuffix(".jsonl.gz"): [cut.supervisions[0].text for cut in cuts_of(path)]
        for path in sorted(output.glob("*.jsonl.gz"))
    }


@pytest.mark.parametrize(
    ("train", "dev", "test"),
    [
        ("training", "valid", "testing"),
        ("Train", "VALIDATION", "Test"),
        ("train-clean", "dev_1", "eval.v2"),
        ("data/train", "data/val", "data/evaluation"),
        ("en/train/x", "en/devel/x", "en/my-test/x"),
        ("speech test/train", "speech test/dev", "speech test/test"),
        ("Train/my-test-words", "dev/train-station", "test/train_of_words"),
    ],
)
def test_splits_are_known_by_their_words(tmp_path: Path, train: str, dev: str, test: str) -> None:
    for place in (train, dev, test):
        folder(tmp_path / "source" / place, place)
    summary = prepare(tmp_path / "source", tmp_path / "out", ENGLISH)
    assert texts(tmp_path / "out") == {"train": [train], "dev": [dev], "test": [test]}
    assert summary.notes == ()


def test_folders_in_one_metadata_file_tell_splits_too(tmp_path: Path) -> None:
    rows = [{"file_name": f"{split}/a.wav", "text": split} for split in ("Training", "Testing")]
    for row in rows:
        noise(tmp_path / "source" / row["file_name"])
    write_lines(tmp_path / "source/metadata.jsonl", *rows)
    prepare(tmp_path / "source", tmp_path / "out", ENGLISH)
    assert texts(tmp_path / "out") == {"train": ["Training"], "test": ["Testing"]}


def test_names_of_recordings_tell_splits_where_all_do(tmp_path: Path) -> None:
    rows = [{"file_name": name, "text": name} for name in ("train_1.wav", "x-test.wav")]
    for row in rows:
        noise(tmp_path / "source" / row["file_name"])
    write_lines(tmp_path / "source/metadata.jsonl", *rows)
    summary = prepare(tmp_path / "source", tmp_path / "out", ENGLISH)
    assert texts(tmp_path / "out") == {"train": ["train_1.wav"], "test": ["x-test.wav"]}
    assert summary.notes == ("the names of the recordings tell the splits",)


def test_unknown_folders_beside_known_ones_are_kept_apart_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("train", "held back", "fold2"):
        folder(tmp_path / "source" / place, place)
    source, out = str(tmp_path / "source"), str(tmp_path / "out")
    assert main(["prepare", source, "-o", out, "--language", "en"]) == 0
    assert "is named by fold2, held back: each is kept as a split of its own" in (
        capsys.readouterr().err
    )
    assert texts(tmp_path / "out") == {
        "train": ["train"], "held-back": ["held back"], "fold2": ["fold2"],
    }  # fmt: skip


@pytest.mark.parametrize("above", ["", "data", "data/en"])
def test_unknown_folders_alone_are_written_as_one_and_named(tmp_path: Path, above: str) -> None:
    for place in ("anna", "ben"):
        folder(tmp_path / "source" / above / place, place)
    summary = prepare(tmp_path / "source", tmp_path / "out", ENGLISH)
    assert texts(tmp_path / "out") == {"cuts": ["anna", "ben"]}
    assert [note.partition(" is named by ")[2] for note in summary.notes] == [
        "anna, ben: all are written as one"
    ]


def test_a_file_outside_of_the_dataset_is_refused_in_one_line(tmp_path: Path) -> None:
    source = folder(tmp_path / "source")
    outside = noise(tmp_path / "b.wav")
    for name in (str(outside), "../b.wav", "x/../../b.wav", "/etc/passwd"):
        write_lines(source / "metadata.jsonl", {"file_name": name, "text": "yes"})
        # A long path is cut in the middle of the quotes.
        said = r"metadata.jsonl:1: field 'file_name': is '.+: the path of a file in .*source was"
        with pytest.raises(ManifestError, match=said):
            prepare(source, tmp_path / "out", ENGLISH)
    write_lines(source / "metadata.jsonl", {"file_name": str(source / "a.wav"), "text": "yes"})
    assert prepare(source, tmp_path / "out", ENGLISH).splits["cuts"].utterances == 1


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/faults is not there")
def test_the_folder_of_a_public_bug_report(tmp_path: Path) -> None:
    prepare(SHARED / "huggingface", tmp_path, ENGLISH)
    assert texts(tmp_path) == {"train": ["six one eight"], "test": ["six one eight"]}


def audio(place: Path, seconds: float = 0.3) -> bytes:
    return noise(place / f"{seconds}.flac", seconds).read_bytes()


def columns(file: Path, rows: Sequence[dict[str, Any]], **options: Any) -> Path:
    """A Parquet file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(list(rows)), file, **options)
    return file


def row(data: bytes | None, path: str | None = "a.flac", **fields: Any) -> dict[str, Any]:
    return {"audio": {"bytes": data, "path": path}, "sentence": "yes", **fields}


def test_parquet_is_read_and_its_audio_is_put_into_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = (audio(tmp_path, seconds) for seconds in (0.3, 0.4, 0.5))
    shard = tmp_path / "source/data/{}.parquet"
    columns(
        Path(str(shard).format("train-00000-of-00002")),
        [row(first, "/home/x/../a.flac", client_id="s1", locale="en", up_votes=2)],
    )
    columns(Path(str(shard).format("train-00001-of-00002")), [row(second, None, client_id="s2")])
    columns(Path(str(shard).format("validation-00000-of-00001")), [row(third, "../../c.flac")])
    source, out = str(tmp_path / "source"), tmp_path / "out"
    assert main(["prepare", source, "-o", str(out), "--language", "en"]) == 0
    assert capsys.readouterr().err == "turnout: columns left out: up_votes\n"
    one, two = cuts_of(out / "train.jsonl.gz")
    (dev,) = cuts_of(out / "dev.jsonl.gz")
    assert [cut.id for cut in (one, two, dev)] == ["a", "train-00001-of-00002-000001", "c"]
    assert [cut.supervisions[0].speaker for cut in (one, two, dev)] == ["s1", "s2", None]
    for cut, data in ((one, first), (two, second), (dev, third)):
        file = Path(cut.recording.sources[0].source)
        assert file.parent == out / "audio"
        assert file.read_bytes() == data
    assert cut.load_audio().shape == (1, 8000)


@pytest.mark.parametrize(
    ("files", "split"),
    [
        (["Test/0000.parquet"], "test"),
        (["default/partial-train/0000.parquet"], "train"),
        (["my_eval.parquet"], "test"),
        (["data/train.clean.100-00000-of-00001.parquet"], "train.clean.100"),
        (["data-00000-of-00001.parquet"], "cuts"),
    ],
)
def test_splits_of_parquet_files(tmp_path: Path, files: Sequence[str], split: str) -> None:
    for file in files:
        columns(tmp_path / "source" / file, [row(audio(tmp_path))])
    assert list(prepare(tmp_path / "source", tmp_path / "out", ENGLISH).splits) == [split]


def test_configurations_are_not_mixed(tmp_path: Path) -> None:
    for name in ("de", "en"):
        columns(tmp_path / f"source/{name}/train-00000-of-00001.parquet", [row(audio(tmp_path))])
    with pytest.raises(ManifestError, match="holds 2 configurations, each a corpus .*: de, en: "):
        prepare(tmp_path / "source", tmp_path / "out", ENGLISH)
    assert list(prepare(tmp_path / "source/de", tmp_path / "out", ENGLISH).splits) == ["train"]


def test_one_parquet_file_and_audio_that_it_names(tmp_path: Path) -> None:
    noise(tmp_path / "wavs/b.wav")
    file = columns(tmp_path / "x.parquet", [{"audio": "wavs/b.wav", "text": "no"}])
    prepare(file, tmp_path / "out", ENGLISH)
    assert texts(tmp_path / "out") == {"cuts": ["no"]}
    assert not (tmp_path / "out/audio").exists()


def test_bad_rows_of_parquet_are_named_and_others_read(tmp_path: Path) -> None:
    good = audio(tmp_path)
    file = columns(
        tmp_path / "x.parquet",
        [row(good), row(None, None), row(b"no audio", "b"), row(good, sentence=None)],
    )
    summary = prepare(file, tmp_path / "out", PrepareConfig(language="en", skip_bad=True))
    assert texts(tmp_path / "out") == {"cuts": ["yes"]}
    assert [text.partition("x.parquet:")[2][:22] for text in summary.skipped] == [
        "2: field 'audio': hold", "3: field 'audio': '" + str(tmp_path)[:3],
    ]  # fmt: skip


def test_a_damaged_row_group_loses_its_own_rows_alone(tmp_path: Path) -> None:
    rows = [row(audio(tmp_path, 0.3 + number / 100), f"{number}.flac") for number in range(4)]
    file = columns(tmp_path / "x.parquet", rows, row_group_size=1, compression="none")
    data = bytearray(file.read_bytes())
    column = parquet.ParquetFile(file).metadata.row_group(1).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 40] = bytes(40)
    file.write_bytes(data)
    summary = prepare(file, tmp_path / "out", PrepareConfig(language="en", skip_bad=True))
    assert summary.splits["cuts"].utterances == 3
    (skipped,) = summary.skipped
    assert "x.parquet: rows 2 to 2 cannot be read (" in skipped


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"x.parquet: cannot be read \("),
        (b"PAR1 and nothing else PAR1", r"x.parquet: cannot be read \("),
    ],
)
def test_what_is_no_parquet_is_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x.parquet").write_bytes(data)
    with pytest.raises(ManifestError, match=message) as raised:
        prepare(tmp_path, tmp_path / "out", ENGLISH)
    assert "\n" not in str(raised.value)


def test_parquet_without_audio_says_what_it_has(tmp_path: Path) -> None:
    columns(tmp_path / "x.parquet", [{"text": "yes", "label": 1}])
    with pytest.raises(
        ManifestError, match="has no column of audio: .*its columns are text, label"
    ):
        prepare(tmp_path, tmp_path / "out", ENGLISH)


def test_the_same_audio_in_train_and_test_is_noticed(tmp_path: Path) -> None:
    for split in ("train", "test"):
        columns(tmp_path / f"source/{split}.parquet", [row(audio(tmp_path))])
    message = r"train.parquet:1: field 'split': is 'train', and 'test' in line 1 of .*test.parquet"
    with pytest.raises(ManifestError, match=message):
        prepare(tmp_path / "source", tmp_path / "out", ENGLISH)


def test_audio_that_was_put_into_files_is_gone_where_prepare_fails(tmp_path: Path) -> None:
    file = columns(tmp_path / "x.parquet", [row(audio(tmp_path)), row(b"no audio", "b")])
    with pytest.raises(ManifestError, match=r"x.parquet:2: field 'audio': .* cannot be taken"):
        prepare(file, tmp_path / "out", ENGLISH)
    assert not (tmp_path / "out").exists()


def test_a_second_time_the_same_audio_stays_as_it_is(tmp_path: Path) -> None:
    file = columns(tmp_path / "x.parquet", [row(audio(tmp_path))])
    found = []
    for _ in range(2):
        prepare(file, tmp_path / "out", ENGLISH)
        (path,) = (tmp_path / "out/audio").iterdir()
        found.append((path, path.stat().st_mtime_ns))
    assert found[0] == found[1]


def test_few_rows_of_parquet_are_in_memory_at_a_time(tmp_path: Path) -> None:
    """One row group of 32 MB."""
    rows = [row(number.to_bytes(1, "big") + bytes(2**18), str(number)) for number in range(128)]
    file = columns(tmp_path / "x.parquet", rows, compression="none", use_dictionary=False)
    del rows
    before = pa.total_allocated_bytes()
    most = 0

    def measured(name: str, data: bytes) -> Path:
        nonlocal most
        most = max(most, pa.total_allocated_bytes() - before)
        return tmp_path / name

    assert len(list(columnar_entries(file, ENGLISH, measured))) == 128
    assert 0 < most < 2**24


def test_arrow_as_save_to_disk_writes_it(tmp_path: Path) -> None:
    for seconds, split in ((0.3, "train"), (0.4, "test")):
        table = pa.Table.from_pylist([row(audio(tmp_path, seconds), text=split)])
        file = tmp_path / f"source/{split}/data-00000-of-00001.arrow"
        file.parent.mkdir(parents=True)
        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    prepare(tmp_path / "source", tmp_path / "out", ENGLISH)
    assert texts(tmp_path / "out") == {"train": ["train"], "test": ["test"]}


def nowhere(name: str, data: bytes) -> Path:
    return Path(name)


@pytest.mark.parametrize("ending", ["arrow", "parquet"])
def test_damage_to_columns_is_told_and_never_followed(tmp_path: Path, ending: str) -> None:
    """Offsets in these files may lead anywhere in memory, if they are believed."""
    table = pa.Table.from_pylist([row(b"sound" * 9, f"{n}.wav", speaker=f"s{n}") for n in range(5)])
    file = tmp_path / f"x.{ending}"
    if ending == "parquet":
        parquet.write_table(table, file, compression="none")
    else:
        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    whole, rng, told = file.read_bytes(), random.Random(0), 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(data))
            data[place : place + rng.choice((1, 4))] = rng.randbytes(rng.choice((0, 1, 4)))
        file.write_bytes(data)
        found = list(columnar_entries(file, ENGLISH, nowhere))
        told += any(isinstance(one, ManifestError) for one in found)
    assert told > 100


def test_what_is_no_arrow_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data-00000.arrow").touch()
    with pytest.raises(ManifestError, match=r"data-00000.arrow: cannot be read from row 1 on"):
        prepare(tmp_path, tmp_path / "out", ENGLISH)


def test_a_folder_that_says_it_is_one_and_is_not(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"holds no metadata.csv, metadata.jsonl or \*.parquet"):
        prepare(tmp_path, tmp_path / "out", PrepareConfig(kind="huggingface"))


def test_parquet_must_be_prepared_before_it_is_evaluated(tmp_path: Path) -> None:
    file = columns(tmp_path / "x.parquet", [row(audio(tmp_path), locale="en")])
    with pytest.raises(UsageError, match=r"x.parquet: holds its audio inside of itself: `turnout"):
        read_data([file])
    prepare(file, tmp_path / "out")
    (clip,) = read_data([tmp_path / "out/cuts.jsonl.gz"]).clips
    assert len(read_audio(clip.path).samples) == 4800
