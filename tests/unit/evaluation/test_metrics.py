from typing import get_args

import numpy as np
import pytest

from turnout.evaluation import metrics

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
    assert metrics.normalized("مُحَمَّد،  هنا") == "مُحَمَّد هنا"
    assert metrics.score("wer", ["مُحَمَّد هنا"], ["مُحَمَّد هنا"]).units == 2


def test_empty_hypotheses_are_all_deletions():
    assert metrics.score("wer", ["a b", "c d"], ["", ""]).value == 100
    assert metrics.score("bleu", ["a b", "c d"], ["", ""]).value == 0
    assert metrics.score("chrf", ["a b", "c d"], ["", ""]).value == 0


def test_empty_references_count_what_was_invented():
    quiet = metrics.score("wer", ["", ""], ["", ""])
    noisy = metrics.score("wer", ["", ""], ["a", "b c"])
    assert (quiet.value, quiet.errors) == (0, 0)
    assert (noisy.value, noisy.errors, noisy.units) == (300, 3, 0)


def test_nothing_to_score_is_no_crash():
    for metric in get_args(metrics.Metric):
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
