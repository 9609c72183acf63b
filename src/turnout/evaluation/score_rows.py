"""Scored texts -> rows of figures by bandwidth, task and language.

`turnout evaluate` and the validations of a run both come through `score_rows`, so that they count
alike. Knows nothing of audio or models.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from turnout.corpora.clips import Clip
from turnout.evaluation.metrics import RESAMPLES, Score, score
from turnout.evaluation.references import Reference
from turnout.guidance import Bandwidth, Task


@dataclass(frozen=True, kw_only=True)
class ScoredText:
    """One text as it should be, and as it came out."""

    id: str
    task: Task
    bandwidth: Bandwidth
    """Stated by the data, or measured where they state none."""
    language: str
    """Spoken, as the data say."""
    target_language: str
    """Of the text: the spoken language where the task is to transcribe."""
    reference: str
    hypothesis: str
    seconds: float
    found_language: str | None
    """Spoken language that the model found, or was told; None where the transcript was not asked
    for, and where the model tells none."""
    found_bandwidth: Bandwidth
    """Measured, or told."""

    @classmethod
    def of(
        cls,
        clip: Clip,
        reference: Reference,
        hypothesis: str,
        found_language: str | None = None,
        found_bandwidth: Bandwidth | None = None,
    ) -> "ScoredText":
        """What was written for one reference of a clip; a bandwidth that was told is the clip's."""
        return cls(
            id=clip.id,
            task=reference.task,
            bandwidth=clip.bandwidth,
            language=clip.language,
            target_language=reference.language,
            reference=reference.text,
            hypothesis=hypothesis,
            seconds=clip.duration,
            found_language=found_language,
            found_bandwidth=found_bandwidth or clip.bandwidth,
        )


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """The scores of all texts of one bandwidth, task and language."""

    bandwidth: Bandwidth
    task: Task
    language: str
    target_language: str
    utterances: int
    hours: float
    language_found: float | None
    """Share of utterances whose spoken language was found right; None where it is not told."""
    bandwidth_found: float
    """Share of utterances whose bandwidth was found right."""
    wer: Score
    cer: Score
    bleu: Score
    chrf: Score

    @property
    def scores(self) -> tuple[Score, Score, Score, Score]:
        """WER, CER, BLEU, chrF."""
        return self.wer, self.cer, self.bleu, self.chrf


def score_rows(texts: Iterable[ScoredText], *, resamples: int = RESAMPLES) -> tuple[ScoreRow, ...]:
    """A row for each task, language, target language and bandwidth that occurs, sorted by these.

    `resamples` is the number of bootstrap samples of each interval.
    """
    groups: dict[tuple[str, str, str, str], list[ScoredText]] = {}
    for text in texts:
        key = (text.task, text.language, text.target_language, text.bandwidth)
        groups.setdefault(key, []).append(text)
    return tuple(_row(groups[key], resamples) for key in sorted(groups))


def _row(texts: Sequence[ScoredText], resamples: int) -> ScoreRow:
    first = texts[0]
    references = [text.reference for text in texts]
    hypotheses = [text.hypothesis for text in texts]
    told = any(text.found_language for text in texts)
    right = sum(text.found_language == text.language for text in texts) / len(texts)
    return ScoreRow(
        bandwidth=first.bandwidth,
        task=first.task,
        language=first.language,
        target_language=first.target_language,
        utterances=len(texts),
        hours=sum(text.seconds for text in texts) / 3600,
        language_found=right if told else None,
        bandwidth_found=sum(text.found_bandwidth == text.bandwidth for text in texts) / len(texts),
        wer=score("wer", references, hypotheses, resamples=resamples),
        cer=score("cer", references, hypotheses, resamples=resamples),
        bleu=score("bleu", references, hypotheses, resamples=resamples),
        chrf=score("chrf", references, hypotheses, resamples=resamples),
    )
