"""Corpora -> batches, exactly resumable: batch n of an epoch depends on seed and epoch alone.

What a batch holds never depends on the process that makes it, nor on what was made before it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from turnout.config import DataConfig, ModelConfig
from turnout.corpora.clips import Clip, check_languages, read_clips, training_clips
from turnout.data.agreement import Gather, agreed, alone
from turnout.data.augment import FRAMES_PER_SECOND, Augmenter
from turnout.data.batch import Batch, Collator, Example, row_guidance
from turnout.data.joining import joined_text, joined_translations
from turnout.data.plan import (
    CorpusSource,
    Recipe,
    Stream,
    deal,
    epoch_sizes,
    generator,
    pack,
    words_at,
)
from turnout.data.store import FeatureStore, StoreConfig, Variant, open_store
from turnout.data.workers import serve_to_the_end
from turnout.errors import TrainingError
from turnout.guidance import Bandwidth, Guidance
from turnout.text.tokenizer import Tokenizer

PREFETCHED = 4
"""Batches that each worker makes ahead."""

Plan = list[list[Recipe]]


@dataclass
class Loader:
    """The training data of one rank.

    Making one opens, and where needed builds, the stores of the training corpora. Raises
    ManifestError, ConfigError, TrainingError or StorageError.
    """

    config: DataConfig
    model: ModelConfig
    tokenizer: Tokenizer
    _: KW_ONLY
    seed: int
    rank: int
    world_size: int
    cache_dir: Path
    """Where stores lie unless the configuration names a folder."""
    gather: Gather = alone
    """How the ranks agree on what all of them can read."""

    def __post_init__(self) -> None:
        cache = Path(self.config.cache) if self.config.cache else self.cache_dir
        self._sources = _sources(self.config, self.model, cache, self.gather)
        stores = [source.store for source in self._sources]
        self._examples = ExampleMaker(self.config, self.model, self.seed, stores)
        self._collator = Collator(self.model, self.tokenizer)
        self._planned: tuple[tuple[int, int], Plan] | None = None

    @property
    def fingerprint(self) -> str:
        """Digest of the audio and texts that are trained on: a resumed run must find the same."""
        digest = sha256()
        for source in self._sources:
            digest.update(source.store.digest.encode())
            for clip in source.store.clips:
                digest.update(repr((clip.text, sorted(clip.translations.items()))).encode())
        return digest.hexdigest()

    @property
    def left_out(self) -> tuple[str, ...]:
        """One line for each clip that could not be read."""
        return tuple(line for source in self._sources for line in source.store.left_out)

    def plan(self, epoch: int, progress: float | Callable[[int], float] = 1.0) -> Plan:
        """This rank's batches of an epoch: the same number on every rank.

        `progress` is as in `batches`.
        """
        share = progress(0) if callable(progress) else progress
        most_words = words_at(self.config.join, share)
        if self._planned is None or self._planned[0] != (epoch, most_words):
            self._planned = ((epoch, most_words), self._plan(epoch, most_words))
        return self._planned[1]

    def batches(
        self, epoch: int, start: int = 0, progress: float | Callable[[int], float] = 1.0
    ) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on, without making those before it.

        `progress` is the share of the run done when the epoch *began* (the curriculum moves between
        epochs), or a function that gives it for batch 0.
        """
        plan = self.plan(epoch, progress)
        batches = _Batches(plan, epoch, self._examples, self._collator)
        if self.config.workers == 0:
            yield from (batches[index] for index in range(start, len(plan)))
            return
        yield from DataLoader(
            batches,
            batch_size=None,
            sampler=range(start, len(plan)),
            num_workers=self.config.workers,
            prefetch_factor=PREFETCHED,
            worker_init_fn=serve_to_the_end,
            # Its own generator: the global one belongs to the run and must not move.
            generator=torch.Generator(),
        )

    def _plan(self, epoch: int, most_words: int) -> Plan:
        sizes = epoch_sizes(self._sources, self.config.epoch_hours, most_words)
        recipes = [
            recipe
            for source, size in zip(self._sources, sizes, strict=True)
            for recipe in source.recipes(self.seed, epoch, size, most_words)
        ]
        rng = generator(Stream.BATCHES, self.seed, epoch)
        frames = round(self.config.batch_seconds * FRAMES_PER_SECOND) // self._passes()
        packed = pack([recipe.num_frames for recipe in recipes], frames, rng)
        dealt = deal(packed, self.rank, self.world_size, rng)
        return [[recipes[index] for index in batch] for batch in dealt]

    def _passes(self) -> int:
        """Most encoder passes of an utterance: more than one where the task guides the encoder."""
        if self.config.tasks == "draw" or not self._collator.encoder_knows_task:
            return 1
        return 1 + max(
            len(self.model.vocabulary.targets_of(c)) for c in self.model.vocabulary.languages
        )


class ExampleMaker:
    """Recipe -> Example: reads the stored words, augments them, writes down their texts."""

    def __init__(
        self, config: DataConfig, model: ModelConfig, seed: int, stores: Sequence[FeatureStore]
    ) -> None:
        self._stores = stores
        self._tasks = config.tasks
        self._model = model
        self._seed = seed
        self._augmenter = Augmenter(config.augment, model.features)

    def example(self, recipe: Recipe, epoch: int) -> Example:
        """The utterance of this recipe: a function of it, the seed and the epoch."""
        rng = generator(Stream.AUGMENT, self._seed, epoch, recipe.corpus, recipe.index)
        store = self._stores[recipe.corpus]
        if recipe.empty:
            log_mel = self._augmenter.empty(recipe.num_frames, recipe.narrow, rng)
        else:
            words = [
                Variant(store.log_power(clip, variant), store.floors[clip, variant])
                for clip, variant in zip(recipe.joining.clips, recipe.variants, strict=True)
            ]
            log_mel = self._augmenter.speech(
                words, recipe.shape, recipe.joining, recipe.narrow, rng
            )
        clips = [store.clips[clip] for clip in recipe.joining.clips]
        transcript = joined_text([clip.text for clip in clips], clips[0].language)
        bandwidth = Bandwidth.NARROWBAND if recipe.narrow else Bandwidth.WIDEBAND
        return Example(
            id=f"{epoch}/{recipe.corpus}/{recipe.index}",
            log_mel=log_mel,
            bandwidth=bandwidth,
            language=clips[0].language,
            transcript="" if recipe.empty else transcript,
            texts=self._texts(clips, transcript, bandwidth, recipe),
        )

    def _texts(
        self, clips: Sequence[Clip], transcript: str, bandwidth: Bandwidth, recipe: Recipe
    ) -> dict[Guidance, str]:
        """The text of each decoder row, the transcript first; all empty where nothing is said."""
        language = clips[0].language
        spoken = joined_translations(clips)
        targets = [t for t in self._model.vocabulary.targets_of(language) if t in spoken]
        texts = {row_guidance(bandwidth, language, None): transcript}
        texts |= {row_guidance(bandwidth, language, t): spoken[t] for t in targets}
        if self._tasks == "draw":
            drawn = list(texts.items())[min(recipe.target, len(targets))]
            texts = dict([drawn])
        return dict.fromkeys(texts, "") if recipe.empty else texts


@dataclass(frozen=True, eq=False)
class _Batches(Dataset[Batch]):
    """The batches of one epoch by number, for whichever process makes them."""

    plan: Plan
    epoch: int
    examples: ExampleMaker
    collator: Collator

    def __getitem__(self, index: int) -> Batch:
        return self.collator.batch(
            [self.examples.example(recipe, self.epoch) for recipe in self.plan[index]]
        )

    def __len__(self) -> int:
        return len(self.plan)


def _sources(
    config: DataConfig, model: ModelConfig, cache: Path, gather: Gather
) -> list[CorpusSource]:
    sources = [_source(number, config, model, cache, gather) for number in range(len(config.train))]
    if not any(len(source.usable) and source.weight > 0 for source in sources):
        raise TrainingError("data.train holds nothing to learn from: name at least one corpus")
    return sources


def _source(
    number: int, config: DataConfig, model: ModelConfig, cache: Path, gather: Gather
) -> CorpusSource:
    corpus = config.train[number]
    clips = training_clips(read_clips(corpus.cuts))
    check_languages(clips, corpus.cuts, model.vocabulary.languages)
    settings = StoreConfig(
        features=model.features,
        telephone_variants=config.augment.telephone_variants,
        narrowband=config.augment.narrowband > 0,
        trim=corpus.join,
    )
    store = agreed(open_store(clips, settings, cache, workers=config.workers), gather)
    vocabulary = model.vocabulary
    targets = {code: vocabulary.targets_of(code) for code in vocabulary.languages}
    return CorpusSource.of(
        number,
        store,
        config,
        longest_frames=round(model.window_seconds * FRAMES_PER_SECOND),
        num_targets=tuple(
            sum(target in clip.translations for target in targets[clip.language])
            for clip in store.clips
        ),
    )
