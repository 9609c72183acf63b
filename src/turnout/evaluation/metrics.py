"""WER, CER, BLEU and chrF of a list of texts of one language, each with a bootstrap interval.

Word and character errors are counted on normalised text, BLEU and chrF on the text as it is.
What a figure was made with stands beside it (`signature`). Knows nothing of models or audio.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from turnout.evaluation.counting import ERRORS, LENGTH, Metric, counted
from turnout.evaluation.intervals import RESAMPLES, interval


@dataclass(frozen=True, kw_only=True)
class Score:
    """One figure of one list of utterances, in percent, with its 95 % interval."""

    metric: Metric
    value: float | None
    """WER and CER: errors per 100 reference units, may exceed 100, lower is better. BLEU and
    chrF: 0 to 100, higher is better. None for what cannot be counted: words where no spaces stand
    between them, BLEU where no reference is long enough for a four-gram, chrF where none has a
    letter, nothing at all."""
    low: float | None
    high: float | None
    utterances: int
    units: int
    """Reference words (WER), tokens (BLEU) or characters (CER, chrF)."""
    errors: int | None
    """Substitutions, deletions and insertions; None for BLEU and chrF."""
    signature: str
    """Normaliser and versions, or sacrebleu's signature."""

    def __str__(self) -> str:
        """The value with its interval, as '3.1 [2.4, 3.9]'; '-' where there is none."""
        if self.value is None:
            return "-"
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


def score(
    metric: Metric,
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    language: str | None = None,
    groups: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
) -> Score:
    """Word errors; character errors, spaces between words included; corpus BLEU; corpus chrF2.

    `language` is that of the texts: whether it puts spaces between words, and how BLEU cuts it.
    Where no reference has a word, error rates are 100 for each inserted one. `groups` (whose each
    utterance is) and `resamples` are for the interval; without resamples it is the value.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    found = counted(metric, references, hypotheses, language)
    total = found.counts.sum(axis=0)
    value = found.figure(total)
    ends = None
    if value is not None and resamples:
        ends = interval(found.counts, found.figure, groups, resamples)
    low, high = ends or (value, value)
    return Score(
        metric=metric,
        value=value,
        low=low,
        high=high,
        utterances=len(references),
        units=int(total[LENGTH]),
        errors=int(total[ERRORS]) if value is not None and metric in ("wer", "cer") else None,
        signature=found.signature,
    )
