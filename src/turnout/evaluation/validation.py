"""Validation: the dev utterances through the decoding that everybody uses, scored as everywhere."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from turnout.backends.torch import TorchBackend
from turnout.config.plain import from_plain, to_plain
from turnout.data.common_clips import Gather
from turnout.decoding.decode import decode
from turnout.evaluation.dev_set import DevUtterance
from turnout.evaluation.score_rows import ScoredText, ScoreRow, score_rows
from turnout.guidance import Task
from turnout.model.speech_model import SpeechModel
from turnout.text.tokenizer import Tokenizer

BATCH_FRAMES = 20_000
"""Padded frames of a batch: memory is that of an ordinary training batch, whatever the lengths."""


@dataclass(frozen=True)
class Validation:
    """What a validation found."""

    score: float | None
    """Mean error rate of the rows, in percent: WER, and CER of texts without spaces between words;
    None where there is nothing to validate on."""
    rows: tuple[ScoreRow, ...]

    @classmethod
    def of(cls, texts: Iterable[ScoredText]) -> "Validation":
        """Rows without intervals, whose figures do not depend on the order of the texts."""
        # By the language of the text alone: a hundred languages translated into one are one row,
        # and not half of the mean.
        pooled = (replace(text, language=text.target_language) for text in texts)
        rows = score_rows(pooled, resamples=0)
        # The order of a run's logs; the last bits of the mean follow from it.
        rows = tuple(sorted(rows, key=lambda row: (row.bandwidth, row.task, row.language)))
        rates = [row.error_rate.value for row in rows if row.error_rate.value is not None]
        return cls(sum(rates) / len(rates) if rates else None, rows)

    def to_plain(self) -> list[dict[str, Any]]:
        """The rows as a run's log and its model's card have them."""
        return [
            {
                "bandwidth": str(row.bandwidth),
                "task": str(row.task),
                "language": row.language,
                "wer": row.wer.value,
                # Of texts without spaces between words alone, where it stands in WER's place.
                "cer": row.cer.value if row.error_rate is row.cer else None,
                "bleu": row.bleu.value if row.task is Task.TRANSLATE else None,
                "utterances": row.utterances,
                "words": None if row.wer.value is None else row.wer.units,
            }
            for row in self.rows
        ]


def rate_of(row: Mapping[str, Any]) -> float:
    """The error rate that counts, of a row of `Validation.to_plain`."""
    return row["cer"] if row["wer"] is None else row["wer"]


def rate_name(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the mean of their error rates is called."""
    names = {"CER" if row["wer"] is None else "WER" for row in rows}
    return "error rate" if len(names) > 1 else (names or {"WER"}).pop()


def average_key(rows: Sequence[Mapping[str, Any]]) -> str:
    """The mean's name in logs and cards: 'average_wer', 'average_cer', 'average_error_rate'."""
    return f"average_{rate_name(rows).lower().replace(' ', '_')}"


def validate(
    utterances: Sequence[DevUtterance],
    tokenizer: Tokenizer,
    gather: Gather,
    model: SpeechModel,
    cancelled: Callable[[], bool],
) -> Validation | None:
    """The scores, the same on every rank; None where any rank was told to stop.

    `utterances` are this rank's share of the dev set; `gather` gives it what the others found.
    """
    backend = TorchBackend(model, next(model.parameters()).device)
    texts: list[ScoredText] = []
    for batch in batches_of(utterances):
        if cancelled():
            break
        answers = decode(backend, tokenizer, [item.utterance for item in batch])
        for item, answer in zip(batch, answers, strict=True):
            for reference, written in zip(item.references, answer.hypotheses, strict=True):
                told = item.utterance.request.bandwidth
                texts.append(ScoredText.of(item.clip, reference, written.text, None, told))
    # A rank that was told to stop says so in place of its texts: the others wait for its word.
    told = gather(json.dumps(None if cancelled() else to_plain(texts)))
    found = [json.loads(text) for text in told]
    if None in found:
        return None
    return Validation.of(from_plain(ScoredText, text) for texts in found for text in texts)


def batches_of(utterances: Sequence[DevUtterance]) -> list[list[DevUtterance]]:
    """Batches of like lengths, of a bounded number of padded frames."""
    batches: list[list[DevUtterance]] = []
    for item in sorted(utterances, key=lambda item: len(item.utterance.log_mel)):
        frames = len(item.utterance.log_mel)
        if not batches or frames * (len(batches[-1]) + 1) > BATCH_FRAMES:
            batches.append([])
        batches[-1].append(item)
    return batches
