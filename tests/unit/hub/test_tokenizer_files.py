"""Three older files become a tokenizer.json that cuts texts as the libraries cut them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import WhisperTokenizer as Oracle

from tests import whispers
from tests.byte_level import SPECIAL, TEXTS
from turnout.config import VocabularyConfig
from turnout.errors import ModelFolderError
from turnout.hub.tokenizer_files import read_tokenizer_file
from turnout.text.whisper import WhisperTokenizer

VOCABULARY = VocabularyConfig(languages=whispers.LANGUAGES, translations=())


def older(folder: Path) -> Path:
    """The folder of a repository from before tokenizer.json: as there, the end of the text is
    among the pieces, and the other special tokens are added."""
    folder.mkdir(exist_ok=True)
    content = json.loads(whispers.tokenizer().to_str())
    added = {token["content"]: token["id"] for token in content["added_tokens"]}
    pieces = {**content["model"]["vocab"], "<|endoftext|>": added.pop("<|endoftext|>")}
    merges = [
        pair if isinstance(pair, str) else " ".join(pair) for pair in content["model"]["merges"]
    ]
    (folder / "vocab.json").write_text(json.dumps(pieces))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    (folder / "added_tokens.json").write_text(json.dumps(added))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return older(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def data(folder: Path) -> bytes:
    return read_tokenizer_file(folder)


@given(text=st.text() | st.sampled_from(TEXTS))
def test_it_is_the_tokenizer_that_it_was(data: bytes, text: str) -> None:
    found = Tokenizer.from_str(data.decode())
    assert found.encode(text).ids == whispers.tokenizer().encode(text).ids
    assert WhisperTokenizer.from_bytes(data, VOCABULARY).decode(found.encode(text).ids) is not None


def test_transformers_reads_the_same_of_the_three(folder: Path, data: bytes) -> None:
    content = json.loads(data)
    merges = [tuple(pair.split(" ")) for pair in content["model"]["merges"]]
    oracle = Oracle(vocab=content["model"]["vocab"], merges=merges)
    found = Tokenizer.from_str(data.decode())
    for text in TEXTS:
        assert found.encode(text).ids == oracle(text, add_special_tokens=False).input_ids


def test_the_special_tokens_have_their_ids(data: bytes) -> None:
    found = Tokenizer.from_str(data.decode())
    for name in SPECIAL:
        assert found.token_to_id(name) == whispers.token(name)
    ours = WhisperTokenizer.from_bytes(data, VOCABULARY)
    assert not ours.text_mask[[whispers.token(name) for name in SPECIAL]].any()


def test_a_line_that_joins_nothing(tmp_path: Path) -> None:
    folder = older(tmp_path / "a")
    (folder / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(ModelFolderError, match=r"merges.txt: has the line 'a b c': two pieces"):
        read_tokenizer_file(folder)


def test_an_id_that_is_a_word(tmp_path: Path) -> None:
    folder = older(tmp_path / "a")
    (folder / "added_tokens.json").write_text('{"<|en|>": "3"}')
    with pytest.raises(ModelFolderError, match=r"has the id '3' for '<\|en\|>'"):
        read_tokenizer_file(folder)


def test_two_of_three(tmp_path: Path) -> None:
    folder = older(tmp_path / "a")
    (folder / "merges.txt").unlink()
    with pytest.raises(ModelFolderError, match=r"has no tokenizer.json, nor merges.txt to make"):
        read_tokenizer_file(folder)
