import pickle
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.doubles import ARABIC, GERMAN, WORDS, tokenizer
from turnout.config import VocabularyConfig
from turnout.errors import ConfigError, GuidanceError, ModelFolderError
from turnout.guidance import Guidance, Task
from turnout.text.sentencepieces import SentencePieceTokenizer

AWKWARD = [
    "",
    " ",
    "  two  spaces ",
    "\n\t\r\0\x1f\x7f",
    "\u2581",
    "yes \u2581no\u2581 ",
    "<|start|> <|ar|> <0x41> <s> </s> <unk>",
    "\ufeff\ufffd\ue000\U0010ffff",
    "e\u0301 \u00e9 \ufb01 \u2167",
    "نعم \u200f لا",
    "日本語 🎈",
]
TEXTS = st.text() | st.text(alphabet="yesnoاحد \u2581<|0x41>\n\0")


@given(TEXTS)
@settings(deadline=None)
def test_every_text_survives(text: str) -> None:
    assert tokenizer().decode(tokenizer().encode(text)) == text


@given(TEXTS)
@settings(deadline=None)
def test_text_never_yields_a_reserved_id(text: str) -> None:
    ids = tokenizer().encode(text)
    assert tokenizer().text_mask[ids].all()
    assert min(ids, default=64) >= 64


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_texts_survive(text: str) -> None:
    ids = tokenizer().encode(text)
    assert tokenizer().decode(ids) == text
    assert tokenizer().text_mask[ids].all()


@given(st.lists(st.integers(-5, 600)))
@settings(deadline=None)
def test_any_ids_decode(ids: list[int]) -> None:
    text = tokenizer().decode(ids)
    text.encode()  # no lone surrogate


def test_layout_of_the_reserved_ids() -> None:
    known = tokenizer()
    assert (known.blank, known.start, known.end) == (0, 2, 3)
    tasks = [known.task(task) for task in (Task.TRANSCRIBE, Task.TRANSLATE, None)]
    assert tasks == [4, 5, 6]
    assert known.language_ids == {"ar": 16, "en": 17, "de": 18}
    assert known.text_mask[[0, 1, 63, 64, 319]].tolist() == [False, False, False, True, True]
    assert known.decode([64 + ord("A")]) == "A"
    assert known.text_mask.sum() == known.size - 64


def test_a_language_that_is_unknown_names_the_known_ones() -> None:
    known = tokenizer()
    with pytest.raises(GuidanceError, match="'fr' is unknown: choose one of ar, en, de"):
        known.language("fr")


def test_more_languages_move_no_row() -> None:
    vocabulary = VocabularyConfig(languages=("ar", "en", "sv", "fi"), translations=(("ar", "en"),))
    more = SentencePieceTokenizer.train(WORDS, vocabulary)
    assert more.language_ids == {"ar": 16, "en": 17, "sv": 18, "fi": 19}
    assert more.decode([64 + ord("A")]) == "A"


def test_any_number_of_languages_has_room() -> None:
    many = tuple(f"l{i}" for i in range(99))
    vocabulary = VocabularyConfig(languages=many, translations=(("l0", "l98"), ("l3", "en")))
    trained = SentencePieceTokenizer.train(WORDS * 9, vocabulary)
    assert list(trained.language_ids.values()) == list(range(16, 116))
    assert trained.decode([116 + ord("A")]) == "A"
    ids = trained.encode("yes zyx")
    assert min(ids) >= 116 and trained.decode(ids) == "yes zyx"
    again = SentencePieceTokenizer.from_bytes(trained.to_bytes(), vocabulary)
    assert again.language_ids == trained.language_ids and (again.blank, again.end) == (0, 3)


def test_frequent_words_are_whole() -> None:
    for word in (*WORDS, *ARABIC, *GERMAN):
        assert len(tokenizer().encode(word)) == 1
        assert len(tokenizer().encode(f"{word} {word}")) == 2


def test_prompt() -> None:
    known = tokenizer()
    transcribe = Guidance(task=Task.TRANSCRIBE, language="en", target_language="de")
    translate = replace(transcribe, task=Task.TRANSLATE)
    assert known.prompt(transcribe, True) == [2, 17, 4, 17]
    assert known.prompt(translate, True) == [2, 17, 5, 18]
    assert known.prompt(translate, False) == [2, 17, 6, 18]
    with pytest.raises(GuidanceError, match="no language was given"):
        known.prompt(Guidance(task=Task.TRANSCRIBE), True)


@pytest.mark.parametrize("size", [322, 330, 400])
@pytest.mark.parametrize("texts", [["a"], ["日本語の文字 hello"], ["x" * 10_000], ["yes no"] * 99])
def test_small_corpora_train(texts: list[str], size: int) -> None:
    trained = SentencePieceTokenizer.train(texts, VocabularyConfig(size=size))
    assert trained.size <= size
    for text in texts:
        assert trained.decode(trained.encode(text)) == text


@pytest.mark.parametrize(
    "text", ["<|start|> <|ar|> a", "<0x41> <s>", "a\tb\nc\0", "▅ \u2047 \u2581"]
)
def test_texts_cannot_take_reserved_names(text: str) -> None:
    trained = SentencePieceTokenizer.train([text] * 50, VocabularyConfig())
    ids = trained.encode(text)
    assert trained.decode(ids) == text
    assert min(ids) >= 64


def test_training_says_what_it_needs() -> None:
    with pytest.raises(ConfigError, match="texts to learn from"):
        SentencePieceTokenizer.train(["", " "], VocabularyConfig())
    with pytest.raises(ConfigError, match="vocabulary.size is 320"):
        SentencePieceTokenizer.train(["yes"], VocabularyConfig(size=320))
    many = tuple(f"l{i}" for i in range(99))
    with pytest.raises(ConfigError, match=r"reserved ids and bytes alone need 371, so take .* 403"):
        vocabulary = VocabularyConfig(size=372, languages=many, translations=())
        SentencePieceTokenizer.train(["yes"], vocabulary)


def test_bytes_and_back() -> None:
    known = tokenizer()
    again = SentencePieceTokenizer.from_bytes(known.to_bytes(), known.vocabulary)
    assert again.encode("yes نعم") == known.encode("yes نعم")
    assert pickle.loads(pickle.dumps(known)).encode("yes") == known.encode("yes")
    with pytest.raises(ModelFolderError, match="no sentencepiece model"):
        SentencePieceTokenizer.from_bytes(b"not a model", known.vocabulary)
    with pytest.raises(ModelFolderError, match="no id for sv"):
        vocabulary = VocabularyConfig(languages=("ar", "sv"), translations=())
        SentencePieceTokenizer.from_bytes(known.to_bytes(), vocabulary)


def test_training_is_repeatable() -> None:
    texts = [*WORDS, *ARABIC] * 3
    first, second = (
        SentencePieceTokenizer.train(texts, VocabularyConfig()).to_bytes() for _ in range(2)
    )
    assert first == second
