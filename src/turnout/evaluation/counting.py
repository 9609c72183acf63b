"""Texts of one language -> what each metric counts in every one of them, and the figure of a sum.

Counts, since those of any resample are sums of them. Knows nothing of intervals.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import jiwer
import numpy as np
from sacrebleu.metrics.bleu import BLEU, MAX_NGRAM_ORDER
from sacrebleu.metrics.chrf import CHRF
from whisper_normalizer.basic import BasicTextNormalizer

from turnout.evaluation.intervals import Figures
from turnout.text.spacing import spaced

Metric = Literal["wer", "cer", "bleu", "chrf"]
# Its default turns every combining mark into a space, which cuts vocalised Arabic to letters.
NORMALIZER = BasicTextNormalizer(preserve_marks=True)
TOKENIZERS = {
    "zh": "zh", "zho": "zh", "chi": "zh", "cmn": "zh", "yue": "zh",
    "ja": "ja-mecab", "jpn": "ja-mecab",
    "ko": "ko-mecab", "kor": "ko-mecab",
}  # fmt: skip
"""sacrebleu's, of languages that have one of their own."""
ERRORS, LENGTH = 0, 1
"""Columns of counts: of error rates alone, and of every metric."""


@dataclass(frozen=True)
class Counted:
    """What one metric counts in a list of texts."""

    counts: Figures
    """[texts, counts]; the second is the reference's length in the metric's own units."""
    figure: Callable[[Figures], float | None]
    """A sum of counts -> percent; None where they are of no text that the metric can count."""
    signature: str
    """Normaliser and versions, or sacrebleu's signature."""


def counted(
    metric: Metric, references: Sequence[str], hypotheses: Sequence[str], language: str | None
) -> Counted:
    """The counts of a metric; `language` is that of the texts."""
    if not references:
        return Counted(np.zeros((0, 2)), lambda _: None, "not counted: no texts")
    match metric:
        case "wer" if not spaced(language):
            zeros = np.zeros((len(references), 2))
            return Counted(zeros, lambda _: None, "not counted: no spaces between words")
        case "wer" | "cer":
            return _errors(metric, references, hypotheses, language)
        case "bleu":
            return _bleu(references, hypotheses, language)
        case "chrf":
            return _chrf(references, hypotheses)


def normalized(text: str, language: str | None = None) -> str:
    """The text as word and character errors compare it: Whisper's basic normaliser, marks kept.

    Where a language puts no space between words, those that there are (where a point was, between
    sentences, of no width) are a matter of taste, and left out.
    """
    words = NORMALIZER(text).split()
    if spaced(language):
        return " ".join(words)
    return "".join(sign for sign in "".join(words) if unicodedata.category(sign) != "Cf")


def _errors(
    metric: Metric, references: Sequence[str], hypotheses: Sequence[str], language: str | None
) -> Counted:
    align = jiwer.process_words if metric == "wer" else jiwer.process_characters
    expected, written = (
        [normalized(text, language) for text in side] for side in (references, hypotheses)
    )
    output = align(expected, written)
    # The longer side counts: of an insertion or a deletion the other is empty.
    counts = [
        (
            sum(
                max(part.ref_end_idx - part.ref_start_idx, part.hyp_end_idx - part.hyp_start_idx)
                for part in parts
                if part.type != "equal"
            ),
            len(reference),
        )
        for parts, reference in zip(output.alignments, output.references, strict=True)
    ]
    kept = "marks kept" if spaced(language) else "marks kept, spaces left out"
    signature = (
        f"whisper-normalizer {version('whisper-normalizer')} basic, {kept}; "
        f"jiwer {version('jiwer')}"
    )
    return Counted(np.array(counts, dtype=np.float64), error_rate, signature)


def error_rate(total: Figures) -> float:
    """Errors per 100 reference units; per inserted one where the references are empty."""
    return 100.0 * float(total[ERRORS]) / max(float(total[LENGTH]), 1.0)


def _bleu(references: Sequence[str], hypotheses: Sequence[str], language: str | None) -> Counted:
    metric, note = bleu_of(language)
    counts = _sacrebleu_counts(metric, references, hypotheses)
    # Without a four-gram in the references, the best hypothesis has a BLEU of 0: it has none.
    four_grams = np.maximum(counts[:, LENGTH] - (MAX_NGRAM_ORDER - 1), 0.0)

    def figure(total: Figures) -> float | None:
        if total[-1] == 0:
            return None
        return float(metric._compute_score_from_stats(total[:-1].tolist()).score)

    signature = f"{metric.get_signature()}{note}"
    return Counted(np.column_stack((counts, four_grams)), figure, signature)


def bleu_of(language: str | None) -> tuple[BLEU, str]:
    """BLEU with the tokenizer of a language, and what is to be said of it.

    Single characters are the tokens where words have no spaces between them and sacrebleu does not
    cut them, and where the program that it cuts them with is not installed.
    """
    code = (language or "").lower().replace("_", "-").split("-")[0]
    wanted = TOKENIZERS.get(code) or ("13a" if spaced(language) else "char")
    # `force` silences a hint about tokenised input: spoken words without points trigger it.
    try:
        return BLEU(force=True, tokenize=wanted), ""
    except RuntimeError:  # MeCab is not there
        return BLEU(force=True, tokenize="char"), f" ({wanted} is not installed)"


def _chrf(references: Sequence[str], hypotheses: Sequence[str]) -> Counted:
    metric = CHRF()

    def figure(total: Figures) -> float | None:
        if total[LENGTH] == 0:  # a hypothesis as empty would have 0, as one that is wrong
            return None
        return float(metric._compute_score_from_stats(total.tolist()).score)

    counts = _sacrebleu_counts(metric, references, hypotheses)
    return Counted(counts, figure, str(metric.get_signature()))


def _sacrebleu_counts(
    metric: BLEU | CHRF, references: Sequence[str], hypotheses: Sequence[str]
) -> Figures:
    """[texts, counts] of the metric's own, resampled here since its bootstrap knows no speakers."""
    return np.array(
        metric._extract_corpus_statistics(list(hypotheses), [list(references)]), dtype=np.float64
    )
