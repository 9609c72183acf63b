"""What a batch shall hold -> the batch, in whichever process.

What it holds never depends on that process, nor on what was made before it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from turnout.corpora.clips import Clip, domain_of
from turnout.data.augment import Augmenter
from turnout.data.batch import Batch, Collator, Example, Recorded, text_guidance
from turnout.data.epoch import Streamed
from turnout.data.hearing import HeardClip, Hearer
from turnout.data.joining import joined_text, joined_translations
from turnout.data.parcel import Parcel, packed
from turnout.data.plan import PlannedUtterance, Stream, generator
from turnout.data.variants import Variant
from turnout.errors import ShardError, TrainingError
from turnout.guidance import Bandwidth, Guidance

Asked = tuple[int, Sequence[PlannedUtterance | Streamed]]
"""An epoch, and what one of its batches shall hold."""
NOTHING = "nothing"
"""Id of what stands for a batch that could not be read."""
NOTHING_FRAMES = 100
MOST_EMPTY = 10
"""Batches in a row of which nothing could be read; with the last of them a run is given up."""


class Source(Protocol):
    """Clips whose variants can be had: a feature store, or a clip that was just read."""

    @property
    def clips(self) -> Sequence[Clip]:
        """In order."""
        ...

    def variant(self, clip: int, number: int) -> Variant:
        """One variant of one clip."""
        ...


class BatchMaker:
    """Makes the batches of one run."""

    def __init__(
        self,
        examples: "ExampleMaker",
        collator: Collator,
        stores: Mapping[int, Source],
        hearers: Mapping[int, Hearer],
    ) -> None:
        self._examples = examples
        self._collator = collator
        self._stores = stores
        self._hearers = hearers

    def __call__(self, asked: Asked) -> Batch:
        """The batch; utterances of shards that cannot be read are left out, each with a line."""
        epoch, wanted = asked
        heard = iter(self._heard([one for one in wanted if isinstance(one, Streamed)]))
        examples: list[Example] = []
        lost: list[str] = []
        for one in wanted:
            if isinstance(one, PlannedUtterance):
                examples.append(self._examples.example(one, epoch, self._stores[one.corpus]))
                continue
            found = next(heard)
            if isinstance(found, ShardError):
                lost.append(str(found))
            else:
                examples.append(self._examples.example(found.planned, one.hearing, found))
        batch = self._collator.batch(examples or [self._examples.nothing()])
        return replace(batch, lost=tuple(lost)) if lost else batch

    def parcel(self, asked: Asked) -> Parcel:
        """The same batch, for another process."""
        return packed(self(asked))

    def _heard(self, wanted: Sequence[Streamed]) -> list[HeardClip | ShardError]:
        """In the order in which they are wanted."""
        found: dict[Streamed, HeardClip | ShardError] = {}
        for corpus in dict.fromkeys(one.corpus for one in wanted):
            own = [one for one in wanted if one.corpus == corpus]
            found.update(zip(own, self._hearers[corpus].heard(own), strict=True))
        return [found[one] for one in wanted]


class ExampleMaker:
    """A planned utterance -> Example: its words augmented, its texts written down."""

    def __init__(
        self,
        tasks: str,
        augmenter: Augmenter,
        seed: int,
        *,
        clean: bool = False,
    ) -> None:
        self._clean = clean
        self._tasks = tasks
        self._seed = seed
        self._augmenter = augmenter

    def example(self, planned: PlannedUtterance, epoch: int, source: Source) -> Example:
        """The utterance as it was planned: a function of the plan, the seed and the epoch."""
        place = Stream.AUGMENT, self._seed, epoch, planned.corpus, planned.index
        rng = generator(*place)
        if planned.empty:
            log_mel = self._augmenter.empty(planned, rng)
        else:
            words = [source.variant(clip, planned.variant) for clip in planned.joining.clips]
            log_mel = self._augmenter.speech(words, planned, rng)
        clips = [source.clips[clip] for clip in planned.joining.clips]
        transcript = joined_text([clip.text for clip in clips], clips[0].language)
        bandwidth = Bandwidth.NARROWBAND if planned.narrow else Bandwidth.WIDEBAND
        return Example(
            id=f"{epoch}/{planned.corpus}/{planned.index}",
            log_mel=log_mel,
            num_frames=planned.shape.num_frames,
            bandwidth=bandwidth,
            language=clips[0].language,
            transcript="" if planned.empty else transcript,
            texts=self._texts(clips, transcript, bandwidth, planned),
            clean=self._recorded(planned, source, generator(*place)) if self._clean else None,
        )

    def nothing(self) -> Example:
        """A second of a dead line with nothing said, as `AugmentConfig.empty` has them: what stands
        in a batch of which nothing could be read, so that the ranks keep step."""
        model, window = self._augmenter.model, self._augmenter.window
        language, bandwidth = model.vocabulary.languages[0], Bandwidth.WIDEBAND
        log_mel, clean = self._augmenter.nothing(NOTHING_FRAMES)
        more = model.domains[0], window
        return Example(
            id=NOTHING,
            log_mel=log_mel,
            num_frames=NOTHING_FRAMES,
            bandwidth=bandwidth,
            language=language,
            transcript="",
            texts={text_guidance(bandwidth, language, None, *more): ""},
            clean=Recorded(log_mel=clean, bandwidth=bandwidth) if self._clean else None,
        )

    def _recorded(
        self, planned: PlannedUtterance, source: Source, rng: np.random.Generator
    ) -> Recorded:
        """What a teacher hears: where nothing is said, what the student does."""
        if planned.empty:
            bandwidth = Bandwidth.NARROWBAND if planned.narrow else Bandwidth.WIDEBAND
            return Recorded(
                log_mel=self._augmenter.clean_empty(planned, rng),
                bandwidth=bandwidth,
                lasting=False,
            )
        native = source.clips[planned.joining.clips[0]].bandwidth
        words = [source.variant(clip, 0) for clip in planned.joining.clips]
        narrow = native is Bandwidth.NARROWBAND
        return Recorded(
            log_mel=self._augmenter.clean(words, planned, narrow=narrow), bandwidth=native
        )

    def _texts(
        self,
        clips: Sequence[Clip],
        transcript: str,
        bandwidth: Bandwidth,
        planned: PlannedUtterance,
    ) -> dict[Guidance, str]:
        """The text of each decoder row, the transcript first; all empty where nothing is said."""
        language = clips[0].language
        spoken = joined_translations(clips)
        targets = [t for t in self._augmenter.model.vocabulary.targets_of(language) if t in spoken]
        more = domain_of(clips[0], self._augmenter.model), self._augmenter.window
        texts = {text_guidance(bandwidth, language, None, *more): transcript}
        texts |= {text_guidance(bandwidth, language, t, *more): spoken[t] for t in targets}
        if self._tasks == "draw":
            drawn = list(texts.items())[min(planned.target, len(targets))]
            texts = dict([drawn])
        return dict.fromkeys(texts, "") if planned.empty else texts


class EmptyWatch:
    """Looks at batches as they come, from one part of an epoch to the next."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def watched(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches themselves; raises TrainingError where nothing comes any more."""
        for batch in batches:
            nothing = batch.utterance_ids == (NOTHING,) and batch.lost
            self._in_a_row = self._in_a_row + 1 if nothing else 0
            if self._in_a_row == MOST_EMPTY:
                raise TrainingError(
                    f"{MOST_EMPTY} batches in a row could not be read, the last since "
                    f"{batch.lost[0]}: see to the store of the shards; the same command goes on "
                    "from the last checkpoint"
                )
            yield batch
