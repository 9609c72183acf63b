"""Data -> clips to score, and the texts that a model is asked for on each.

Cuts are read as they are; anything else goes through `turnout prepare` first, into a folder that
is gone afterwards.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from turnout.config import VocabularyConfig
from turnout.config.preparation import PrepareConfig
from turnout.corpora.clips import Clip, read_clips
from turnout.corpora.prepare import prepare
from turnout.errors import GuidanceError, UsageError
from turnout.guidance import Task


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One text to be scored."""

    task: Task
    target_language: str
    """The spoken language where the task is to transcribe."""
    reference: str


def clips_of(sources: Sequence[Path], limit: int | None = None, seed: int = 0) -> list[Clip]:
    """The clips of all sources; of each at most `limit`, drawn with the seed, in their order.

    Raises UsageError, ManifestError.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit is {limit}: it must be at least 1")
    return [clip for source in sources for clip in _limited(_read(source), limit, seed)]


def wanted_of(
    clip: Clip,
    tasks: Sequence[Task],
    vocabulary: VocabularyConfig,
    target_language: str | None = None,
) -> tuple[Wanted, ...]:
    """The texts of a clip that the model knows the languages of, for these tasks."""
    found: list[Wanted] = []
    if clip.language not in vocabulary.languages:
        return ()
    if Task.TRANSCRIBE in tasks:
        found.append(
            Wanted(task=Task.TRANSCRIBE, target_language=clip.language, reference=clip.text)
        )
    if Task.TRANSLATE in tasks:
        found += [
            Wanted(task=Task.TRANSLATE, target_language=target, reference=text)
            for target, text in clip.translations.items()
            if target in vocabulary.targets_of(clip.language) and target_language in (None, target)
        ]
    return tuple(found)


def require_some(
    wanted: Iterable[tuple[Wanted, ...]], clips: Sequence[Clip], vocabulary: VocabularyConfig
) -> None:
    """Raise GuidanceError where no clip has a text that the model could write."""
    if any(wanted):
        return
    spoken = ", ".join(sorted({clip.language for clip in clips})) or "nothing"
    pairs = ", ".join(f"{source} to {target}" for source, target in vocabulary.translations)
    raise GuidanceError(
        f"nothing to score: the data speak {spoken}; this model transcribes "
        f"{', '.join(vocabulary.languages)} and translates {pairs or 'nothing'}"
    )


def _read(source: Path) -> list[Clip]:
    if source.name.endswith(".jsonl.gz") or not source.exists():
        return read_clips(source)
    with TemporaryDirectory(prefix="turnout-") as folder:
        splits = prepare(source, Path(folder), PrepareConfig()).splits
        # A corpus with splits of its own is scored on the one that is meant for it.
        chosen = [splits["test"]] if "test" in splits else list(splits.values())
        return [clip for split in chosen for clip in read_clips(split.path)]


def _limited(clips: list[Clip], limit: int | None, seed: int) -> list[Clip]:
    if limit is None or limit >= len(clips):
        return clips
    drawn = random.Random(seed).sample(range(len(clips)), limit)
    return [clips[position] for position in sorted(drawn)]
