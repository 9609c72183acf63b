import pytest

from turnout.text.spacing import spaced


@pytest.mark.parametrize(
    "language",
    ["zh", "ZH", "zh-TW", "zh_Hant_HK", "yue", "cmn", "ja", "th", "lo", "km", "my", "bo"],
)
def test_some_languages_write_no_space_between_words(language: str) -> None:
    assert not spaced(language)


@pytest.mark.parametrize("language", ["en", "ar", "ko", "vi", "hi", "zh-Latn-pinyin", "", None])
def test_others_do_and_those_that_are_not_known(language: str | None) -> None:
    assert spaced(language)
