"""`turnout label`: what it prints, and its exit status."""

import json
import shutil
from pathlib import Path

import pytest

from turnout.cli import main
from turnout.corpora.clips import read_clips

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ("arabic-telephone-1.wav", "english-1.flac", "english-3.wav")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two languages and bandwidths, and a file that is no recording."""
    made = tmp_path / "in"
    made.mkdir()
    for name in EXAMPLES:
        shutil.copy(ROOT / "examples" / name, made)
    (made / "bad.mp3").write_bytes(b"no sound")
    return made


def test_the_shipped_model_labels_the_examples(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    words = ["label", "in", "-o", str(out), "--threads", "1", "--part-minutes", "0.1"]
    words += ["--second", "commands"]
    assert main(words) == 1
    said = capsys.readouterr()
    rows = [line.split() for line in said.out.splitlines()]
    assert rows[0] == ["labels", "hours", "for", "this", "alone"]
    assert [row[:2] for row in rows[1:]] == [["kept", "3"], ["dropped", "0"]]
    assert f"labels -> {out / 'cuts.jsonl.gz'}" in said.err
    assert f"turnout: failed: {folder / 'bad.mp3'}: " in said.err
    texts = json.loads((ROOT / "examples" / "references.json").read_text())
    clips = read_clips(out / "cuts.jsonl.gz")
    wanted = [texts[name]["text"] for name in EXAMPLES]
    assert [clip.text for clip in clips] == wanted
    assert [Path(clip.path) for clip in clips] == [folder / name for name in EXAMPLES]
    assert [clip.language for clip in clips] == ["ar", "en", "en"]
    assert [str(clip.bandwidth) for clip in clips] == ["narrowband", "wideband", "wideband"]
    # A second part that a killed run lacks is heard as before.
    before = {path.name: path.read_bytes() for path in out.glob("*.*")}
    *_, last = sorted(out.glob("heard/*.jsonl"))
    last.unlink()
    (out / "cuts.jsonl.gz").unlink()
    assert main(words) == 1
    assert "heard now: 0.00" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.glob("*.*")} == before
    words[1] = str(folder)  # the same, by another name
    assert main(words) == 1
    assert "nothing was heard anew" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["none", "-o", "out"], 2, "no such file or folder"),
        (["none"], 2, "output"),
        (["a.wav", "-o", "out"], 2, "for 'turnout transcribe'"),
        (["empty", "-o", "out"], 2, "holds no recordings"),
        (["in", "-o", "a.wav"], 1, "a.wav: cannot be written"),
        (["in", "-o", "out", "--part-minutes", "0"], 2, "--part-minutes is 0"),
        (["in", "-o", "out", "--min-confidence", "1"], 2, "min_confidence is 1.0"),
        (["in", "-o", "out", "--language", "fr"], 2, "'fr' is unknown to this model"),
        (["in", "-o", "out", "--languages", "fr"], 2, "--languages names fr"),
        (["in", "-o", "out", "--language", "en", "--languages", "en"], 2, "leave out one"),
        (["in", "-o", "out", "--second", "none"], 2, "no model 'none'"),
        (["in", "-o", "out", "--actors", "2"], 2, "give --engine ray as well"),
        (["in", "-o", "out", "--engine", "ray", "--actors", "0"], 2, "--actors is 0"),
        (["in", "-o", "out", "--word-timestamps"], 2, "--word-timestamps"),
        (["in", "-o", "out", "--shards", "x"], 2, "'turnout shard' makes those of cuts"),
        (["zip://a::s3://key:secret@b", "-o", "out"], 2, "zip://b: an address inside"),
    ],
)
def test_unusable_arguments_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], status: int, reason: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("in").mkdir()
    for name in ("a.wav", "in/a.wav"):
        shutil.copy(ROOT / "examples" / "english-3.wav", name)
    assert main(["label", *words]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert not (tmp_path / "out").exists()


def test_none_is_no_bound(folder: Path, tmp_path: Path) -> None:
    words = ["label", str(folder), "-o", str(tmp_path / "out"), "--min-confidence", "none"]
    assert main([*words, "--max-compression-ratio", "None"]) == 1
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["choice"]["min_confidence"] is None
    assert content["choice"]["max_compression_ratio"] is None
