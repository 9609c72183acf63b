"""Clips through a transcriber, in batches -> a report.

What the data say of language and bandwidth is never told to the model unless the caller does; their
domain, which nobody can hear, is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from turnout.audio.waveform import Waveform
from turnout.config import ModelConfig, TranscriptionOptions, VocabularyConfig
from turnout.config.plain import to_plain
from turnout.config.transcription import AUTO, TaskName
from turnout.corpora.clips import Clip, check_length
from turnout.decoding.requests import Request, check_translation
from turnout.decoding.wishes import spelled
from turnout.errors import AudioError, GuidanceError, TurnoutError
from turnout.evaluation.alteration import Alteration
from turnout.evaluation.references import (
    Data,
    Reference,
    passes_of,
    read_data,
    references_of,
    require_some,
)
from turnout.evaluation.report import Report
from turnout.evaluation.score_rows import ScoredText, score_rows
from turnout.evaluation.sources import HELD_SECONDS, ClipSource, channel_of, sources_of
from turnout.guidance import Guide, Task
from turnout.model_folder import called
from turnout.shards.address import shown_address
from turnout.shards.origins import ShardClip
from turnout.text.transcript import Transcript
from turnout.transcription.transcriber import Transcriber


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a pass, in plain values."""

    texts: tuple[ScoredText, ...] = ()
    """One for each reference."""
    failed: str | None = None
    """Why there are none."""
    warnings: tuple[str, ...] = ()
    """On the recording."""


Scored = tuple[ClipPass, Outcome]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Data that a model is to be scored on, read and ready to be heard, wherever that is done."""

    transcriber: Transcriber
    sources: Sequence[Path | str]
    options: TranscriptionOptions
    """With languages as the model spells them."""
    limit: int | None
    alteration: Alteration | None
    data: Data
    passes: Sequence[ClipPass]
    left_out: int
    """Clips without a text that the model could write."""
    warnings: Sequence[str]

    @classmethod
    def of(
        cls,
        transcriber: Transcriber,
        sources: Sequence[Path | str],
        options: TranscriptionOptions,
        limit: int | None = None,
        alteration: Alteration | None = None,
    ) -> "Evaluation":
        """Read the data; raises as `evaluate` does."""
        model = transcriber.backend.config
        options = options_of_data(options, model)
        data = read_data(sources, limit, options)
        clips = data.clips if alteration is None else [alteration.clip(one) for one in data.clips]
        references = [
            references_of(clip, options.tasks, model, options.target_language) for clip in clips
        ]
        require_some(references, clips, model.vocabulary)
        passes = [
            ClipPass(clip, texts)
            for clip, found in zip(clips, references, strict=True)
            for texts in passes_of(found)
        ]
        return cls(
            transcriber=transcriber,
            sources=sources,
            options=options,
            limit=limit,
            alteration=alteration,
            data=data,
            passes=passes,
            left_out=sum(not found for found in references),
            warnings=tuple(unknown_domains(clips, options, model)),
        )

    def outcomes(self) -> Iterator[Scored]:
        """What becomes of every pass, heard here. Raises GuidanceError, UsageError."""
        for unit in units_of(self.passes):
            yield from outcomes_of(self.transcriber, unit, self.options, self.alteration)

    def report(self, outcomes: Iterable[Scored]) -> Report:
        """The scores of what was heard, in whatever order that comes."""
        found = dict(outcomes)
        # In the order of the data, not of the decoding; each line is told once.
        kept = [found[asked] for asked in self.passes]
        heard = (
            f"{asked.clip.path}: {line}"
            for asked, one in zip(self.passes, kept, strict=True)
            for line in one.warnings
        )
        warnings = dict.fromkeys((*self.data.notes, *self.warnings, *heard))
        failed = dict.fromkeys((*self.data.skipped, *(one.failed for one in kept if one.failed)))
        texts = tuple(text for one in kept for text in one.texts)
        model = self.transcriber
        return Report(
            model=called(model.folder.path) if model.folder else "unnamed",
            adapters=model.adapted.names if model.adapted else (),
            data=tuple(shown_address(str(source)) for source in self.sources),
            options={"limit": self.limit, **to_plain(self.options)},
            rows=score_rows(texts),
            texts=texts,
            failed=tuple(failed),
            warnings=tuple(warnings),
            left_out=self.left_out,
        )


def evaluate(
    transcriber: Transcriber,
    sources: Sequence[Path | str],
    options: TranscriptionOptions,
    *,
    limit: int | None = None,
    alteration: Alteration | None = None,
    watched: Callable[[Iterable[Scored], int], Iterable[Scored]] = lambda outcomes, _: outcomes,
) -> Report:
    """Score a model on data; the task of `options` says which references are used ('both' is all
    that there are), `alteration` what the recordings go through before they are heard.

    `watched` is handed the outcomes and their number as they come, to show progress. Raises
    UsageError, ManifestError, ShardError, GuidanceError.
    """
    evaluation = Evaluation.of(transcriber, sources, options, limit, alteration)
    return evaluation.report(watched(evaluation.outcomes(), len(evaluation.passes)))


def options_of_data(options: TranscriptionOptions, model: ModelConfig) -> TranscriptionOptions:
    """The same with languages spelled as the model spells them; raises GuidanceError for a target
    that no data could have a score in."""
    known = model.vocabulary
    options = replace(
        options,
        language=spelled(options.language, (AUTO, *known.languages)),
        target_language=spelled(options.target_language, known.all_languages),
    )
    if options.target_language is not None:
        check_translation(Request(target_language=options.target_language), model)
    return options


def unknown_domains(
    clips: Sequence[Clip], options: TranscriptionOptions, model: ModelConfig
) -> Iterator[str]:
    """A line where data are of domains that this model has no experts for, and could."""
    unknown = sorted({clip.domain for clip in clips if clip.domain}.difference(model.domains))
    if unknown and options.domain is None and model.guided_by(Guide.DOMAIN):
        yield (
            f"the data's domain {', '.join(unknown)} is unknown to this model, which has "
            f"{', '.join(model.domains)}: {model.domains[0]} was taken"
        )


def units_of(passes: Iterable[ClipPass]) -> Iterator[list[ClipPass]]:
    """The passes in lists of HELD_SECONDS of sound at least, all of a recording in one: what is
    heard together, the same ones wherever that is done."""
    recordings: dict[object, list[ClipPass]] = {}
    for one in passes:
        place = one.clip.origin if isinstance(one.clip, ShardClip) else one.clip.path
        recordings.setdefault(place, []).append(one)
    unit: list[ClipPass] = []
    for of_one in recordings.values():
        unit += of_one
        if sum(one.clip.duration for one in unit) >= HELD_SECONDS:
            yield unit
            unit = []
    if unit:
        yield unit


def outcomes_of(
    transcriber: Transcriber,
    passes: Iterable[ClipPass],
    options: TranscriptionOptions,
    alteration: Alteration | None = None,
) -> Iterator[Scored]:
    """What became of every pass, to be counted; raises as `results_of` does."""
    for asked, result in results_of(transcriber, passes, options, alteration):
        if isinstance(result, AudioError):
            yield asked, Outcome(failed=f"{asked.clip.id}: {result.reason}")
            continue
        warnings = result.warnings if isinstance(result, Transcript) else ()
        yield asked, Outcome(texts=tuple(scored_texts(asked, result)), warnings=tuple(warnings))


def results_of(
    transcriber: Transcriber,
    passes: Iterable[ClipPass],
    options: TranscriptionOptions,
    alteration: Alteration | None = None,
) -> Iterator[Result]:
    """What became of every pass; those of one recording together.

    Raises GuidanceError, UsageError.
    """
    of_clip = [list(some) for _, some in groupby(passes, key=lambda one: id(one.clip))]
    clips = [some[0].clip for some in of_clip]
    heard = sources_of(clips, options)
    if alteration is not None:
        heard = ((n, alteration.samples(clips[n], source)) for n, source in heard)
    for part in parts(heard):
        asked = [(one, source) for number, source in part for one in of_clip[number]]
        yield from _transcribed(transcriber, asked, options)


def parts(heard: Iterable[tuple[int, ClipSource]]) -> Iterator[list[tuple[int, ClipSource]]]:
    """The sources in lists, each with samples of HELD_SECONDS at least: passes of one kind are
    decoded together, and no recording of hours gathers in memory."""
    part: list[tuple[int, ClipSource]] = []
    seconds = 0.0
    for number, source in heard:
        part.append((number, source))
        seconds += source.duration if isinstance(source, Waveform) else 0.0
        if seconds >= HELD_SECONDS:
            yield part
            part, seconds = [], 0.0
    yield part


def _transcribed(
    transcriber: Transcriber,
    asked: Sequence[tuple[ClipPass, ClipSource]],
    options: TranscriptionOptions,
) -> Iterator[Result]:
    model = transcriber.backend.config
    vocabulary = model.vocabulary
    groups: dict[TranscriptionOptions, list[tuple[ClipPass, Path | Waveform]]] = {}
    for one, source in asked:
        if isinstance(source, AudioError):
            yield one, source
            continue
        stated = one.clip.domain if one.clip.domain in model.domains else None
        wanted = replace(
            options,
            task=one.task,
            target_language=one.target(vocabulary),
            domain=options.domain or stated,
        )
        if isinstance(source, Path):
            wanted = replace(wanted, channel=channel_of(one.clip, options))
        else:  # samples are of one track and channel already
            wanted = replace(wanted, channel=None, track=None)
        groups.setdefault(wanted, []).append((one, source))
    for wanted, group in groups.items():
        answers = transcriber.transcribe_files([source for _, source in group], wanted)
        for (one, source), answer in zip(group, answers, strict=True):
            yield one, _whole(one.clip, answer) if isinstance(source, Path) else answer


def _whole(clip: Clip, answer: Transcript | TurnoutError) -> Transcript | TurnoutError:
    """The answer for a file that the transcriber read, unless it ends before its clip does."""
    try:
        if isinstance(answer, Transcript):
            check_length(clip, answer.duration_seconds)
    except AudioError as error:
        return error
    return answer


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
