"""What a run validates on: utterances that are the same at every validation, never augmented.

They are made of samples, as a user's recordings are, not of the stored mel power.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE, log_mel
from turnout.audio.telephone import random_channel
from turnout.config import CorpusConfig, DataConfig, ModelConfig
from turnout.corpora.clips import Clip, ClipReader, check_languages, development_clips, read_clips
from turnout.data.joining import (
    draw_joining,
    join_waveforms,
    joined_text,
    joined_translations,
    speakers_of,
)
from turnout.data.plan import Stream, generator
from turnout.decoding.requests import Request, Utterance
from turnout.errors import AudioError
from turnout.guidance import Bandwidth, Task

DEV_SEED = 0
"""Fixed: runs of different seeds are compared on the same utterances."""
FEWEST_DEV_WORDS = 2

Floats = NDArray[np.float32]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DevUtterance:
    """One utterance with all that is known of it."""

    id: str
    corpus: str
    utterance: Utterance
    """Its frames, and the request: bandwidth and language given, all tasks that there is a
    reference for."""
    references: tuple[str, ...]
    """The right text of each task of the request, in its order."""


@dataclass(frozen=True, kw_only=True)
class _Spoken:
    """Samples of one dev utterance, and what is said in them."""

    id: str
    samples: Floats
    first: Clip
    text: str
    translations: Mapping[str, str]


def dev_utterances(data: DataConfig, model: ModelConfig) -> list[DevUtterance]:
    """Of each dev corpus: `dev_utterances` in its own bandwidth and, of wideband, by telephone."""
    found: list[DevUtterance] = []
    for number, corpus in enumerate(data.dev):
        for index, spoken in enumerate(_spoken(corpus, data, number, model)):
            found += _items(spoken, spoken.samples, spoken.first.bandwidth, corpus.cuts, model)
            if spoken.first.bandwidth is Bandwidth.WIDEBAND:
                rng = generator(Stream.DEV, DEV_SEED, number, index, 1)
                changed = random_channel(rng).apply(spoken.samples, rng)
                found += _items(spoken, changed, Bandwidth.NARROWBAND, corpus.cuts, model)
    return found


def shared_dev_utterances(
    data: DataConfig, model: ModelConfig, gather: Callable[[str], list[str]]
) -> list[DevUtterance]:
    """Those that every rank can read: the same on all of them. `gather` is `Loader`'s."""
    found = dev_utterances(data, model)
    read = [set(json.loads(ids)) for ids in gather(json.dumps([item.id for item in found]))]
    shared = set.intersection(*read)
    missing = len(set.union(*read) - shared)
    if missing:
        logger.warning("%d dev utterances are left out: not every rank has them", missing)
    return [item for item in found if item.id in shared]


def _items(
    spoken: _Spoken, samples: Floats, bandwidth: Bandwidth, corpus: str, model: ModelConfig
) -> list[DevUtterance]:
    """One item with transcript and first translation, one more for each further translation."""
    language = spoken.first.language
    features = log_mel(samples, model.features)
    known = model.vocabulary.targets_of(language) if model.decoder.num_layers else ()
    targets: list[str | None] = [t for t in known if t in spoken.translations]
    items: list[DevUtterance] = []
    for number, target in enumerate(targets or [None]):
        references = {} if number else {Task.TRANSCRIBE: spoken.text}
        if target is not None:
            references[Task.TRANSLATE] = spoken.translations[target]
        request = Request(
            tasks=tuple(references), bandwidth=bandwidth, language=language, target_language=target
        )
        items.append(
            DevUtterance(
                id=f"{spoken.id}/{bandwidth}" + (f"/{target}" if number else ""),
                corpus=corpus,
                utterance=Utterance(features, request),
                references=tuple(references.values()),
            )
        )
    return items


def _spoken(
    corpus: CorpusConfig, data: DataConfig, number: int, model: ModelConfig
) -> Iterator[_Spoken]:
    clips = development_clips(read_clips(corpus.cuts))
    check_languages(clips, corpus.cuts, model.vocabulary.languages)
    drawn = _joined(clips, data, number) if corpus.join else _whole(clips, number)
    count = 0
    failed: list[str] = []
    for item in drawn:
        if count == data.dev_utterances:
            break
        if isinstance(item, str):
            failed.append(item)
        elif len(item.samples) <= model.window_seconds * SAMPLE_RATE:
            count += 1
            yield item
    if failed:
        logger.warning(
            "%d dev utterances of %s could not be read and are left out: %s",
            len(failed), corpus.cuts, "; ".join(failed[:5]),
        )  # fmt: skip


def _whole(clips: list[Clip], number: int) -> Iterator[_Spoken | str]:
    """The clips as they are, in a fixed random order."""
    reader = ClipReader()
    for index in generator(Stream.DEV, DEV_SEED, number).permutation(len(clips)).tolist():
        clip = clips[index]
        try:
            samples = reader.read(clip)
        except AudioError as error:
            yield str(error)
            continue
        yield _Spoken(
            id=clip.id,
            samples=samples,
            first=clip,
            text=clip.text,
            translations=clip.translations,
        )


def _joined(clips: list[Clip], data: DataConfig, number: int) -> Iterator[_Spoken | str]:
    """Connected utterances of at least two words, speakers in turn."""
    reader = ClipReader()
    speakers = speakers_of(clips)
    for index in range(2 * data.dev_utterances):
        rng = generator(Stream.DEV, DEV_SEED, number, index)
        join = data.join
        joining = draw_joining(
            speakers[index % len(speakers)], join, rng, fewest=min(FEWEST_DEV_WORDS, join.max_words)
        )
        words = [clips[clip] for clip in joining.clips]
        try:
            waveforms = [reader.read(word) for word in words]
        except AudioError as error:
            yield str(error)
            continue
        yield _Spoken(
            id=f"joined-{number}-{index}",
            samples=join_waveforms(waveforms, joining, rng),
            first=words[0],
            text=joined_text([word.text for word in words], words[0].language),
            translations=joined_translations(words),
        )
