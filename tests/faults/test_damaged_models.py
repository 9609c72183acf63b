"""Model folders that are not what was once written: all refused before a byte is used."""

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.doubles import tokenizer
from turnout.config import ModelConfig, VocabularyConfig
from turnout.errors import ModelFolderError
from turnout.model_folder import (
    CARD,
    CONFIG,
    DECODER,
    DIGESTS,
    ENCODER,
    TOKENIZER,
    WEIGHTS,
    ModelFolder,
    config_bytes,
    write_folder,
)
from turnout.transcription.transcriber import load

FILES = (CONFIG, TOKENIZER, WEIGHTS, ENCODER, DECODER)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    config = ModelConfig(vocabulary=VocabularyConfig(size=tokenizer().size))
    noise = random.Random(0)
    write_folder(
        tmp_path / "model",
        {
            CONFIG: config_bytes(config, tokenizer()),
            TOKENIZER: tokenizer().to_bytes(),
            **{name: noise.randbytes(5000) for name in (WEIGHTS, ENCODER, DECODER)},
            CARD: b"# A model\n",
        },
    )
    return tmp_path / "model"


def refused(path: Path, *words: str) -> None:
    """The folder is refused in one line with these words in it."""
    with pytest.raises(ModelFolderError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit(path: Path, name: str) -> None:
    noise = random.Random(name)
    content = (path / name).read_bytes()
    for _ in range(40):
        damaged = bytearray(content)
        damaged[noise.randrange(len(damaged))] ^= 1 << noise.randrange(8)
        (path / name).write_bytes(damaged)
        refused(path, name, "is damaged", "fetch or save it again")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["cut", "grown", "zeroed", "missing", "a folder"])
def test_a_file_that_is_not_whole(path: Path, name: str, how: str) -> None:
    file, content = path / name, (path / name).read_bytes()
    match how:
        case "cut":
            file.write_bytes(content[:-1])
        case "grown":
            file.write_bytes(content + b"\0")
        case "zeroed":
            file.write_bytes(bytes(512) + content[512:])
        case "missing":
            file.unlink()
        case _:
            file.unlink()
            file.mkdir()
    refused(path, name)


def test_two_files_exchanged(path: Path) -> None:
    encoder, decoder = (path / ENCODER).read_bytes(), (path / DECODER).read_bytes()
    (path / ENCODER).write_bytes(decoder)
    (path / DECODER).write_bytes(encoder)
    refused(path, "onnx", "is damaged")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (b"", "config.json is not listed"),
        (b"\xff\xfe", "line 1 is not"),
        (b"abc  config.json\n", "line 1 is not"),
        (b"0" * 64 + b"  ../secret\n", "line 1 is not"),
        (b"0" * 64 + b"  /etc/passwd\n", "line 1 is not"),
    ],
)
def test_digests_that_are_none(path: Path, lines: bytes, words: str) -> None:
    (path / DIGESTS).write_bytes(lines)
    refused(path, DIGESTS, words)


def test_digests_without_weights_and_graphs(path: Path) -> None:
    lines = (path / DIGESTS).read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.split()[1] in (CONFIG, TOKENIZER)]
    (path / DIGESTS).write_text("".join(kept))
    refused(path, "holds neither model.safetensors nor encoder.onnx")


def test_no_folder_no_digests(path: Path) -> None:
    (path / DIGESTS).unlink()
    refused(path, DIGESTS, "is missing")
    refused(path / CONFIG, "is a file")
    shutil.rmtree(path)
    refused(path, f"no model '{path}'")
    with pytest.raises(ModelFolderError, match="does not exist"):
        ModelFolder.open(path)


@pytest.mark.parametrize("name", FILES)
def test_a_file_swapped_after_opening_is_not_used(path: Path, name: str) -> None:
    folder = ModelFolder.open(path)
    (path / name).write_bytes(b"swapped")
    with pytest.raises(ModelFolderError, match="is damaged"):
        folder.read(name)


def test_graphs_that_are_none_but_have_right_digests(path: Path) -> None:
    refused(path, "ONNX Runtime cannot take its graphs")


def test_weights_that_are_none_but_have_right_digests(path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"model\.safetensors: "):
        load(path, backend="torch")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(path: Path) -> None:
    (path / WEIGHTS).chmod(0)
    refused(path, WEIGHTS, "permission denied")
