"""`turnout shard`: what it prints, and its exit status."""

import json
from pathlib import Path

import pytest

from tests.unit.shards.corpus import contents, corpus, cut, cuts_file, heard, recording, shards_of
from turnout.cli import main


def test_shards_are_made_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cuts = corpus(tmp_path)
    words = ["shard", str(cuts), "-o", str(tmp_path / "out"), "--shard-size", "0.06"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'out'}: 8 utterances, 0.00 h, 0.3 MB in 4 shards\n"
    assert said.err == ""
    assert len(heard(shards_of(tmp_path / "out"))) == 8
    before = contents(tmp_path / "out")
    assert main(words) == 0
    assert contents(tmp_path / "out") == before
    assert main([*words, "--seed", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds shards of other cuts" in line


def test_what_is_left_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = cut(recording(tmp_path / "a.wav"), "good")
    cuts = cuts_file(tmp_path / "c.jsonl", good, cut(tmp_path / "none.wav", "bad"))
    out = tmp_path / "out"
    assert main(["shard", str(cuts), "-o", str(out), "--audio", "opus", "--no-shuffle"]) == 1
    said = capsys.readouterr()
    assert "out: 1 utterance, 0.00 h, " in said.out and said.out.endswith(" MB in 1 shard\n")
    lines = said.err.splitlines()
    assert [line.split(":")[1] for line in lines] == [" left out", " left out in all"]
    assert "bad: " in lines[0]
    assert len(json.loads((out / "manifest.json").read_text())["left_out"]) == 1


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["none.jsonl", "-o", "out"], 2, "no such file"),
        (["none.jsonl", "-o", "http://127.0.0.1:9/x"], 2, "no such file"),
        (["none.jsonl"], 2, "output"),
        (["none.jsonl", "-o", ""], 2, "is empty"),
        (["none.jsonl", "-o", "x", "--shard-size", "0"], 2, "shard_size is 0"),
        (["none.jsonl", "-o", "s3://key:secret@bucket/x"], 2, "s3://bucket/x"),
        (["none.jsonl", "-o", "zip://a::s3://key:secret@b"], 2, "an address inside another"),
    ],
)
def test_unusable_arguments_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], status: int, reason: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["shard", *words]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert "secret" not in line
    assert not list(tmp_path.iterdir())


def test_http_is_not_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["shard", str(corpus(tmp_path)), "-o", "https://me:secret@host/shards"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "turnout: error: https://host/shards: can be read and not written: name a folder or a store"
    )
