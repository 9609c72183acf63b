"""Data -> clips to score, and the texts that a model is asked for on each, in an evaluation as in
a validation.

Cuts are read as they are, and so are shards, without their sound; anything else goes through
`turnout prepare` first, into a folder that is gone afterwards.
"""

import logging
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from turnout.config import ModelConfig, TranscriptionOptions, VocabularyConfig
from turnout.config.preparation import PrepareConfig
from turnout.corpora.clips import Clip, read_clips
from turnout.corpora.prepare import prepare
from turnout.corpora.spelling import usual_split
from turnout.errors import GuidanceError, ShardError, UsageError, repeated
from turnout.guidance import Task
from turnout.shards.address import shown_address
from turnout.shards.origins import Origins, is_shards, read_shard_clips

DEFAULTS = TranscriptionOptions()
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One text that a model is asked for, as it should be."""

    task: Task
    language: str
    """Of the text: the spoken language where the task is to transcribe."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Data:
    """What there is to score."""

    clips: tuple[Clip, ...]
    skipped: tuple[str, ...] = ()
    """One line for each utterance that cannot be used: file, line, field, reason."""
    notes: tuple[str, ...] = ()
    """What else is to be known of the data."""


def read_data(
    sources: Sequence[Path | str],
    limit: int | None = None,
    options: TranscriptionOptions = DEFAULTS,
) -> Data:
    """The clips of all sources; of each at most `limit`, the same at every call, in their order.

    The languages of `options` are those of data that state none. Raises UsageError, and
    ManifestError or ShardError for a source of which nothing can be used.
    """
    config = PrepareConfig(
        language=options.stated_language,
        target_language=options.target_language,
        max_duration=options.max_duration,
        skip_bad=True,  # one bad recording among good ones is told of, here as in cuts
    )
    if limit is not None and limit < 1:
        raise UsageError(f"--limit is {limit}: it must be at least 1")
    read = [_limited(source, config, limit) for source in sources]
    return Data(
        clips=tuple(clip for data in read for clip in data.clips),
        skipped=tuple(line for data in read for line in data.skipped),
        notes=tuple(line for data in read for line in data.notes),
    )


def _limited(source: Path | str, config: PrepareConfig, limit: int | None) -> Data:
    if is_shards(str(source)):
        return _of_shards(str(source), limit)
    data = _read(Path(source), config)
    return replace(data, clips=tuple(data.clips[place] for place in _drawn(len(data.clips), limit)))


def _drawn(count: int, limit: int | None) -> Sequence[int]:
    """Places of so many, at most, in their order: drawn, since data are often sorted by speaker or
    length."""
    if limit is None or limit >= count:
        return range(count)
    return sorted(random.Random(0).sample(range(count), limit))


def _of_shards(address: str, limit: int | None) -> Data:
    """Drawn among all that there are, so that nothing else is read: those that cannot be are told,
    and not replaced."""
    origins = Origins.at(address)
    drawn = _drawn(origins.manifest.utterances, limit)
    clips: list[Clip] = []
    lost: Counter[str] = Counter()
    for one in read_shard_clips(origins, drawn):
        if isinstance(one, ShardError):
            lost[str(one)] += 1
        else:
            clips.append(one)
    lines = repeated(lost, "utterances")
    if not clips:
        raise ShardError(f"{shown_address(address)}: nothing of it can be scored: {lines[0]}")
    return Data(clips=tuple(clips), skipped=tuple(lines))


def references_of(
    clip: Clip, tasks: Sequence[Task], model: ModelConfig, target_language: str | None = None
) -> tuple[Reference, ...]:
    """The texts of a clip, for these tasks, that this model could write: the transcript first."""
    if clip.language not in model.vocabulary.languages:
        return ()
    found: list[Reference] = []
    if Task.TRANSCRIBE in tasks and Task.TRANSCRIBE in model.tasks:
        found.append(Reference(task=Task.TRANSCRIBE, language=clip.language, text=clip.text))
    if Task.TRANSLATE in tasks and model.decoder.num_layers:
        found += [
            Reference(task=Task.TRANSLATE, language=target, text=text)
            for target, text in clip.translations.items()
            if target in model.vocabulary.targets_of(clip.language)
            and target_language in (None, target)
        ]
    return tuple(found)


def passes_of(references: Sequence[Reference]) -> list[tuple[Reference, ...]]:
    """What one pass of the model gives: the transcript with one translation, then one translation
    each, since a request names a single target language."""
    transcripts = [text for text in references if text.task is Task.TRANSCRIBE]
    translations = references[len(transcripts) :]
    first = (*transcripts, *translations[:1])
    return [first, *((text,) for text in translations[1:])] if first else []


def require_some(
    references: Iterable[tuple[Reference, ...]], clips: Sequence[Clip], vocabulary: VocabularyConfig
) -> None:
    """Raise GuidanceError where no clip has a text that the model could write."""
    if any(references):
        return
    spoken = ", ".join(sorted({clip.language for clip in clips})) or "nothing"
    pairs = ", ".join(f"{source} to {target}" for source, target in vocabulary.translations)
    raise GuidanceError(
        f"nothing to score: the data speak {spoken}; this model transcribes "
        f"{', '.join(vocabulary.languages)} and translates {pairs or 'nothing'}"
    )


def _scored(splits: Iterable[str], source: Path) -> list[str]:
    """Which splits of a corpus are scored: those that are meant for it, else all."""
    names = list(splits)
    tests = [name for name in names if usual_split(name) == "test"]
    others = [name for name in names if name not in tests]
    if tests and others:
        logger.warning("%s: scored: %s; not: %s", source, ", ".join(tests), ", ".join(others))
    elif len(others) > 1:
        logger.warning(
            "%s: has no test split: all of %s are scored, though a model may know some of them",
            source, ", ".join(others),
        )  # fmt: skip
    return tests or others


def _read(source: Path, config: PrepareConfig) -> Data:
    if source.name.endswith(".jsonl.gz") or not source.exists():
        return Data(clips=tuple(read_clips(source)))
    with TemporaryDirectory(prefix="turnout-") as folder:  # clips name the recordings themselves
        summary = prepare(source, Path(folder), config)
        chosen = [summary.splits[name] for name in _scored(summary.splits, source)]
        clips = tuple(clip for split in chosen for clip in read_clips(split.path))
        if any(Path(folder) in Path(clip.path).parents for clip in clips):
            raise UsageError(
                f"{source}: holds its audio inside of itself: `turnout prepare` it, which puts "
                "that into files, and name its cuts"
            )
        return Data(clips=clips, skipped=summary.skipped, notes=summary.notes)
