"""WER, CER, BLEU and chrF of a list of texts, each with a bootstrap interval over utterances.

Word and character errors are counted on normalised text, BLEU and chrF on the text as it is.
What a figure was made with stands beside it (`signature`). Knows nothing of models or audio.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import jiwer
import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from whisper_normalizer.basic import BasicTextNormalizer

Metric = Literal["wer", "cer", "bleu", "chrf"]
RESAMPLES = 1000
SEED = 0
"""Of the intervals of error rates: the same texts always have the same."""
# Its default turns every combining mark into a space, which cuts vocalised Arabic to letters.
NORMALIZER = BasicTextNormalizer(preserve_marks=True)


@dataclass(frozen=True, kw_only=True)
class Score:
    """One figure of one list of utterances, in percent, with its 95 % interval."""

    metric: Metric
    value: float
    """WER and CER: errors per 100 reference units, may exceed 100, lower is better. BLEU and
    chrF: 0 to 100, higher is better."""
    low: float
    high: float
    utterances: int
    units: int
    """Reference words (WER, BLEU) or characters (CER, chrF)."""
    errors: int | None
    """Substitutions, deletions and insertions; None for BLEU and chrF."""
    signature: str
    """Normaliser and versions, or sacrebleu's signature."""

    def __str__(self) -> str:
        """The value with its interval, as '3.1 [2.4, 3.9]'."""
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


def normalized(text: str) -> str:
    """The text as word and character errors compare it: Whisper's basic normaliser, marks kept."""
    return " ".join(NORMALIZER(text).split())


def score(
    metric: Metric,
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    resamples: int = RESAMPLES,
) -> Score:
    """Word errors; character errors, spaces between words included; corpus BLEU; corpus chrF2.

    Where no reference has a word, 100 for each inserted one. `resamples` is the number of bootstrap
    samples (0 leaves the interval at the value); sacrebleu's, of BLEU and chrF2, is seeded by
    itself (see the signature).
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    match metric:
        case "wer":
            return _error_score(metric, jiwer.process_words, references, hypotheses, resamples)
        case "cer":
            return _error_score(metric, jiwer.process_characters, references, hypotheses, resamples)
        case "bleu":
            # `force` silences a hint about tokenised input: spoken words without points trigger it.
            return _overlap_score(metric, BLEU(force=True), references, hypotheses, resamples)
        case "chrf":
            return _overlap_score(metric, CHRF(), references, hypotheses, resamples)


def _error_score(
    metric: Metric,
    align: Callable[[list[str], list[str]], jiwer.WordOutput | jiwer.CharacterOutput],
    references: Sequence[str],
    hypotheses: Sequence[str],
    resamples: int,
) -> Score:
    texts = ([normalized(text) for text in side] for side in (references, hypotheses))
    errors = units = np.zeros(0, dtype=np.int64)
    if references:  # jiwer takes no empty list
        errors, units = _errors_and_units(align(*texts))
    value = _rate(errors.sum(), units.sum())
    low, high = _interval(errors, units, resamples) if resamples and len(units) else (value, value)
    return Score(
        metric=metric,
        value=value,
        low=low,
        high=high,
        utterances=len(units),
        units=int(units.sum()),
        errors=int(errors.sum()),
        signature=f"whisper-normalizer {version('whisper-normalizer')} basic, marks kept; "
        f"jiwer {version('jiwer')}",
    )


def _errors_and_units(
    output: jiwer.WordOutput | jiwer.CharacterOutput,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Errors and reference units of each utterance."""
    # The longer side counts: of an insertion or a deletion the other is empty.
    errors = [
        sum(
            max(part.ref_end_idx - part.ref_start_idx, part.hyp_end_idx - part.hyp_start_idx)
            for part in parts
            if part.type != "equal"
        )
        for parts in output.alignments
    ]
    units = [len(reference) for reference in output.references]
    return np.array(errors, dtype=np.int64), np.array(units, dtype=np.int64)


def _rate(errors: float, units: float) -> float:
    return 100.0 * float(errors) / max(float(units), 1.0)


def _interval(
    errors: NDArray[np.int64], units: NDArray[np.int64], resamples: int
) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles of the rate over utterances drawn with replacement."""
    rng = np.random.default_rng(SEED)
    draws = (rng.integers(len(units), size=len(units)) for _ in range(resamples))
    rates = [_rate(errors[drawn].sum(), units[drawn].sum()) for drawn in draws]
    low, high = np.percentile(rates, (2.5, 97.5))
    return float(low), float(high)


def _overlap_score(
    name: Metric,
    metric: BLEU | CHRF,
    references: Sequence[str],
    hypotheses: Sequence[str],
    resamples: int,
) -> Score:
    value, low, high = 0.0, 0.0, 0.0
    signature = f"sacrebleu {version('sacrebleu')}"
    if references:
        # One utterance has nothing to resample; sacrebleu asks for two.
        times = resamples if len(references) > 1 and resamples > 1 else 1
        result = metric.corpus_score(list(hypotheses), [list(references)], n_bootstrap=times)
        signature = str(metric.get_signature())
        value = float(result.score)
        found = json.loads(result.format(width=6, is_json=True, signature=signature))
        spread = float(found.get("confidence_var", 0.0))
        middle = float(found.get("confidence_mean", value))
        low, high = max(0.0, middle - spread), min(100.0, middle + spread)
    words = name == "bleu"
    return Score(
        metric=name,
        value=value,
        low=low,
        high=high,
        utterances=len(references),
        units=sum(len(text.split() if words else text.replace(" ", "")) for text in references),
        errors=None,
        signature=signature,
    )
