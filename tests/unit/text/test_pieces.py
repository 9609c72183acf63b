"""What a vocabulary learns of languages that write no spaces, and of texts that are few."""

import logging

import pytest

from turnout.config import VocabularyConfig
from turnout.text.pieces import (
    LONGEST_WORD,
    candidates,
    of_common_characters,
    train_pieces,
    words_of,
)
from turnout.text.sentencepieces import SentencePieceTokenizer

ONE = "今天天气很好所以我们决定带着孩子一起去公园散步顺便买一些新鲜水果"
FEW = ["今天天气很好", "我们去公园散步", "今天我们买水果", "孩子喜欢公园", "我喜欢今天的天气"]
THAI = "วันนี้อากาศดีมากเราจึงตัดสินใจพาลูกไปเดินเล่นที่สวนสาธารณะ"
JAPANESE = ["ありがとうございます", "カメラを買いました", "今日は東京に行きます"]
GERMAN = "Donaudampfschifffahrtsgesellschaftskapitän"


def learned(texts: list[str], size: int = 512, language: str = "zh") -> SentencePieceTokenizer:
    vocabulary = VocabularyConfig(size=size, languages=(language,), translations=())
    return SentencePieceTokenizer.train(texts, vocabulary)


@pytest.mark.parametrize("size", [340, 400, 512, 2000])
@pytest.mark.parametrize(
    "texts", [[ONE], [ONE] * 500, FEW, FEW * 20, [THAI], JAPANESE, [f"{ONE}，{ONE[::-1]}。"]]
)
def test_no_sentence_is_one_piece(texts: list[str], size: int) -> None:
    known = learned(texts, size)
    assert known.size <= size
    for text in texts:
        ids = known.encode(text)
        assert len(ids) >= len(text) / 4 and len(ids) > 1
        assert known.decode(ids) == text


def test_what_sentences_share_is_a_piece() -> None:
    known = learned(FEW * 20)
    pieces = [known.decode([i]) for i in known.encode("今天我们喜欢公园")]
    assert [piece for piece in pieces if piece.strip()] == ["今天", "我们", "喜欢", "公园"]


def test_words_among_letters_without_spaces_stay_whole() -> None:
    known = learned(["我爱 coffee 今天", "coffee店在哪里", "一杯coffee谢谢"] * 30)
    pieces = [known.decode([i]) for i in known.encode("coffee 我在今天")]
    assert pieces[0] == "coffee"


@pytest.mark.parametrize("text", [GERMAN, "".join(chr(97 + i * i % 26) for i in range(700))])
def test_one_long_word_is_learned(text: str) -> None:
    known = learned([text], language="de")
    assert known.decode(known.encode(text)) == text


def test_no_end_of_a_long_text_is_lost() -> None:
    text = "".join(chr(0x4E00 + i) for i in range(2 * LONGEST_WORD + 7))
    assert "".join(words_of([text])) == text
    known = learned([text], size=1200)
    assert len(known.encode(text)) <= len(text) + 1  # no letter is spelled in bytes


def test_characters_that_find_no_room_are_told(caplog: pytest.LogCaptureFixture) -> None:
    texts = ["".join(chr(0x4E00 + i) for i in range(400))]
    vocabulary = VocabularyConfig(size=400, languages=("zh",), translations=())
    with caplog.at_level(logging.WARNING, "turnout"):
        train_pieces(texts, vocabulary)
    (record,) = caplog.records
    assert "room for 72 of the 400 characters" in record.getMessage()
    assert "bytes spell 82 %" in record.getMessage()
    caplog.clear()
    train_pieces(FEW, vocabulary)
    assert not caplog.records


def test_rare_characters_of_chinese_have_most_of_the_room() -> None:
    texts = ["".join(chr(0x4E00 + i) for i in range(120))]
    known = learned(texts, size=460)  # room for 140
    assert known.size == 320 + 121
    assert len(known.encode(texts[0])) == 121


def test_rare_characters_part_what_is_learned() -> None:
    rare = [chr(0x4E00 + i) for i in range(300)]
    texts = [f"{a}天{one}气{b}" for one in rare for a, b in ("新坏", "坏好", "好新")]
    pieces = dict(candidates(of_common_characters(words_of(texts), 25)))
    assert "新天" in pieces and "天气" not in pieces
