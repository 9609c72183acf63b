"""What is said of texts that the model to begin from would spell otherwise."""

from types import SimpleNamespace
from typing import Any

import pytest

from turnout.config import CorpusConfig, DataConfig
from turnout.errors import ShardError
from turnout.training import texts
from turnout.training.texts import LOOKED_AT, foreign_capitals, spelled_otherwise

WORDS = ["THE LINE IS BUSY", "PLEASE HOLD ON"]


def at_home_in(case: str) -> Any:
    """A tokenizer with a piece for each word of that case, and letters for all else."""
    return SimpleNamespace(
        encode=lambda text: [
            piece
            for word in text.split()
            for piece in ([word] if getattr(word, case)() == word else [*word])
        ]
    )


def test_capitals_that_are_foreign_to_the_tokenizer_are_told() -> None:
    said = foreign_capitals(WORDS, at_home_in("lower"))
    assert said is not None
    assert said.startswith("2 of the first 2 texts are in capitals")
    assert "3.6 times as many pieces" in said  # 25 letters, 7 words


def test_nothing_is_said_where_the_tokenizer_knows_them() -> None:
    assert foreign_capitals(WORDS, at_home_in("upper")) is None


def test_nothing_is_said_of_ordinary_spelling_of_single_words_and_of_writing_without_case() -> None:
    lower = at_home_in("lower")
    ordinary = ["The line is busy at NASA", "Please hold on", "thank you"]
    assert foreign_capitals(ordinary, lower) is None
    assert foreign_capitals(["STOP", "GO"], lower) is None
    assert foreign_capitals(["\u0646\u0639\u0645 \u0644\u0627"], lower) is None
    assert foreign_capitals([*ordinary * 3, *WORDS], lower) is None  # few
    assert foreign_capitals([], lower) is None


def test_each_corpus_is_looked_at_and_silent_shards_end_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many texts of another stand before it."""

    def silent(*_: object) -> Any:
        raise ShardError("shards: the store did not answer")

    monkeypatch.setattr(texts, "texts_of", silent)
    data = DataConfig(
        train=(CorpusConfig(shards="s"), CorpusConfig(cuts="a"), CorpusConfig(cuts="b"))
    )
    lines = {"a": ["please hold on"] * 2 * LOOKED_AT, "b": WORDS}
    clips: Any = {
        name: [SimpleNamespace(text=text, translations={}, split="train") for text in own]
        for name, own in lines.items()
    }
    (said,) = spelled_otherwise(data, clips, at_home_in("lower"))
    assert said.startswith("b: 2 of the first 2 texts are in capitals")
