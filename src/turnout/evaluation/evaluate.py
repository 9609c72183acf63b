"""Clips through a transcriber, in batches -> a report.

What the data say of language and bandwidth is never told to the model unless the caller does.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from turnout.audio.waveform import Waveform
from turnout.config import TranscriptionOptions, VocabularyConfig
from turnout.config.plain import to_plain
from turnout.config.transcription import TaskName
from turnout.corpora.clips import Clip, ClipReader
from turnout.errors import AudioError, GuidanceError, TurnoutError
from turnout.evaluation.references import (
    Reference,
    clips_of,
    passes_of,
    references_of,
    require_some,
)
from turnout.evaluation.report import Report
from turnout.evaluation.score_rows import ScoredText, score_rows
from turnout.guidance import Task
from turnout.text.transcript import Transcript
from turnout.transcription.transcriber import Transcriber


@dataclass(frozen=True)
class ClipPass:
    """A clip, and the texts that one pass of the model over it gives."""

    clip: Clip
    references: tuple[Reference, ...]
    """The transcript, a translation, or both, in this order."""

    @property
    def task(self) -> TaskName:
        """The task to ask for."""
        if len(self.references) == 2:
            return "both"
        return "translate" if self.references[0].task is Task.TRANSLATE else "transcribe"

    def target(self, vocabulary: VocabularyConfig) -> str | None:
        """The target language to name: None where the model knows but one.

        A target that is left out follows the language that is found, so that a language found
        wrong shows in the scores and not as a request that cannot be served.
        """
        last = self.references[-1]
        if last.task is Task.TRANSCRIBE or len(vocabulary.targets_of(self.clip.language)) == 1:
            return None
        return last.language


Result = tuple[ClipPass, Transcript | TurnoutError]


def evaluate(
    transcriber: Transcriber,
    sources: Sequence[Path],
    options: TranscriptionOptions,
    *,
    limit: int | None = None,
    watched: Callable[[Iterable[Result], int], Iterable[Result]] = lambda results, _: results,
) -> Report:
    """Score a model on data; the task of `options` says which references are used ('both' is all
    that there are).

    `watched` is handed the results and their number as they come, to show progress. Raises
    UsageError, ManifestError, GuidanceError.
    """
    model = transcriber.backend.config
    clips = clips_of(sources, limit)
    references = [
        references_of(clip, options.tasks, model, options.target_language) for clip in clips
    ]
    require_some(references, clips, model.vocabulary)
    passes = [
        ClipPass(clip, texts)
        for clip, found in zip(clips, references, strict=True)
        for texts in passes_of(found)
    ]
    texts: list[ScoredText] = []
    failed: list[str] = []
    for asked, result in watched(results_of(transcriber, passes, options), len(passes)):
        if isinstance(result, AudioError):
            failed.append(f"{asked.clip.id}: {result.reason}")
        else:
            texts += scored_texts(asked, result)
    return Report(
        model=transcriber.folder.path.name if transcriber.folder else "unnamed",
        data=tuple(str(source) for source in sources),
        options={"limit": limit, **to_plain(options)},
        rows=score_rows(texts),
        texts=tuple(texts),
        failed=tuple(failed),
        left_out=sum(not found for found in references),
    )


def results_of(
    transcriber: Transcriber, passes: Iterable[ClipPass], options: TranscriptionOptions
) -> Iterator[Result]:
    """What became of every pass, those of one kind together.

    Raises GuidanceError, UsageError.
    """
    vocabulary = transcriber.backend.config.vocabulary
    groups: dict[tuple[TaskName, str | None], list[ClipPass]] = {}
    for one in passes:
        groups.setdefault((one.task, one.target(vocabulary)), []).append(one)
    for (task, target), group in groups.items():
        asked = replace(options, task=task, target_language=target)
        # One for each channel: the sides of a call take turns.
        readers: defaultdict[int | None, ClipReader] = defaultdict(ClipReader)
        # A generator: a recording is read when its turn comes, not before.
        sources = (source_of(one.clip, readers[one.clip.channel]) for one in group)
        yield from zip(group, transcriber.transcribe_files(sources, asked), strict=True)


def scored_texts(asked: ClipPass, result: Transcript | TurnoutError) -> list[ScoredText]:
    """One for each reference; raises errors that no recording and no found language made."""
    clip, references = asked.clip, asked.references
    if isinstance(result, GuidanceError):
        # The model could not serve what it found (a language without a translation): its mistake.
        return [ScoredText.of(clip, reference, None) for reference in references]
    if isinstance(result, TurnoutError):
        raise result
    texts = (result.text, result.translation.text if result.translation else "")
    spoken = result.language if result.task is Task.TRANSCRIBE else None
    return [
        ScoredText.of(clip, reference, text, spoken, result.bandwidth)
        for reference, text in zip(references, texts, strict=False)
    ]


def source_of(clip: Clip, reader: ClipReader) -> Path | Waveform:
    """The clip's file where it is all of it, which the transcriber decodes; else its samples.

    The reader keeps a recording decoded while the clips that follow are of it, too.
    """
    if clip.whole and clip.channel is None:
        return Path(clip.path)
    try:
        recording = reader.recording(clip)
    except AudioError:
        return Path(clip.path)  # the transcriber says what is wrong with it
    # A copy: a view would keep the whole recording in memory until the clip is through. The rate
    # is the file's: it takes part in measuring the bandwidth.
    return Waveform(recording.samples[clip.place].copy(), recording.native_rate)
