import unicodedata
from collections import Counter
from typing import get_args

import numpy as np
import pytest
from sacrebleu.metrics import bleu

from turnout.evaluation import counting, metrics
from turnout.evaluation.intervals import resampled

REFERENCES = ["one two three four", "five six seven eight", "nine ten eleven twelve"]


def test_word_errors_count_every_kind_once():
    score = metrics.score("wer", ["a b c d"], ["a x d e"])
    # b -> x, c deleted, e inserted
    assert (score.errors, score.units, score.value) == (3, 4, 75.0)


def test_a_perfect_transcript_scores_zero_and_a_full_overlap_a_hundred():
    assert metrics.score("wer", REFERENCES, REFERENCES).value == 0
    assert metrics.score("cer", REFERENCES, REFERENCES).value == 0
    assert metrics.score("bleu", REFERENCES, REFERENCES).value == pytest.approx(100)
    assert metrics.score("chrf", REFERENCES, REFERENCES).value == pytest.approx(100)


def test_case_and_punctuation_are_no_errors():
    assert metrics.score("wer", ["Hello, World!"], ["hello world"]).errors == 0


def test_arabic_vowel_marks_do_not_cut_a_word():
    assert counting.normalized("مُحَمَّد،  هنا") == "مُحَمَّد هنا"
    assert metrics.score("wer", ["مُحَمَّد هنا"], ["مُحَمَّد هنا"]).units == 2


def test_empty_hypotheses_are_all_deletions():
    assert metrics.score("wer", ["a b", "c d"], ["", ""]).value == 100
    assert metrics.score("bleu", ["a b c d", "c d"], ["", ""]).value == 0
    assert metrics.score("chrf", ["a b", "c d"], ["", ""]).value == 0


def test_empty_references_count_what_was_invented():
    quiet = metrics.score("wer", ["", ""], ["", ""])
    noisy = metrics.score("wer", ["", ""], ["a", "b c"])
    assert (quiet.value, quiet.errors) == (0, 0)
    assert (noisy.value, noisy.errors, noisy.units) == (300, 3, 0)


def test_nothing_to_score_is_no_crash():
    for metric in get_args(counting.Metric):
        assert metrics.score(metric, [], []).utterances == 0


def test_lists_of_unlike_length_are_our_mistake():
    with pytest.raises(ValueError, match="2 references but 1 hypotheses"):
        metrics.score("wer", ["a", "b"], ["a"])


def test_the_interval_holds_the_value_and_is_seeded():
    rng = np.random.default_rng(1)
    references = ["a b c d"] * 60
    hypotheses = ["a b c d" if rng.random() < 0.7 else "a b c x" for _ in references]
    first = metrics.score("wer", references, hypotheses)
    assert first.low < first.value < first.high
    assert first == metrics.score("wer", references, hypotheses)
    for overlap in ("bleu", "chrf"):
        score = metrics.score(overlap, references, hypotheses)
        assert score.low < score.value < score.high
        assert score == metrics.score(overlap, references, hypotheses)


def test_the_interval_has_the_width_that_theory_gives():
    references = ["a"] * 400
    hypotheses = ["a"] * 300 + ["b"] * 100
    score = metrics.score("wer", references, hypotheses)
    half = 1.96 * 100 * (0.25 * 0.75 / 400) ** 0.5
    assert score.high - score.low == pytest.approx(2 * half, rel=0.15)


def test_every_figure_says_what_made_it():
    assert "whisper-normalizer" in metrics.score("wer", ["a"], ["a"]).signature
    assert "tok:13a" in metrics.score("bleu", ["a b", "c"], ["a b", "c"]).signature
    assert "nc:6" in metrics.score("chrf", ["a b", "c"], ["a b", "c"]).signature


def test_bleu_is_the_corpus_score_of_the_library():
    from sacrebleu import corpus_bleu

    hypotheses = ["one two three five", "five six seven", "nine ten eleven twelve"]
    expected = corpus_bleu(hypotheses, [REFERENCES]).score
    assert metrics.score("bleu", REFERENCES, hypotheses).value == pytest.approx(expected)


CHINESE = "今天天气很好，所以我们决定带着孩子一起去公园散步"
UNSPACED = {
    "zh": CHINESE,
    "yue": "我哋今日去公園行下",
    "ja": "今日は天気がいいので公園へ散歩に行きます。",
    "th": "น้ำท่วมที่กรุงเทพฯ วันนี้อากาศดีมาก",
    "lo": "ມື້ນີ້ອາກາດດີຫຼາຍ",
    "km": "ថ្ងៃនេះអាកាសធាតុល្អណាស់",
    "my": "ဒီနေ့ရာသီဥတုသာယာတယ်",
    "bo": "དེ་རིང་གནམ་གཤིས་ཡག་པོ་འདུག",
}


@pytest.mark.parametrize(("language", "text"), UNSPACED.items())
def test_a_perfect_line_without_spaces_is_perfect(language, text):
    assert metrics.score("bleu", [text], [text], language=language).value == pytest.approx(100)
    assert metrics.score("cer", [text], [text], language=language).value == 0
    assert metrics.score("wer", [text], [text], language=language).value is None


@pytest.mark.parametrize(
    ("language", "tokenizer"),
    [
        ("zh", "zh"), ("zh-TW", "zh"), ("yue", "zh"), ("ja", "ja-mecab"), ("th", "char"),
        ("my", "char"), ("en", "13a"), ("ar", "13a"), (None, "13a"),
    ],
)  # fmt: skip
def test_bleu_cuts_each_language_as_it_is_written(language, tokenizer):
    found = metrics.score("bleu", ["a b c d"], ["a b c d"], language=language)
    assert f"|tok:{tokenizer}" in found.signature


def test_a_program_that_is_missing_is_replaced_and_named(monkeypatch):
    def missing(name):
        if name == "ja-mecab":
            raise RuntimeError("pip install sacrebleu[ja]")
        return original(name)

    original = bleu._get_tokenizer
    monkeypatch.setattr(bleu, "_get_tokenizer", missing)
    found = metrics.score("bleu", [UNSPACED["ja"]], [UNSPACED["ja"]], language="ja")
    assert "tok:char" in found.signature
    assert "(ja-mecab is not installed)" in found.signature
    assert found.value == pytest.approx(100)


def test_bleu_of_lines_too_short_for_four_grams_is_none():
    short = metrics.score("bleu", ["a b c", "d"], ["a b c", "d"])
    assert (short.value, str(short)) == (None, "-")
    assert metrics.score("bleu", ["今天好"], ["今天好"], language="zh").value is None
    # A hypothesis of four words cannot match a reference of three.
    assert metrics.score("bleu", ["a b c"], ["a b c d"]).value is None
    assert metrics.score("bleu", ["a b c", "a b c d"], ["", "x"]).value == 0
    mixed = metrics.score("bleu", [*["a b"] * 9, "a b c d"], [*["a b"] * 9, "a b c d"])
    # Resamples without the one line have no BLEU, and none of 0.
    assert (mixed.value, mixed.low, mixed.high) == pytest.approx((100, 100, 100))


def test_errors_are_characters_where_words_have_no_spaces():
    spoken, written = "今天 天气，很好", "今天天\u200b气很坏"
    found = metrics.score("cer", [spoken], [written], language="zh")
    assert (found.errors, found.units) == (1, 6)
    assert "spaces left out" in found.signature
    assert metrics.score("cer", ["a b"], ["ab"], language="en").errors == 1


@pytest.mark.parametrize(
    "text",
    [
        "हिन्दी में लिखना", "ภาษาไทย", "தமிழ்", "বাংলা ভাষা", "မြန်မာ", "ខ្មែរ", "ລາວ",
        "עִבְרִית", "Việt", "བོད་", "తెలుగు", "සිංහල", "ქართული", "አማርኛ",
    ],
)  # fmt: skip
def test_vowel_signs_and_marks_are_kept(text):
    """The normaliser's default makes a space of each."""
    words = text.replace("་", " ").split()
    kept = counting.normalized(text).split()
    assert [unicodedata.normalize("NFKC", word).lower() for word in words] == kept


def test_an_empty_line_beside_others_has_an_interval():
    """sacrebleu's own bootstrap of chrF mixed kinds of numbers here, a TypeError."""
    found = metrics.score("chrf", ["one two", "three four"], ["one two", ""])
    assert found.low < found.value < found.high


def test_speakers_are_resampled_before_their_utterances():
    """Two speakers, one of whom is never understood: nobody knows whom the next one is like."""
    references = ["a"] * 400
    hypotheses = ["a"] * 200 + ["b"] * 200
    apart = metrics.score("wer", references, hypotheses)
    groups = ["s"] * 200 + ["t"] * 200
    together = metrics.score("wer", references, hypotheses, groups=groups)
    assert apart.value == together.value == 50
    assert apart.high - apart.low < 11
    assert (together.low, together.high) == (0, 100)


def test_the_interval_of_speakers_has_the_width_that_theory_gives():
    """Variance of a mean of speakers' means, which is many times that of utterances."""
    rng = np.random.default_rng(3)
    rates = rng.uniform(0.1, 0.5, 50)
    wrong = [rng.random() < rate for rate in rates for _ in range(40)]
    groups = [speaker for speaker in range(50) for _ in range(40)]
    hypotheses = ["b" if bad else "a" for bad in wrong]
    found = metrics.score("wer", ["a"] * 2000, hypotheses, groups=groups)
    means = 100 * np.array(wrong).reshape(50, 40).mean(axis=1)
    within = (means / 100 * (1 - means / 100)).mean() / 40 / 50 * 1e4
    half = 1.96 * np.sqrt(means.var() / 50 + within)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.15)


def test_one_speaker_alone_gives_the_interval_of_utterances():
    references, hypotheses = ["a"] * 400, ["a"] * 300 + ["b"] * 100
    found = metrics.score("wer", references, hypotheses, groups=["s"] * 400)
    half = 1.96 * 100 * (0.25 * 0.75 / 400) ** 0.5
    assert found.high - found.low == pytest.approx(2 * half, rel=0.15)


def test_a_resample_draws_as_many_speakers_and_of_each_as_many_utterances():
    groups = ["a", "b", "a", "c", "a"]
    for drawn in resampled(groups, 50):
        of_each = Counter(dict.fromkeys(groups, 0))
        for group, times in zip(groups, drawn, strict=True):
            of_each[group] += int(times)
        assert of_each["a"] % 3 == 0
        assert of_each["a"] // 3 + of_each["b"] + of_each["c"] == 3


def test_of_references_without_a_letter_there_is_no_chrf():
    assert metrics.score("chrf", ["", " "], ["", ""], language="en").value is None
    assert str(metrics.score("chrf", [""], ["hello"], language="zh")) == "-"
    assert metrics.score("chrf", ["", "yes"], ["", "yes"], language="en").value == pytest.approx(
        100.0
    )
