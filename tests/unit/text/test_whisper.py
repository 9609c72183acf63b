"""Whisper's tokenizers: held against the library that made them, and read by name alone."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Oracle

from tests.byte_level import LANGUAGES, SPECIAL, TEXTS, tokenizer
from turnout.config import VocabularyConfig
from turnout.errors import GuidanceError, ModelFolderError
from turnout.guidance import Bandwidth, Guidance, Task
from turnout.text.whisper import WhisperTokenizer, languages_of

VOCABULARY = VocabularyConfig(size=512, languages=LANGUAGES, translations=(("zh", "en"),))
ORACLE = tokenizer()
TOKENIZER = WhisperTokenizer.from_bytes(ORACLE.to_str().encode(), VOCABULARY)


@settings(max_examples=200)
@given(st.text())
def test_texts_are_cut_as_the_library_cuts_them(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    if "<|" not in text:
        assert ids == (ORACLE.encode(f" {text}").ids if text else [])
    assert TOKENIZER.text_mask[ids].all()


@given(st.lists(st.integers(0, ORACLE.get_vocab_size() - 1)))
def test_ids_are_read_as_the_library_reads_them(ids: list[int]) -> None:
    text = TOKENIZER.decode(ids)
    assert text == ORACLE.decode(ids, skip_special_tokens=True).removeprefix(" ")


def test_a_special_token_in_a_text_is_text() -> None:
    text = "he said <|endoftext|> and <|en|>"
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.end not in ids


def test_what_is_no_text_is_found_by_name() -> None:
    names = {name: ORACLE.token_to_id(name) for name in SPECIAL}
    assert TOKENIZER.size == ORACLE.get_vocab_size()
    assert not TOKENIZER.text_mask[list(names.values())].any()
    assert TOKENIZER.text_mask.sum() == TOKENIZER.size - len(SPECIAL)
    assert TOKENIZER.language_ids == {code: names[f"<|{code}|>"] for code in LANGUAGES}
    assert TOKENIZER.no_speech == names["<|nospeech|>"]
    assert TOKENIZER.previous == names["<|startofprev|>"]
    assert len(set(TOKENIZER.pieces)) == TOKENIZER.size
    starts = [ORACLE.id_to_token(i)[0] == "Ġ" for i in range(TOKENIZER.size)]
    assert TOKENIZER.word_start_mask.tolist() == starts
    assert languages_of(TOKENIZER.to_bytes()) == LANGUAGES


def test_prompts() -> None:
    def ids(*names: str) -> list[int]:
        return [ORACLE.token_to_id(f"<|{name}|>") for name in names]

    asked = Guidance(
        bandwidth=Bandwidth.NARROWBAND, task=Task.TRANSLATE, language="zh", target_language="en"
    )
    expected = ids("startoftranscript", "zh", "translate", "notimestamps")
    assert TOKENIZER.prompt(asked, True) == expected
    assert TOKENIZER.prompt(asked, False) == ids("startoftranscript", "notimestamps")
    with pytest.raises(GuidanceError, match="language 'de' is unknown: choose one of en, zh, haw"):
        TOKENIZER.language("de")


def changed(**content: Any) -> bytes:
    return json.dumps({**json.loads(ORACLE.to_str()), **content}).encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x80\x04", "no tokenizer.json"),
        (b"[" * 100_000, "no tokenizer.json"),
        (b"{}", "no tokenizer.json"),
        (changed(model={"type": "BPE", "vocab": {"a": -1}}), "has the id -1 for 'a'"),
        (changed(model={"type": "BPE", "vocab": {"a": 10**12}}), "has the id 1000000000000"),
        (changed(model={"type": "BPE", "vocab": {"a b": 1}}), "byte-level BPE"),
        (changed(model={"type": "Unigram", "vocab": []}), "byte-level BPE"),
        (changed(added_tokens=[]), "has no id for <|startoftranscript|>"),
    ],
)
def test_what_is_no_tokenizer_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ModelFolderError) as caught:
        WhisperTokenizer.from_bytes(data, VOCABULARY)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["base", "tiny.en"])
def test_a_published_tokenizer(name: str) -> None:
    weights = os.environ.get("TURNOUT_TEST_WHISPER")
    if not weights:
        pytest.skip("TURNOUT_TEST_WHISPER names no folder of checkpoints")
    data = (Path(weights) / name / "tokenizer.json").read_bytes()
    several = name == "base"
    languages = languages_of(data) if several else ("en",)
    assert len(languages) == (99 if several else 1)
    found = WhisperTokenizer.from_bytes(
        data, VocabularyConfig(size=51865, languages=languages, translations=())
    )
    library = Oracle.from_str(data.decode())
    for text in TEXTS:
        assert found.encode(text) == library.encode(f" {text}", add_special_tokens=False).ids
        assert found.decode(found.encode(text)) == text
    # The library of .en has no ids for its time stamps.
    assert found.size == library.get_vocab_size() == (51865 if several else 50363)
