"""What a validation says: WER and BLEU per bandwidth, task and language, and one number."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from turnout.evaluation.scores import bleu, word_errors
from turnout.guidance import Task


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One bandwidth, task and language of the text."""

    bandwidth: str
    task: str
    language: str
    wer: float
    bleu: float | None
    """Of translations only."""
    utterances: int
    words: int


@dataclass(frozen=True)
class Validation:
    """What a validation found."""

    score: float | None
    """Mean WER of the rows, in percent; None where there is nothing to validate on."""
    rows: tuple[ScoreRow, ...]


@dataclass(frozen=True)
class Pair:
    """One text as it should be and as it came out."""

    bandwidth: str
    task: str
    language: str
    reference: str
    hypothesis: str


def score(pairs: Sequence[Pair]) -> Validation:
    """WER of every row, BLEU of translations, and the mean WER."""
    groups: dict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.bandwidth, pair.task, pair.language].append(pair)
    rows = tuple(score_row(key, group) for key, group in sorted(groups.items()))
    mean = sum(row.wer for row in rows) / len(rows) if rows else None
    return Validation(mean, rows)


def score_row(key: tuple[str, str, str], pairs: Sequence[Pair]) -> ScoreRow:
    """One row of the table."""
    # In an order that does not depend on the number of ranks.
    ordered = sorted(pairs, key=lambda pair: (pair.reference, pair.hypothesis))
    references = [pair.reference for pair in ordered]
    hypotheses = [pair.hypothesis for pair in ordered]
    errors = word_errors(references, hypotheses, resamples=0)
    translated = key[1] == Task.TRANSLATE.value
    return ScoreRow(
        bandwidth=key[0],
        task=key[1],
        language=key[2],
        wer=errors.value,
        bleu=bleu(references, hypotheses, resamples=0).value if translated else None,
        utterances=len(pairs),
        words=errors.units,
    )
