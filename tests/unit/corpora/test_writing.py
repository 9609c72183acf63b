"""A folder of cuts holds one corpus: its splits are written together, and older ones go."""

import gzip
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from lhotse import CutSet

from tests.unit.corpora.recordings import noise, write_lines
from turnout.cli import main
from turnout.config.preparation import PrepareConfig
from turnout.corpora.prepare import prepare
from turnout.corpora.writing import WRITTEN
from turnout.errors import StorageError, UsageError


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = []
    for number in range(6):
        noise(tmp_path / f"{number}.wav", seconds=0.2)
        rows.append({"audio_filepath": f"{number}.wav", "text": "yes", "speaker": f"s{number}"})
    return write_lines(tmp_path / "m.jsonl", *rows)


def split(shares: str | None) -> PrepareConfig:
    return PrepareConfig(language="en", split=shares)


def names(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".jsonl.gz") for path in folder.glob("*.jsonl.gz"))


def test_older_splits_are_deleted_and_named(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    prepare(manifest, out, split("train=0.5,dev=0.2,test=0.3"))
    words = ["prepare", str(manifest), "-o", str(out), "--language", "en"]
    assert main([*words, "--split", "train=0.7,other=0.3"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"turnout: not of this corpus: {out / name}: deleted, since an earlier run wrote it"
        for name in ("dev.jsonl.gz", "test.jsonl.gz")
    ]
    assert names(out) == ["other", "train"]
    prepare(manifest, out, split(None))
    assert names(out) == ["cuts"]


def test_what_others_wrote_or_changed_stays_and_is_named(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(manifest, out, split("train=0.5,dev=0.2,test=0.3"))
    (out / "mine.jsonl.gz").write_bytes(b"mine")
    changed = gzip.compress(gzip.decompress((out / "dev.jsonl.gz").read_bytes()) + b"\n")
    (out / "dev.jsonl.gz").write_bytes(changed)
    summary = prepare(manifest, out, split(None))
    assert names(out) == ["cuts", "dev", "mine"]
    assert (out / "dev.jsonl.gz").read_bytes() == changed
    assert [note.rpartition("/")[2] for note in summary.notes] == [
        "test.jsonl.gz: deleted, since an earlier run wrote it",
        "train.jsonl.gz: deleted, since an earlier run wrote it",
        "dev.jsonl.gz: left as it is",
        "mine.jsonl.gz: left as it is",
    ]


def test_the_source_itself_is_never_deleted(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(manifest, out, split(None))
    prepare(out / "cuts.jsonl.gz", out, split("train=0.5,test=0.5"))
    assert names(out) == ["cuts", "test", "train"]


def test_the_source_itself_is_never_written_over(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(manifest, out, split(None))
    source = out / "cuts.jsonl.gz"
    cuts = gzip.decompress(source.read_bytes()).splitlines(keepends=True)
    source.write_bytes(gzip.compress(b"".join([*cuts, b"{broken\n"])))
    before = source.read_bytes()
    with pytest.raises(UsageError, match=r"is what is read, .*: name another folder by --output"):
        prepare(source, out, PrepareConfig(language="en", skip_bad=True))
    assert source.read_bytes() == before


@pytest.mark.parametrize("record", [b"", b"[]", b'{"train.jsonl.gz": 1}', b"\xff"])
def test_without_a_record_that_can_be_read_nothing_is_deleted(
    manifest: Path, tmp_path: Path, record: bytes
) -> None:
    out = tmp_path / "out"
    prepare(manifest, out, split("train=0.5,test=0.5"))
    (out / WRITTEN).write_bytes(record)
    prepare(manifest, out, split(None))
    assert names(out) == ["cuts", "test", "train"]


def test_all_splits_are_written_or_none(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    prepare(manifest, out, split("train=0.5,test=0.5"))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    write = CutSet.to_file

    def full(self: CutSet, path: Path) -> None:
        if "test" in path.name:
            raise OSError(28, "No space left on device")
        write(self, path)

    monkeypatch.setattr(CutSet, "to_file", full)
    with pytest.raises(StorageError, match=r"test.jsonl.gz: cannot be written \(No space left"):
        prepare(manifest, out, split("train=0.6,dev=0.1,test=0.3"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


class Killed(BaseException):
    """No `except Exception` sees it, as none sees kill -9."""


def killed_at(operation: int, patch: pytest.MonkeyPatch) -> None:
    """Let the one of the moves and deletions that has this number, and all behind it, not be."""
    left = iter(range(1, operation))

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if next(left, None) is None:
                raise Killed
            return real(*given, **named)

        return call

    for name in ("replace", "unlink"):
        patch.setattr(Path, name, counting(getattr(Path, name)))


@pytest.mark.parametrize("operation", range(1, 13))
def test_whenever_a_run_is_killed_the_next_one_knows_its_files(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: int
) -> None:
    out = tmp_path / "out"
    prepare(manifest, out, split("train=0.5,dev=0.2,test=0.3"))
    with monkeypatch.context() as patch:
        killed_at(operation, patch)
        with suppress(Killed):  # it was done before
            prepare(manifest, out, split("train=0.7,other=0.3"))
    summary = prepare(manifest, out, split("train=1"))
    assert [name for name in names(out) if not name.startswith(".")] == ["train"]
    assert not any("left as it is" in note for note in summary.notes)
