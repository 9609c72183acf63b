"""Tables with faults in them: a bad line loses none but itself, and is named."""

import codecs
import gzip
from pathlib import Path

import pytest

from tests.unit.corpora.recordings import cuts_of, noise
from turnout.cli import main
from turnout.config.preparation import PrepareConfig
from turnout.corpora.manifest import Fields
from turnout.corpora.prepare import prepare
from turnout.corpora.readers.rows import MOST_LINES, table_rows
from turnout.errors import ManifestError, UsageError

SHARED = Path(__file__).parents[4] / "shared" / "faults"


def rows(path: Path, text: str | bytes, name: str = "t.csv") -> list[tuple[int | None, object]]:
    """Of each row below the header its line, and its cells or what is wrong with it."""
    file = path / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return [
        (row.place.line, list(row.values.values())) if isinstance(row, Fields)
        else (row.line, row.reason)
        for row in table_rows(file)
    ]  # fmt: skip


def texts(cuts: Path) -> list[str | None]:
    return [cut.supervisions[0].text for cut in cuts_of(cuts)]


def test_in_tsv_a_quote_mark_is_a_letter(tmp_path: Path) -> None:
    table = 'path\ttext\na\t"six one\nb\teight"\nc\t"no", she said\nd\tthe 5" one\n'
    assert rows(tmp_path, table, "t.tsv") == [
        (2, ["a", '"six one']), (3, ["b", 'eight"']), (4, ["c", '"no", she said']),
        (5, ["d", 'the 5" one']),
    ]  # fmt: skip


def test_texts_that_another_program_quoted_in_tsv_are_counted(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    table = tmp_path / "t.tsv"
    table.write_text('path\ttext\toffset\na.wav\t"a ""word"""\t0\na.wav\t"a" word\t1\n')
    summary = prepare(table, tmp_path / "out", PrepareConfig(language="en"))
    assert texts(tmp_path / "out/cuts.jsonl.gz") == ['"a ""word"""', '"a" word']
    assert [note.partition(":")[0] for note in summary.notes] == [
        "1 texts begin and end with a quote mark, which is theirs"
    ]


@pytest.mark.parametrize("last", ["", "c.wav,six\n"])
def test_a_quote_mark_that_is_never_closed_loses_its_line_alone(tmp_path: Path, last: str) -> None:
    found = rows(tmp_path, f'path,text\na.wav,"six one\nb.wav,eight\n{last}')
    assert [line for line, _ in found] == [2, 3, 4][: len(found)]
    assert str(found[0][1]).startswith("is not CSV (a quote mark opens a cell that is never closed")
    assert found[1] == (3, ["b.wav", "eight"])


def test_a_quote_mark_closed_by_another_rows_loses_its_line_alone(tmp_path: Path) -> None:
    found = rows(tmp_path, 'path,text\na.wav,"yes, one\nb.wav,two, three\nc.wav,"no"\nd.wav,six\n')
    assert [line for line, _ in found] == [2, 3, 4, 5]
    assert [isinstance(cells, list) for _, cells in found] == [False, False, True, True]


@pytest.mark.parametrize(
    "table",
    [
        'path,text\na.wav,"six one\nb.wav,eight"\nc.wav,six\n',
        'text,path\n"six one,a.wav\neight",b.wav\nsix,c.wav\n',
        'path,text\na.wav,"yes, one\nb.wav,eight"\nc.wav,six\n',
    ],
)
def test_a_cell_that_swallows_a_row_is_noticed_though_it_is_closed(
    tmp_path: Path, table: str
) -> None:
    found = rows(tmp_path, table)
    assert [line for line, _ in found] == [2, 3, 4]
    assert "a quote mark that is closed in line 3, and line 3 is a row" in str(found[0][1])
    assert isinstance(found[1][1], list)


@pytest.mark.parametrize(
    "table",
    [
        'path,text\na.wav,"Dear Sir,\nthank you, and so on"\nc.wav,six\n',
        'text,path\n"Good morning\nJohn",a.wav\nsix,c.wav\n',
        'path,text,language\na.wav,"one\n\n, two\nthree",en\nc.wav,six,en\n',
        'path,text\na.wav,"a ""word"",\nof it"\nc.wav,six\n',
    ],
)
def test_texts_of_several_lines_are_texts(tmp_path: Path, table: str) -> None:
    found = rows(tmp_path, table)
    assert [isinstance(cells, list) for _, cells in found] == [True, True]


def test_a_cell_of_very_many_lines_was_not_closed(tmp_path: Path) -> None:
    lines = "\n".join(f"b{n}.wav,yes" for n in range(3 * MOST_LINES))
    found = rows(tmp_path, f'path,text\na.wav,"x\n{lines}\nz.wav,"y"\n')
    assert len(found) == 3 * MOST_LINES + 2
    assert [line for line, cells in found if not isinstance(cells, list)] == [2]


BAD = {
    b"b.wav": "has 1 cell and the header 2: an empty cell is to be",
    b"b.wav,x,y": "has 3 cells and the header 2",
    b"b.wav,caf\xe9": "is not UTF-8 (byte 10 of the line)",
    b"b.wav,a\0b": "holds NUL, which is no letter",
}
BAD_IN_CSV = {
    b'b.wav,"Hello" she said': "is not CSV (',' expected after '\"', in line 3)",
    b"b.wav," + b"x" * 200_000: "has a cell of more than 131,072 letters",
}


@pytest.mark.parametrize(
    ("ending", "bad", "reason"),
    [
        *(("tsv", bad.replace(b",", b"\t"), reason) for bad, reason in BAD.items()),
        *(("csv", bad, reason) for bad, reason in {**BAD, **BAD_IN_CSV}.items()),
    ],
    ids=lambda value: str(value)[:30],
)
def test_after_a_bad_line_every_later_row_is_read(
    tmp_path: Path, ending: str, bad: bytes, reason: str
) -> None:
    comma = b"\t" if ending == "tsv" else b","
    good = comma.join((b"c.wav", b"no\n"))
    table = comma.join((b"path", b"text\n")) + good + bad + b"\n" + good * 50
    found = rows(tmp_path, table, f"t.{ending}")
    assert len(found) == 52
    assert [line for line, cells in found if not isinstance(cells, list)] == [3]
    assert reason in str(found[1][1])


def test_a_table_without_a_header_that_can_be_read_has_no_rows(tmp_path: Path) -> None:
    found = rows(tmp_path, b"path,t\xe9xt\na.wav,yes\nb.wav,no\n")
    assert found == [(1, "is not UTF-8 (byte 7 of the line)")]


@pytest.mark.parametrize(
    "written",
    [
        "path;text\r\na.wav;yes, no\r\n".encode("utf-8-sig"),
        b'"text, spoken";"path"\n"yes, no";a.wav\n',
        b'path,text\ra.wav,"yes, no"\r',
        codecs.BOM_UTF16_LE + 'path,text\r\na.wav,"yes, no"\r\n'.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + 'path,text\na.wav,"yes, no"\n'.encode("utf-16-be"),
        b'\xef\xbb\xbfpath,text\n\xef\xbb\xbfa.wav,"yes, no"\n',
    ],
    ids=["semicolons", "semicolons and a comma", "CR", "UTF-16-LE", "UTF-16-BE", "two marks"],
)
def test_tables_as_other_programs_write_them(tmp_path: Path, written: bytes) -> None:
    ((line, cells),) = rows(tmp_path, written)
    assert (line, sorted(cells)) == (2, ["a.wav", "yes, no"])  # type: ignore[call-overload]


def test_utf16_without_its_mark_is_one_line(tmp_path: Path) -> None:
    ((line, reason),) = rows(tmp_path, "path,text\na.wav,yes\n".encode("utf-16-le"))
    assert line == 1
    assert "UTF-16 with a byte order mark" in str(reason)


def test_a_damaged_line_of_utf16_loses_itself_alone(tmp_path: Path) -> None:
    half = codecs.BOM_UTF16_LE + "path,text\na,X\nb,no\n".encode("utf-16-le")
    found = rows(tmp_path, half.replace(b"X\0", b"\x00\xdc"))
    assert found == [(2, "is not UTF-16"), (3, ["b", "no"])]


def test_what_is_not_read_is_listed_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise(tmp_path / "a.wav")
    table = tmp_path / "t.csv"
    table.write_text('path,text\na.wav,yes\nb.wav\na.wav,"x" y\na.wav,yes\n')
    words = ["prepare", str(table), "-o", str(tmp_path / "out"), "--language", "en"]
    assert main(words) == 1
    assert f"{table}:3: has 1 cell and" in capsys.readouterr().err
    assert main([*words, "--skip-bad"]) == 1
    said = capsys.readouterr()
    assert [line.partition("t.csv:")[2][:2] for line in said.err.splitlines()[-3:-1]] == [
        "3:",
        "4:",
    ]
    assert said.err.endswith("turnout: left out in all: 2\n")


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/faults is not there")
def test_the_tables_of_public_bug_reports(tmp_path: Path) -> None:
    config = PrepareConfig(language="en", skip_bad=True)
    prepare(SHARED / "tables/swallow.tsv", tmp_path / "one", config)
    assert texts(tmp_path / "one/cuts.jsonl.gz") == ['"six one', 'eight"', "six"]
    summary = prepare(SHARED / "tables/rest-lost.csv", tmp_path / "two", config)
    assert texts(tmp_path / "two/cuts.jsonl.gz") == ["zero", *(f"text {n}" for n in range(50))]
    assert [text.partition("rest-lost.csv:")[2][:2] for text in summary.skipped] == ["3:"]


NEWEST = (
    "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage\tgender\t"
    "accents\tvariant\tlocale\tsegment\n"
)
OLDEST = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\n"


def common_voice(folder: Path, *names: str) -> Path:
    """A release with a clip for each table: `<table>.mp3`, which is a WAV within."""
    for number, name in enumerate(names):
        noise(folder / "clips" / f"{name}.wav").rename(folder / "clips" / f"{name}.mp3")
        row = f'c{number}\t{name}.mp3\ts1\t"Yes, {name}\t\t2\t0\t\t\t\t\tsv-SE\t\n'
        (folder / f"{name}.tsv").write_text(NEWEST + row)
    return folder


def test_common_voice_is_read_as_it_comes(tmp_path: Path) -> None:
    source = common_voice(tmp_path / "sv-SE", "train", "dev", "test", "validated", "other")
    summary = prepare(source, tmp_path / "out")
    assert list(summary.splits) == ["train", "dev", "test"]
    assert summary.notes == (
        "not read: other.tsv, validated.tsv; name one of them to prepare it alone",
    )
    (cut,) = cuts_of(tmp_path / "out/dev.jsonl.gz")
    (said,) = cut.supervisions
    assert (said.text, said.speaker, said.language) == ('"Yes, dev', "c1", "sv-SE")
    assert cut.id == "dev"


def test_a_folder_of_languages_names_them(tmp_path: Path) -> None:
    for language in ("sv-SE", "en"):
        common_voice(tmp_path / language, "train")
    with pytest.raises(UsageError, match="known, though these folders in it are: en, sv-SE: accep"):
        prepare(tmp_path, tmp_path / "out")


def test_one_table_of_common_voice_is_a_corpus_too(tmp_path: Path) -> None:
    source = common_voice(tmp_path, "validated") / "validated.tsv"
    prepare(source, tmp_path / "out")
    assert texts(tmp_path / "out/cuts.jsonl.gz") == ['"Yes, validated']


def test_common_voice_is_known_by_its_header_whatever_its_rows_hold(tmp_path: Path) -> None:
    source = common_voice(tmp_path, "train")
    rows = (tmp_path / "train.tsv").read_text().splitlines(keepends=True)
    (tmp_path / "train.tsv").write_text(rows[0] + "c0\ttoo few\n" + rows[1])
    skipping = PrepareConfig(skip_bad=True)
    for there in (source, source / "train.tsv"):
        summary = prepare(there, tmp_path / "out", skipping)
        assert [text.partition("train.tsv:")[2][:9] for text in summary.skipped] == ["2: has 2 "]
        (cuts,) = (split.path for split in summary.splits.values())
        assert texts(cuts) == ['"Yes, train']


@pytest.mark.parametrize("name", ["T.TSV", "t.Tsv", "T.TSV.GZ"])
def test_endings_are_known_in_any_letters(tmp_path: Path, name: str) -> None:
    noise(tmp_path / "a.wav")
    table = b'path\ttext\na.wav\t"yes, no\n'
    (tmp_path / name).write_bytes(gzip.compress(table) if name.endswith("GZ") else table)
    prepare(tmp_path / name, tmp_path / "out", PrepareConfig(language="en"))
    assert texts(tmp_path / "out/cuts.jsonl.gz") == ['"yes, no']


def test_the_first_releases_of_common_voice_left_endings_and_languages_out(tmp_path: Path) -> None:
    common_voice(tmp_path, "train")
    (tmp_path / "train.tsv").write_text(OLDEST + "c\ttrain\tYes.\t2\t0\t\t\t\n")
    with pytest.raises(ManifestError, match=r"train.tsv:2: field 'locale': is missing: .* en \("):
        prepare(tmp_path, tmp_path / "out")
    prepare(tmp_path, tmp_path / "out", PrepareConfig(language="en"))
    assert texts(tmp_path / "out/train.jsonl.gz") == ["Yes."]
