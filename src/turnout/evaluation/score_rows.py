"""Scored texts -> rows of figures by bandwidth, task and language.

`turnout evaluate` and the validations of a run both come through `score_rows`, so that they count
alike. Knows nothing of audio or models.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from turnout.corpora.clips import Clip
from turnout.evaluation.counting import Metric
from turnout.evaluation.intervals import FEWEST_GROUPS, RESAMPLES
from turnout.evaluation.metrics import Score, score
from turnout.evaluation.references import Reference
from turnout.guidance import Bandwidth, Task
from turnout.text.spacing import spaced


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
    speaker: str | None
    """None where the data state none."""
    recording: str
    """The file that the utterance is of."""
    found_language: str | None = None
    """Spoken language that the model found, or was told; None where the transcript was not asked
    for, and where the model tells none."""
    found_bandwidth: Bandwidth | None = None
    """Measured, or told."""
    served: bool = True
    """Whether there was an answer: none is a mistake of the model's, in whatever is counted."""

    @classmethod
    def of(
        cls,
        clip: Clip,
        reference: Reference,
        hypothesis: str | None,
        found_language: str | None = None,
        found_bandwidth: Bandwidth | None = None,
    ) -> "ScoredText":
        """What was written for one reference of a clip; None where the model had no answer."""
        return cls(
            id=clip.id,
            task=reference.task,
            bandwidth=clip.bandwidth,
            language=clip.language,
            target_language=reference.language,
            reference=reference.text,
            hypothesis=hypothesis or "",
            seconds=clip.duration,
            speaker=clip.speaker,
            recording=clip.path,
            found_language=found_language,
            found_bandwidth=found_bandwidth,
            served=hypothesis is not None,
        )

    @property
    def group(self) -> tuple[str, str]:
        """Those that are alike: of one speaker, or else of one recording."""
        if self.speaker is None:
            return "recording", self.recording
        return "speaker", self.speaker


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """The scores of all texts of one bandwidth, task and language."""

    bandwidth: Bandwidth
    task: Task
    language: str
    target_language: str
    utterances: int
    hours: float
    speakers: int
    """Those that the data state."""
    unstated: int
    """Recordings whose speaker the data do not state: each stands for one."""
    few_speakers: bool
    """Whether these are so few that the intervals say little of other speakers."""
    language_found: float | None
    """Share of utterances whose spoken language was found right; None where it is not told. Where
    there was no answer, nothing was found."""
    bandwidth_found: float
    """Share of utterances whose bandwidth was found right; of no answer as above."""
    wer: Score
    cer: Score
    bleu: Score
    chrf: Score

    @property
    def scores(self) -> tuple[Score, Score, Score, Score]:
        """WER, CER, BLEU, chrF."""
        return self.wer, self.cer, self.bleu, self.chrf

    @property
    def error_rate(self) -> Score:
        """What counts: words, or characters where no spaces stand between words."""
        return self.wer if spaced(self.target_language) else self.cer


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
    groups = [text.group for text in texts]
    kinds = [kind for kind, _ in set(groups)]

    def scored(metric: Metric) -> Score:
        return score(
            metric,
            [text.reference for text in texts],
            [text.hypothesis for text in texts],
            language=first.target_language,
            groups=groups,
            resamples=resamples,
        )

    return ScoreRow(
        bandwidth=first.bandwidth,
        task=first.task,
        language=first.language,
        target_language=first.target_language,
        utterances=len(texts),
        hours=sum(text.seconds for text in texts) / 3600,
        speakers=kinds.count("speaker"),
        unstated=kinds.count("recording"),
        few_speakers=len(kinds) < FEWEST_GROUPS,
        language_found=_language_found(texts),
        bandwidth_found=sum(text.found_bandwidth == text.bandwidth for text in texts) / len(texts),
        wer=scored("wer"),
        cer=scored("cer"),
        bleu=scored("bleu"),
        chrf=scored("chrf"),
    )


def _language_found(texts: Sequence[ScoredText]) -> float | None:
    served = [text for text in texts if text.served]
    told = any(text.found_language for text in served)
    # No transcript was asked for, or the model does not tell what it hears.
    if served and not told:
        return None
    return sum(text.found_language == text.language for text in texts) / len(texts)
