"""Clips through a transcriber, in batches -> one outcome for each text that was wanted.

What the data say of language and bandwidth is never told to the model unless the caller does.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import soundfile
import soxr

from turnout.audio.features import SAMPLE_RATE
from turnout.audio.waveform import Waveform, read_audio
from turnout.config import TranscriptionOptions, VocabularyConfig
from turnout.config.plain import to_plain
from turnout.config.transcription import TaskName
from turnout.corpora.clips import Clip
from turnout.errors import AudioError, TurnoutError
from turnout.evaluation.references import Wanted, clips_of, require_some, wanted_of
from turnout.evaluation.report import Outcome, Report, rows_of
from turnout.guidance import Task
from turnout.text.transcript import Transcript
from turnout.transcription.transcriber import Transcriber

WHOLE = 0.02
"""Seconds by which a clip may be shorter than its file and still be all of it."""


@dataclass(frozen=True)
class Job:
    """A clip, and the texts that one pass over it gives."""

    clip: Clip
    wanted: tuple[Wanted, ...]
    """The transcript, a translation, or both, in this order."""

    @property
    def task(self) -> TaskName:
        """The task to ask for."""
        if len(self.wanted) == 2:
            return "both"
        return "translate" if self.wanted[0].task is Task.TRANSLATE else "transcribe"

    def target(self, vocabulary: VocabularyConfig) -> str | None:
        """The target language to name: None where the model knows but one.

        A target that is left out follows the language that is found, so that a language found
        wrong shows in the scores and not as a request that cannot be served.
        """
        wanted = self.wanted[-1]
        if wanted.task is Task.TRANSCRIBE or len(vocabulary.targets_of(self.clip.language)) == 1:
            return None
        return wanted.target_language


@dataclass(frozen=True)
class Answered:
    """What became of one job."""

    outcomes: tuple[Outcome, ...]
    failure: str | None = None
    """One line, where the recording could not be taken; it has no outcome then."""


def jobs_of(clips: Sequence[Clip], wanted: Sequence[tuple[Wanted, ...]]) -> list[Job]:
    """One pass for a transcript and one translation; one more for each further translation."""
    jobs: list[Job] = []
    for clip, texts in zip(clips, wanted, strict=True):
        transcripts = [text for text in texts if text.task is Task.TRANSCRIBE]
        translations = [text for text in texts if text.task is Task.TRANSLATE]
        if transcripts or translations:
            jobs.append(Job(clip, (*transcripts, *translations[:1])))
        jobs += [Job(clip, (text,)) for text in translations[1:]]
    return jobs


def answer(
    transcriber: Transcriber, jobs: Sequence[Job], options: TranscriptionOptions
) -> Iterator[Answered]:
    """The outcomes of all jobs, those of one kind together.

    Raises GuidanceError, UsageError.
    """
    groups: dict[tuple[TaskName, str | None], list[Job]] = {}
    for job in jobs:
        target = job.target(transcriber.backend.config.vocabulary)
        groups.setdefault((job.task, target), []).append(job)
    for (task, target), group in groups.items():
        # A generator: a recording is read when its turn comes, not before.
        sources = (_source(job.clip) for job in group)
        asked = replace(options, task=task, target_language=target)
        results = transcriber.transcribe_files(sources, asked)
        for job, result in zip(group, results, strict=True):
            yield _answered(job, result)


def _answered(job: Job, result: Transcript | TurnoutError) -> Answered:
    if isinstance(result, AudioError):
        return Answered((), f"{job.clip.id}: {result.reason}")
    if isinstance(result, TurnoutError):
        # The model could not serve what it found (a language without a translation): its mistake.
        return Answered(tuple(_outcome(job, text, "", None) for text in job.wanted))
    texts = (result.text, result.translation.text if result.translation else "")
    return Answered(
        tuple(
            _outcome(job, wanted, text, result)
            for wanted, text in zip(job.wanted, texts, strict=False)
        )
    )


def _outcome(job: Job, wanted: Wanted, hypothesis: str, result: Transcript | None) -> Outcome:
    spoken = result.language if result and result.task is Task.TRANSCRIBE else None
    return Outcome(
        id=job.clip.id,
        task=wanted.task,
        bandwidth=job.clip.bandwidth,
        language=job.clip.language,
        target_language=wanted.target_language,
        reference=wanted.reference,
        hypothesis=hypothesis,
        seconds=job.clip.duration,
        found_language=spoken,
        found_bandwidth=result.bandwidth if result else job.clip.bandwidth,
    )


def _source(clip: Clip) -> Path | bytes:
    """The clip's file where it is all of it, else its stretch as a WAV of the native rate."""
    try:
        heard = read_audio(clip.path, channel=clip.channel)
    except AudioError:
        return Path(clip.path)  # the transcriber says what is wrong with it
    seconds = len(heard.samples) / SAMPLE_RATE
    if clip.channel is None and clip.start < WHOLE and seconds - clip.duration < WHOLE:
        return Path(clip.path)
    return _stretch(clip, heard)


def _stretch(clip: Clip, heard: Waveform) -> bytes:
    first = round(clip.start * SAMPLE_RATE)
    samples = heard.samples[first : first + max(round(clip.duration * SAMPLE_RATE), 1)]
    # Telephone rates stay what they are: the rate takes part in measuring the bandwidth.
    rate = min(heard.native_rate, SAMPLE_RATE)
    if rate < SAMPLE_RATE:
        samples = soxr.resample(samples, SAMPLE_RATE, rate)
    out = BytesIO()
    soundfile.write(out, samples, rate, format="WAV", subtype="FLOAT")
    return out.getvalue()


def evaluate(
    transcriber: Transcriber,
    sources: Sequence[Path],
    options: TranscriptionOptions,
    *,
    limit: int | None = None,
    watched: Callable[[Iterable[Answered], int], Iterable[Answered]] = lambda items, _: items,
) -> Report:
    """Score a model on data; the task of `options` says which references are used ('both' is all
    that there are).

    `watched` is handed the answers and their number as they come, to show progress. Raises
    UsageError, ManifestError, GuidanceError.
    """
    config = transcriber.backend.config
    vocabulary = config.vocabulary
    clips = clips_of(sources, limit)
    tasks = options.tasks
    if config.decoder.num_layers == 0:
        tasks = tuple(task for task in tasks if task is Task.TRANSCRIBE)
    wanted = [wanted_of(clip, tasks, vocabulary, options.target_language) for clip in clips]
    require_some(wanted, clips, vocabulary)
    jobs = jobs_of(clips, wanted)
    answers = list(watched(answer(transcriber, jobs, options), len(jobs)))
    outcomes = tuple(outcome for found in answers for outcome in found.outcomes)
    return Report(
        model=transcriber.folder.path.name if transcriber.folder else "unnamed",
        data=tuple(str(source) for source in sources),
        options={"limit": limit, **to_plain(options)},
        rows=rows_of(outcomes),
        outcomes=outcomes,
        failed=tuple(found.failure for found in answers if found.failure),
        left_out=sum(not texts for texts in wanted),
    )
