"""Corpora -> batches, exactly resumable: batch n of an epoch depends on seed and epoch alone.

What a batch holds never depends on the process that makes it, nor on what was made before it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from turnout.config import CorpusConfig, DataConfig, ModelConfig
from turnout.corpora.clips import (
    Clip,
    check_domains,
    check_languages,
    domain_of,
    training_clips,
)
from turnout.data.augment import Augmenter
from turnout.data.batch import Batch, Collator, Example, Recorded, text_guidance
from turnout.data.channel import open_channel
from turnout.data.common_clips import Gather, alone, with_common_clips
from turnout.data.epoch import EpochPlan, epoch_sizes, pack, rank_share, words_at
from turnout.data.fitting import Fitting, tell_of_lone, tell_of_strangers, tell_of_unused
from turnout.data.joining import joined_text, joined_translations
from turnout.data.plan import FRAMES_PER_SECOND, CorpusPlanner, PlannedUtterance, Stream, generator
from turnout.data.store import FeatureStore, open_store
from turnout.data.variants import VariantConfig
from turnout.data.workers import Workers, new_processes
from turnout.errors import TrainingError
from turnout.guidance import Bandwidth, Guidance, Window
from turnout.text.tokenizer import Tokenizer

Asked = tuple[int, Sequence[PlannedUtterance]]
"""An epoch, and what one of its batches shall hold."""


@dataclass
class Loader:
    """The training data of one rank.

    Making one opens, and where needed builds, the stores of the training corpora. Raises
    ManifestError, ConfigError, TrainingError or StorageError.
    """

    config: DataConfig
    model: ModelConfig
    tokenizer: Tokenizer
    clips: Mapping[str, Sequence[Clip]]
    """Of each file of cuts, by its path."""
    _: KW_ONLY
    seed: int
    rank: int
    world_size: int
    cache_dir: Path
    """Where stores lie unless the configuration names a folder."""
    gather: Gather = alone
    """How the ranks agree on what all of them can read."""
    clean: bool = False
    """Whether a teacher hears the recordings as they were."""

    def __post_init__(self) -> None:
        self._context = new_processes(self.config.worker_start)
        window = self.config.window
        padded = self.model.features.padding == "window"
        self._padded = padded and window is Window.PADDED
        channel = self.config.augment.channel
        # Before anything is made: what it names must be there.
        self._channel = None if channel is None else open_channel(channel)
        self._fittings = [
            Fitting(self.model, self.tokenizer, corpus.join) for corpus in self.config.train
        ]
        self._stores = [
            self._open(corpus, fitting)
            for corpus, fitting in zip(self.config.train, self._fittings, strict=True)
        ]
        self._planners = [self._planner(number) for number in range(len(self._stores))]
        if not any(p.corpus.weight > 0 and p.clips for p in self._planners):
            left_out = self.left_out
            raise TrainingError(
                f"data.train holds nothing to learn from: {len(left_out)} clips are left out, such "
                f"as {left_out[0]}"
                if left_out
                else "data.train holds nothing to learn from: name at least one corpus"
            )
        noises = self._channel.noises if self._channel else ()
        augmenter = Augmenter(self.config.augment, self.model, noises, window)
        self._examples = ExampleMaker(
            self.config.tasks, augmenter, self.seed, self._stores, clean=self.clean
        )
        self._collator = Collator(self.model, self.tokenizer)
        self._planned: tuple[tuple[int, int], EpochPlan] | None = None
        make = partial(_batch, examples=self._examples, collator=self._collator)
        self._make: Callable[[Asked], Batch] = make
        self._workers = Workers(
            make, self.config.workers, self._context, self.config.worker_timeout
        )

    @property
    def fingerprint(self) -> str:
        """Digest of the audio and texts that are trained on: a resumed run must find the same."""
        digest = sha256()
        for store in self._stores:
            digest.update(store.digest.encode())
            for clip in store.clips:
                # What is as usual is left out, so that runs that began before it was told go on.
                usual = clip.language == self.model.vocabulary.languages[0]
                more = {"language": None if usual else clip.language, "domain": clip.domain}
                known = [pair for pair in more.items() if pair[1]]
                said = (clip.text, sorted(clip.translations.items()), *known)
                digest.update(repr(said).encode())
        return digest.hexdigest()

    @property
    def left_out(self) -> tuple[str, ...]:
        """One line for each clip that could not be read, or that the model cannot learn from."""
        return tuple(line for store in self._stores for line in store.left_out)

    def plan(self, epoch: int, progress: float = 1.0) -> EpochPlan:
        """This rank's batches of an epoch: the same number on every rank.

        `progress` is the share of the run done when the epoch *began*: the curriculum moves between
        epochs, so that a run that goes on within one finds the same plan.
        """
        most_words = words_at(self.config.join, progress)
        if self._planned is None or self._planned[0] != (epoch, most_words):
            self._planned = ((epoch, most_words), self._plan(epoch, most_words))
        return self._planned[1]

    def batches(self, epoch: int, start: int = 0, progress: float = 1.0) -> Iterator[Batch]:
        """The batches of this plan from number `start` on, without making those before it."""
        asked: list[Asked] = [(epoch, part) for part in self.plan(epoch, progress)[start:]]
        if self.config.workers == 0:
            return map(self._make, asked)
        return self._workers.made(asked)

    def close(self) -> None:
        """Let the processes end that prepare batches; they begin anew where more are wanted."""
        self._workers.close()

    def _open(self, corpus: CorpusConfig, fitting: Fitting) -> FeatureStore:
        """What all ranks can read of a corpus, as mel power."""
        clips = training_clips(self.clips[corpus.cuts])
        check_languages(clips, corpus.cuts, self.model.vocabulary.languages)
        check_domains(clips, corpus.cuts, self.model)
        tell_of_unused(self.clips[corpus.cuts], clips, corpus.cuts, self.model.vocabulary)
        # Joined words are followed by a gap, as a whole clip is by its features' padding.
        padded = self._padded and not corpus.join
        settings = VariantConfig(
            features=self.model.features,
            telephone_variants=self.config.augment.telephone_variants,
            narrowband=self.config.augment.narrowband > 0,
            trim=corpus.join,
            window_seconds=self.model.window_seconds if padded else None,
            channel=self._channel,
        )
        cache = Path(self.config.cache) if self.config.cache else self.cache_dir
        store = open_store(
            clips, settings, cache, workers=self.config.workers, context=self._context
        )
        common = with_common_clips(store, self.gather)
        if corpus.join:
            tell_of_strangers(common.clips, corpus.cuts)
        return fitting.of(common)

    def _planner(self, number: int) -> CorpusPlanner:
        store, fitting = self._stores[number], self._fittings[number]
        planner = CorpusPlanner(
            number,
            store.clips,
            store.counts,
            self.config,
            self.model,
            fitting.fewest(store),
            fitting.written(store),
        )
        tell_of_lone(planner)
        return planner

    def _plan(self, epoch: int, most_words: int) -> EpochPlan:
        sizes = epoch_sizes(self._planners, self.config.epoch_hours, most_words)
        utterances = [
            utterance
            for planner, size in zip(self._planners, sizes, strict=True)
            for utterance in planner.utterances(self.seed, epoch, size, most_words)
        ]
        rng = generator(Stream.BATCHES, self.seed, epoch)
        most_frames = round(self.config.batch_seconds * FRAMES_PER_SECOND) // self._passes()
        # Of padded features the model reads its whole window, however short the utterance.
        window = self._planners[0].longest_frames
        lengths = [
            window if self._padded else utterance.shape.num_frames for utterance in utterances
        ]
        share = rank_share(pack(lengths, most_frames, rng), self.rank, self.world_size, rng)
        return [[utterances[index] for index in batch] for batch in share]

    def _passes(self) -> int:
        """Most encoder passes of an utterance: more than one where the task guides the encoder."""
        if self.config.tasks == "draw" or not self._collator.encoder_knows_task:
            return 1
        return 1 + max(
            len(self.model.vocabulary.targets_of(c)) for c in self.model.vocabulary.languages
        )


class ExampleMaker:
    """A planned utterance -> Example: its stored words augmented, its texts written down."""

    def __init__(
        self,
        tasks: str,
        augmenter: Augmenter,
        seed: int,
        stores: Sequence[FeatureStore],
        *,
        clean: bool = False,
    ) -> None:
        self._stores = stores
        self._clean = clean
        self._tasks = tasks
        self._seed = seed
        self._augmenter = augmenter

    def example(self, planned: PlannedUtterance, epoch: int) -> Example:
        """The utterance as it was planned: a function of the plan, the seed and the epoch."""
        place = Stream.AUGMENT, self._seed, epoch, planned.corpus, planned.index
        rng = generator(*place)
        store = self._stores[planned.corpus]
        if planned.empty:
            log_mel = self._augmenter.empty(planned, rng)
        else:
            words = [store.variant(clip, planned.variant) for clip in planned.joining.clips]
            log_mel = self._augmenter.speech(words, planned, rng)
        clips = [store.clips[clip] for clip in planned.joining.clips]
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
            clean=self._recorded(planned, clips, generator(*place)) if self._clean else None,
        )

    def _recorded(
        self, planned: PlannedUtterance, clips: Sequence[Clip], rng: np.random.Generator
    ) -> Recorded:
        """What a teacher hears: where nothing is said, what the student does."""
        if planned.empty:
            bandwidth = Bandwidth.NARROWBAND if planned.narrow else Bandwidth.WIDEBAND
            return Recorded(
                log_mel=self._augmenter.clean_empty(planned, rng),
                bandwidth=bandwidth,
                lasting=False,
            )
        native = clips[0].bandwidth
        store = self._stores[planned.corpus]
        words = [store.variant(clip, 0) for clip in planned.joining.clips]
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


def _batch(asked: Asked, examples: ExampleMaker, collator: Collator) -> Batch:
    """A batch of an epoch's plan, in whichever process."""
    epoch, planned = asked
    return collator.batch([examples.example(utterance, epoch) for utterance in planned])
