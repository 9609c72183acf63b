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
from turnout.errors import AudioError, GuidanceError, TurnoutError, one_line
from turnout.evaluation.alteration import Alteration
from turnout.evaluation.references import (
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
from turnout.shards.address import shown_address
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


def evaluate(
    transcriber: Transcriber,
    sources: Sequence[Path | str],
    options: TranscriptionOptions,
    *,
    limit: int | None = None,
    alteration: Alteration | None = None,
    watched: Callable[[Iterable[Result], int], Iterable[Result]] = lambda results, _: results,
) -> Report:
    """Score a model on data; the task of `options` says which references are used ('both' is all
    that there are), `alteration` what the recordings go through before they are heard.

    `watched` is handed the results and their number as they come, to show progress. Raises
    UsageError, ManifestError, ShardError, GuidanceError.
    """
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
    found: dict[ClipPass, list[ScoredText] | str] = {}
    # Each once, whatever the number of clips.
    warnings: dict[str, None] = dict.fromkeys(
        (*data.notes, *unknown_domains(clips, options, model))
    )
    for asked, result in watched(results_of(transcriber, passes, options, alteration), len(passes)):
        if isinstance(result, AudioError):
            found[asked] = f"{asked.clip.id}: {result.reason}"
            continue
        found[asked] = scored_texts(asked, result)
        if isinstance(result, Transcript):
            warnings |= {f"{asked.clip.path}: {line}": None for line in result.warnings}
    # In the order of the data, not of the decoding; a clip that failed is named once.
    kept = [found[asked] for asked in passes]
    texts = [text for texts in kept if not isinstance(texts, str) for text in texts]
    failed = dict.fromkeys((*data.skipped, *(line for line in kept if isinstance(line, str))))
    return Report(
        model=one_line(transcriber.folder.path.name) if transcriber.folder else "unnamed",
        adapters=transcriber.adapted.names if transcriber.adapted else (),
        data=tuple(shown_address(str(source)) for source in sources),
        options={"limit": limit, **to_plain(options)},
        rows=score_rows(texts),
        texts=tuple(texts),
        failed=tuple(failed),
        warnings=tuple(warnings),
        left_out=sum(not found for found in references),
    )


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
