import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.doubles import tokenizer
from turnout import model_folder as rooms
from turnout import verified_folder
from turnout.config import ModelConfig, VocabularyConfig
from turnout.errors import ModelFolderError, StorageError
from turnout.model_folder import (
    CARD,
    CONFIG,
    DIGESTS,
    TOKENIZER,
    WEIGHTS,
    ModelFolder,
    called,
    config_bytes,
    read_digests,
    resolve,
    write_folder,
)


def config() -> ModelConfig:
    return ModelConfig(vocabulary=VocabularyConfig(size=tokenizer().size), window_seconds=12.5)


def files(weights: bytes = b"weights") -> dict[str, bytes]:
    return {
        CONFIG: config_bytes(config(), tokenizer()),
        TOKENIZER: tokenizer().to_bytes(),
        WEIGHTS: weights,
        CARD: b"# A model\n",
    }


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model"
    write_folder(path, files())
    folder = ModelFolder.open(path)
    assert folder.config == config()
    assert folder.tokenizer.encode("stop") == tokenizer().encode("stop")
    assert folder.read(WEIGHTS) == b"weights"
    assert folder.files() == files()
    assert not folder.has_graphs
    assert names(path.parent) == ["model"]


@pytest.mark.parametrize(
    ("place", "name"),
    [("mine", "mine"), ("runs/omni/model", "omni"), ("two\nlines", "two\\nlines")],
)
def test_the_model_of_a_run_is_called_as_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, name: str
) -> None:
    """Two runs that are compared would both be called "model"."""
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    assert called(path) == name
    monkeypatch.chdir(path.parent)
    assert called(Path(path.name)) == name


def test_a_file_may_come_in_parts(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", {**files(), WEIGHTS: iter([b"we", b"", b"ights"])})
    write_folder(tmp_path / "whole", files())
    names = (DIGESTS, WEIGHTS)
    parts, whole = ([(tmp_path / p / n).read_bytes() for n in names] for p in ("model", "whole"))
    assert parts == whole


def test_the_digests_are_those_of_sha256sum(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", files(b"abc"))
    line = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  model.safetensors\n"
    assert line in (tmp_path / "model" / DIGESTS).read_text()
    assert CARD not in read_digests(tmp_path / "model")


def test_the_card_may_be_edited(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", files())
    (tmp_path / "model" / CARD).write_text("# Better words\n")
    assert ModelFolder.open(tmp_path / "model").files()[CARD] == b"# Better words\n"


def test_what_was_verified_is_kept_for_one_read(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", files())
    folder = ModelFolder.open(tmp_path / "model", keep=[WEIGHTS])
    (tmp_path / "model" / WEIGHTS).write_bytes(b"swapped")
    assert folder.read(WEIGHTS) == b"weights"
    assert not folder.kept
    with pytest.raises(ModelFolderError, match="is damaged"):
        folder.read(WEIGHTS)


def test_what_is_to_be_kept_is_verified(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", files())
    (tmp_path / "model" / WEIGHTS).write_bytes(b"swapped")
    with pytest.raises(ModelFolderError, match=r"model\.safetensors is damaged"):
        ModelFolder.open(tmp_path / "model", keep=[WEIGHTS])


def test_a_model_gives_way_to_its_successor(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", files(b"old"))
    write_folder(tmp_path / "model", files(b"new"))
    assert ModelFolder.open(tmp_path / "model").read(WEIGHTS) == b"new"
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("name", ["full", "file"])
def test_what_is_no_model_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="exists and is not a model folder: choose another"):
        write_folder(tmp_path / name, files())
    assert (tmp_path / "full" / "precious.txt").read_text() == "mine"
    assert (tmp_path / "file").read_text() == "mine"


def test_a_stranger_s_digests_make_no_model(tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  debian.iso\n")
    (folder / "thesis.tex").write_text("words")
    with pytest.raises(StorageError, match="is not a model folder: choose another path"):
        write_folder(folder, files())
    assert names(folder) == ["SHA256SUMS", "thesis.tex"]


def test_what_lies_beside_a_model_stays_when_it_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_folder(folder, {**files(), "encoder.onnx": b"graph"})
    (folder / "notes.txt").write_text("mine")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("main")
    write_folder(folder, files(b"others"))
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / ".git" / "HEAD").read_text() == "main"
    assert "encoder.onnx" not in names(folder), "a graph of other weights"
    assert ModelFolder.open(folder).read(WEIGHTS) == b"others"
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("fails_at", [0, 2, 4])
@pytest.mark.parametrize("exists", [False, True])
def test_no_space_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, exists: bool
) -> None:
    if exists:
        write_folder(tmp_path / "model", files(b"old"))
    before = names(tmp_path)
    write_synced, calls = verified_folder.write_synced, []

    def full(path: Path, data: bytes) -> None:
        calls.append(path)
        if len(calls) > fails_at:
            path.write_bytes(data[:3])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_synced(path, data)

    monkeypatch.setattr(verified_folder, "write_synced", full)
    with pytest.raises(StorageError, match="the model cannot be written: no space left on device"):
        write_folder(tmp_path / "model", files(b"new"))
    assert names(tmp_path) == before
    if exists:
        assert ModelFolder.open(tmp_path / "model").read(WEIGHTS) == b"old"


def test_a_failed_exchange_brings_the_old_model_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "model", files(b"old"))
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.startswith(".partial-"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr("turnout.files.exchange", lambda *_: False)
    with pytest.raises(StorageError, match="permission denied"):
        write_folder(tmp_path / "model", files(b"new"))
    assert ModelFolder.open(tmp_path / "model").read(WEIGHTS) == b"old"
    assert names(tmp_path) == ["model"]


def rewritten(path: Path, change: dict[str, object]) -> Path:
    """A folder whose config.json was changed, digests and all."""
    content = json.loads(config_bytes(config(), tokenizer()))
    write_folder(path, {**files(), CONFIG: json.dumps({**content, **change}).encode()})
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 4}, "format_version is 4: this turnout reads versions 1 to 3"),
        ({"format_version": None}, "format_version is None"),
        ({"tokenizer": "bpe"}, "tokenizer is 'bpe': this turnout has sentencepiece"),
        ({"tokenizer": ["bpe"]}, "tokenizer is ['bpe']: this turnout has sentencepiece"),
        ({"modle": {}}, "unknown key 'modle': did you mean 'model'?"),
        ({"model": {"windw_seconds": 3.0}}, "unknown key 'model.windw_seconds': did you mean"),
        ({"model": []}, "model is []: an object with keys is needed"),
        ({"reserved_ids": {"blank": 9}}, "the two files belong to different models"),
    ],
)
def test_a_config_that_cannot_be_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = ModelFolder.open(rewritten(tmp_path / "model", change))
    with pytest.raises(ModelFolderError) as caught:
        assert folder.config and folder.tokenizer
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"model folder {tmp_path / 'model'}: ")
    assert "\n" not in str(caught.value)


def test_a_tokenizer_with_more_ids_than_rows_is_refused(tmp_path: Path) -> None:
    small = replace(config(), vocabulary=VocabularyConfig(size=tokenizer().size - 1))
    write_folder(tmp_path / "model", {**files(), CONFIG: config_bytes(small, tokenizer())})
    with pytest.raises(ModelFolderError, match="belong to different models"):
        _ = ModelFolder.open(tmp_path / "model").tokenizer


def test_names_paths_and_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "SHIPPED", tmp_path / "models")
    assert rooms.shipped_models() == ()
    with pytest.raises(ModelFolderError, match=r"no model 'commands': .* \(none in this inst"):
        resolve()
    write_folder(tmp_path / "models" / "commands", files())
    assert resolve() == resolve("commands") == tmp_path / "models" / "commands"
    assert resolve(str(tmp_path)) == tmp_path
    with pytest.raises(ModelFolderError, match=r"no model 'comands': .* that ships \(commands\)"):
        resolve("comands")


@pytest.mark.skipif(os.name != "posix", reason="links need a right there")
def test_a_card_that_is_a_link_out_of_the_folder_is_not_taken_along(tmp_path: Path) -> None:
    """But for the hub's cache, where every file of a snapshot is one."""
    (tmp_path / "private").write_text("secret")
    place = tmp_path / "models--owner--name" / "snapshots" / "a"
    write_folder(place, files())
    blob = place.parents[1] / "blobs" / "card"
    blob.parent.mkdir()
    blob.write_bytes(b"# A model\n")
    (place / CARD).unlink()
    for target in (blob, Path("other.md")):
        (place / CARD).symlink_to(target)
        (place / "other.md").write_bytes(b"# A model\n")
        assert ModelFolder.open(place).files() == files()
        (place / CARD).unlink()
    elsewhere = shutil.copytree(place, tmp_path / "own" / "folders" / "a")
    beside = tmp_path / "own" / "blobs"  # of no snapshot
    beside.mkdir()
    (beside / "card").write_text("secret")
    message = r"README.md is a link out of the folder: put the card in its place, or delete the l"
    for folder, target in ((place, tmp_path / "private"), (elsewhere, beside / "card")):
        (folder / CARD).symlink_to(target)
        with pytest.raises(ModelFolderError, match=message):
            ModelFolder.open(folder).files()
    (place / CARD).unlink()
    (place / CARD).symlink_to("gone")
    assert CARD not in ModelFolder.open(place).files()
