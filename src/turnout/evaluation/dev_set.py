"""What a run validates on: utterances that are the same at every validation, never augmented.

They are made of samples, as a user's recordings are, not of the stored mel power.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE, model_features, num_frames
from turnout.config import DataConfig, ModelConfig
from turnout.corpora.clips import (
    MOST_MISSING_SECONDS,
    Clip,
    ClipReader,
    check_domains,
    check_languages,
    development_clips,
    domain_of,
)
from turnout.data.channel import telephone_of
from turnout.data.common_clips import Gather
from turnout.data.joining import (
    draw_joining,
    join_waveforms,
    joined_text,
    joined_translations,
    most_joined,
    speakers_of,
)
from turnout.data.plan import Stream, generator
from turnout.decoding.requests import Request, Utterance
from turnout.errors import AudioError, amount
from turnout.evaluation.references import Reference, passes_of, references_of
from turnout.guidance import Bandwidth, Task, Window

DEV_SEED = 0
"""Fixed: runs of different seeds are compared on the same utterances."""
FEWEST_DEV_WORDS = 2

Floats = NDArray[np.float32]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DevUtterance:
    """One pass of the model over one utterance."""

    clip: Clip
    """What is known of it; of joined words, the first one's with the texts of all."""
    utterance: Utterance
    """Its frames, and the request: bandwidth and language given, all tasks that there is a
    reference for."""
    references: tuple[Reference, ...]
    """The right text of each task of the request, in its order."""


def dev_utterances(
    data: DataConfig, model: ModelConfig, clips: Mapping[str, Sequence[Clip]]
) -> list[DevUtterance]:
    """Of each dev corpus: `dev_utterances` in its own bandwidth and, of wideband, by telephone.

    `clips` are those of each file of cuts, by its path.
    """
    found: list[DevUtterance] = []
    by_telephone = telephone_of(data.augment.channel)
    for number, corpus in enumerate(data.dev):
        spoken = _spoken(clips[corpus.cuts], data, number, model)
        for index, (clip, samples) in enumerate(spoken):
            found += _passes(clip, samples, model, data.window)
            if clip.bandwidth is Bandwidth.WIDEBAND:
                rng = generator(Stream.DEV, DEV_SEED, number, index, 1)
                changed = by_telephone(samples, rng)
                by_line = replace(clip, bandwidth=Bandwidth.NARROWBAND)
                found += _passes(by_line, changed, model, data.window)
    return found


def shared_dev_utterances(
    data: DataConfig, model: ModelConfig, clips: Mapping[str, Sequence[Clip]], gather: Gather
) -> list[DevUtterance]:
    """Those that every rank can read: the same on all of them."""
    found = dev_utterances(data, model, clips)
    read = [set(json.loads(ids)) for ids in gather(json.dumps([item.clip.id for item in found]))]
    shared = set.intersection(*read)
    missing = len(set.union(*read) - shared)
    if missing:
        logger.warning("left out: %s, which not every rank has", amount(missing, "dev utterance"))
    return [item for item in found if item.clip.id in shared]


def _passes(clip: Clip, samples: Floats, model: ModelConfig, window: Window) -> list[DevUtterance]:
    features = model_features(samples, model, window)
    found: list[DevUtterance] = []
    for references in passes_of(references_of(clip, tuple(Task), model)):
        last = references[-1]
        request = Request(
            tasks=tuple(text.task for text in references),
            bandwidth=clip.bandwidth,
            language=clip.language,
            domain=domain_of(clip, model),
            window=window,
            target_language=last.language if last.task is Task.TRANSLATE else None,
        )
        name = "/".join((clip.id, clip.bandwidth, *(text.language for text in references)))
        asked = replace(clip, id=name, duration=len(samples) / SAMPLE_RATE)
        frames = num_frames(len(samples), model.features)
        utterance = Utterance(features, request, num_frames=frames)
        found.append(DevUtterance(clip=asked, utterance=utterance, references=references))
    return found


def _spoken(
    clips: Sequence[Clip], data: DataConfig, number: int, model: ModelConfig
) -> Iterator[tuple[Clip, Floats]]:
    """The first utterances that can be read and that the model's window holds."""
    corpus = data.dev[number]
    clips = development_clips(clips)
    check_languages(clips, corpus.cuts, model.vocabulary.languages)
    check_domains(clips, corpus.cuts, model)
    planned = _joined(clips, data, number) if corpus.join else _whole(clips, data, number, model)
    first = planned[: data.dev_utterances]
    reader = _Reader(clips, [index for _, indices, _ in first for index in indices])
    count = 0
    failed: list[str] = []
    for clip, indices, join in planned:
        try:
            samples = join([reader.read(index) for index in indices])
        except AudioError as error:
            failed.append(str(error))
            continue
        if len(samples) <= model.window_seconds * SAMPLE_RATE:
            yield clip, samples
            count += 1
            if count == data.dev_utterances:
                break
    if failed:
        logger.warning(
            "%s of %s could not be read: left out: %s",
            amount(len(failed), "dev utterance"), corpus.cuts, "; ".join(failed[:5]),
        )  # fmt: skip


Planned = tuple[Clip, Sequence[int], Callable[[list[Floats]], Floats]]
"""A dev utterance to be, which clips it is made of, and how their samples become its own."""


def _whole(
    clips: Sequence[Clip], data: DataConfig, number: int, model: ModelConfig
) -> list[Planned]:
    """The clips as they are, in a fixed random order, without those that are too long."""
    order = generator(Stream.DEV, DEV_SEED, number).permutation(len(clips)).tolist()
    # A recording may lack that much of a clip's end: the clip might fit after all.
    longest = model.window_seconds + MOST_MISSING_SECONDS
    fitting = [index for index in order if clips[index].duration <= longest]
    if too_long := [clip.id for clip in clips if clip.duration > longest]:
        logger.warning(
            "%d of %d dev utterances of %s are longer than the model's window of %g s and are left "
            "out: %s%s",
            len(too_long), len(clips), data.dev[number].cuts, model.window_seconds,
            ", ".join(too_long[:5]), ", ..." if len(too_long) > 5 else "",
        )  # fmt: skip
    return [(clips[index], [index], lambda parts: parts[0]) for index in fitting]


def _joined(clips: Sequence[Clip], data: DataConfig, number: int) -> list[Planned]:
    """Connected utterances of at least two words, speakers in turn."""
    speakers = speakers_of(clips)
    fewest = min(FEWEST_DEV_WORDS, data.join.max_words)
    planned: list[Planned] = []
    # As many again, in place of those that cannot be read or are too long.
    for index in range(2 * data.dev_utterances):
        rng = generator(Stream.DEV, DEV_SEED, number, index)
        speaker = speakers[index % len(speakers)]
        most = most_joined(speaker, clips, data.join.max_words)
        joining = draw_joining(speaker, data.join, rng, fewest=fewest, most=most)
        words = [clips[clip] for clip in joining.clips]
        clip = replace(
            words[0],
            id=f"joined-{number}-{index}",
            text=joined_text([word.text for word in words], words[0].language),
            translations=joined_translations(words),
        )
        # The generator is kept: it goes on with the noise between the words.
        planned.append((clip, joining.clips, partial(join_waveforms, joining=joining, rng=rng)))
    return planned


class _Reader:
    """Samples of clips; those that are wanted first are read recording by recording, so that each
    recording is decoded once however its clips are drawn, and kept until their last use."""

    def __init__(self, clips: Sequence[Clip], first: Iterable[int]) -> None:
        self._clips = clips
        self._reader = ClipReader()
        self._read: dict[int, Floats | AudioError] = {}
        self._uses = Counter(first)
        for index in sorted(self._uses, key=lambda one: (clips[one].path, clips[one].channel or 0)):
            try:
                # A copy: a view would keep the whole recording in memory.
                self._read[index] = self._reader.read(clips[index]).copy()
            except AudioError as error:
                self._read[index] = error

    def read(self, index: int) -> Floats:
        """Raises AudioError."""
        self._uses[index] -= 1
        found = self._read.get(index) if self._uses[index] > 0 else self._read.pop(index, None)
        if isinstance(found, AudioError):
            raise found
        return self._reader.read(self._clips[index]) if found is None else found
