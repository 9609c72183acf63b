"""Corpora -> batches, exactly resumable: batch n of an epoch depends on seed and epoch alone.

What a batch holds never depends on the process that makes it, nor on what was made before it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from hashlib import sha256
from pathlib import Path

from turnout.config import CorpusConfig, DataConfig, ModelConfig
from turnout.corpora.clips import Clip, check_domains, check_languages, training_clips
from turnout.data.augment import Augmenter
from turnout.data.batch import Batch, Collator
from turnout.data.channel import open_channel
from turnout.data.common_clips import Gather, alone, with_common_clips
from turnout.data.epoch import (
    WHOLE,
    EpochPlan,
    Part,
    Streamed,
    Unread,
    epoch_scale,
    epoch_sizes,
    evened,
    pack,
    rank_share,
    words_at,
)
from turnout.data.examples import Asked, BatchMaker, EmptyWatch, ExampleMaker
from turnout.data.fitting import Fitting, tell_of_lone, tell_of_strangers, tell_of_unused
from turnout.data.hearing import Hearer
from turnout.data.parcel import unpacked
from turnout.data.plan import (
    FRAMES_PER_SECOND,
    CorpusPlanner,
    PlannedUtterance,
    Stream,
    generator,
    longest_frames,
)
from turnout.data.store import FeatureStore, open_store
from turnout.data.stream import ShardStream, Streams
from turnout.data.variants import VariantConfig
from turnout.data.workers import Workers, new_processes
from turnout.errors import TrainingError
from turnout.guidance import Window
from turnout.text.tokenizer import Tokenizer

MOST_MISSED = 3
"""Parts in a row of which no rank could read anything; with the last of them a run is given up."""


@dataclass
class Loader:
    """The training data of one rank.

    Making one opens, and where needed builds, the stores of the training corpora; of shards it
    reads the manifest. Raises ManifestError, ConfigError, TrainingError, StorageError, ShardError,
    UsageError or MissingExtra.
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
        self._stores: list[FeatureStore] = []
        self._planners: list[CorpusPlanner] = []
        streams: list[ShardStream] = []
        for number, corpus in enumerate(self.config.train):
            if corpus.shards:
                settings = self._settings(corpus)
                streams.append(
                    ShardStream(number, self.config, self.model, settings, seed=self.seed)
                )
                continue
            fitting = Fitting(self.model, self.tokenizer, corpus.join)
            store = self._open(corpus, fitting)
            self._stores.append(store)
            self._planners.append(self._planner(number, store, fitting))
        self._streamed = sum(stream.natural_frames for stream in streams)
        hours, most_words = self.config.epoch_hours, words_at(self.config.join, 1.0)
        scale = epoch_scale(self._planners, hours, most_words, self._streamed)
        self._streams = Streams(streams, self.seed, scale)
        self._streams.check(self.world_size, self.gather)
        self._check_something()
        noises = self._channel.noises if self._channel else ()
        augmenter = Augmenter(self.config.augment, self.model, noises, window)
        self._examples = ExampleMaker(self.config.tasks, augmenter, self.seed, clean=self.clean)
        self._collator = Collator(self.model, self.tokenizer)
        self._planned: tuple[tuple[int, int, int], EpochPlan] | None = None
        self.unread: tuple[Unread, ...] = ()
        """Shards of which no rank can tell what is in them, found when the last plan was made."""
        self._empty = EmptyWatch()
        self._parts_missed = 0
        self._make = self._maker()
        self._workers = Workers(
            self._make.parcel, self.config.workers, self._context, self.config.worker_timeout
        )

    @property
    def parts(self) -> int:
        """Of an epoch, each of which is planned by itself: one unless shards are streamed."""
        return self.parts_on(self.world_size)

    def parts_on(self, ranks: int) -> int:
        """The same for so many ranks."""
        return self._streams.dealing(ranks).parts

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
        for stream in self._streams.streams:
            digest.update(stream.digest.encode())
        return digest.hexdigest()

    @property
    def left_out(self) -> tuple[str, ...]:
        """One line for each clip that could not be read, or that the model cannot learn from."""
        return tuple(line for store in self._stores for line in store.left_out)

    def plan(self, epoch: int, progress: float = 1.0, part: Part = WHOLE) -> EpochPlan:
        """This rank's batches of a part of an epoch: the same number on every rank. Where shards
        are streamed, all ranks must ask for it alike.

        `progress` is the share of the run done when the epoch *began*: the curriculum moves between
        epochs, so that a run that goes on within one finds the same plan.
        """
        most_words = words_at(self.config.join, progress)
        key = epoch, most_words, part.number
        if self._planned is None or self._planned[0] != key:
            planned = (
                self._plan_part(epoch, most_words, part)
                if self._streams.streams
                else self._plan(epoch, most_words)
            )
            self._planned = (key, planned)
        return self._planned[1]

    def batches(
        self, epoch: int, start: int = 0, progress: float = 1.0, part: Part = WHOLE
    ) -> Iterator[Batch]:
        """The batches of this plan from number `start` on, without making those before it."""
        asked: list[Asked] = [(epoch, batch) for batch in self.plan(epoch, progress, part)[start:]]
        made = (
            map(unpacked, self._workers.made(asked))
            if self.config.workers
            else map(self._make, asked)
        )
        return self._empty.watched(made) if self._streams.streams else made

    def close(self) -> None:
        """Let the processes end that prepare batches; they begin anew where more are wanted."""
        self._workers.close()

    def _open(self, corpus: CorpusConfig, fitting: Fitting) -> FeatureStore:
        """What all ranks can read of a corpus, as mel power."""
        clips = training_clips(self.clips[corpus.cuts])
        check_languages(clips, corpus.cuts, self.model.vocabulary.languages)
        check_domains(clips, corpus.cuts, self.model)
        tell_of_unused(self.clips[corpus.cuts], clips, corpus.cuts, self.model.vocabulary)
        cache = Path(self.config.cache) if self.config.cache else self.cache_dir
        store = open_store(
            clips,
            self._settings(corpus),
            cache,
            workers=self.config.workers,
            context=self._context,
        )
        common = with_common_clips(store, self.gather)
        if corpus.join:
            tell_of_strangers(common.clips, corpus.cuts)
        return fitting.of(common)

    def _settings(self, corpus: CorpusConfig) -> VariantConfig:
        # Joined words are followed by a gap, as a whole clip is by its features' padding.
        padded = self._padded and not corpus.join
        return VariantConfig(
            features=self.model.features,
            telephone_variants=self.config.augment.telephone_variants,
            narrowband=self.config.augment.narrowband > 0,
            trim=corpus.join,
            window_seconds=self.model.window_seconds if padded else None,
            channel=self._channel,
        )

    def _check_something(self) -> None:
        """Raise TrainingError where there is nothing to learn from."""
        if any(p.corpus.weight > 0 and p.clips for p in self._planners) or self._streamed:
            return
        left_out = self.left_out
        raise TrainingError(
            f"data.train holds nothing to learn from: {len(left_out)} clips are left out, such as "
            f"{left_out[0]}"
            if left_out
            else "data.train holds nothing to learn from: name at least one corpus"
        )

    def _maker(self) -> BatchMaker:
        stores = zip(self._planners, self._stores, strict=True)
        hearers = {
            stream.number: Hearer(
                stream.number,
                self.config,
                self.model,
                self.tokenizer,
                self._settings(self.config.train[stream.number]),
                seed=self.seed,
            )
            for stream in self._streams.streams
        }
        by_number = {planner.number: store for planner, store in stores}
        return BatchMaker(self._examples, self._collator, by_number, hearers)

    def _planner(self, number: int, store: FeatureStore, fitting: Fitting) -> CorpusPlanner:
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
        lengths = [utterance.shape.num_frames for utterance in utterances]
        batches = pack(self._read(lengths), self._most_frames, rng)
        share = rank_share(batches, self.rank, self.world_size, rng)
        return [[utterances[index] for index in batch] for batch in share]

    def _plan_part(self, epoch: int, most_words: int, part: Part) -> EpochPlan:
        """Of the rank's own shards, and of its share of what is stored; in as many batches as the
        rank has that needs most."""
        dealing = self._streams.dealing(self.world_size)
        turns = dealing.turns(epoch, part.number, self.rank)
        frames_of, unread = self._streams.utterances(turns, part.unread)
        frames_of += self._stored_part(epoch, most_words, part)
        rng = generator(Stream.BATCHES, self.seed, epoch, part.number, self.rank)
        lengths = self._read([frames for _, frames in frames_of])
        batches = pack(lengths, self._most_frames, rng)
        told = [json.loads(text) for text in self.gather(json.dumps([len(batches), unread]))]
        lost = [Unread(*one) for _, more in told for one in more]
        self.unread = tuple({one.key: one for one in lost}.values())
        steps = self._steps(max(count for count, _ in told))
        # The same order on each rank: at one step their batches are alike.
        order = generator(Stream.BATCHES, self.seed, epoch, part.number).permutation(steps).tolist()
        mine = evened(batches, steps)
        return [[frames_of[index][0] for index in mine[step]] for step in order]

    def _steps(self, most: int) -> int:
        """Of a part in which a rank has `most` batches; one where no rank can read anything of it,
        since the next may be well. Raises TrainingError where several in a row were not."""
        self._parts_missed = 0 if most else self._parts_missed + 1
        if self._parts_missed == MOST_MISSED:
            reason = self.unread[-1].line if self.unread else "they were left out before"
            raise TrainingError(
                f"{MOST_MISSED} parts of an epoch in a row hold nothing that can be read "
                f"({reason}): see to the store of the shards; the same command goes on from the "
                "last checkpoint"
            )
        return max(most, 1)

    def _stored_part(
        self, epoch: int, most_words: int, part: Part
    ) -> list[tuple[PlannedUtterance | Streamed, int]]:
        """The rank's share of what the stores' epoch has in this part, each with its frames."""
        hours = self.config.epoch_hours
        sizes = epoch_sizes(self._planners, hours, most_words, self._streamed)
        taken = slice(part.number * self.world_size + self.rank, None, self.parts * self.world_size)
        return [
            (utterance, utterance.shape.num_frames)
            for planner, size in zip(self._planners, sizes, strict=True)
            for utterance in planner.utterances(self.seed, epoch, size, most_words, taken)
        ]

    def _read(self, frames: list[int]) -> list[int]:
        """How many frames the model reads of each: of padded features its whole window, however
        short the utterance."""
        return [longest_frames(self.model)] * len(frames) if self._padded else frames

    @property
    def _most_frames(self) -> int:
        """Of a batch."""
        return round(self.config.batch_seconds * FRAMES_PER_SECOND) // self._passes()

    def _passes(self) -> int:
        """Most encoder passes of an utterance: more than one where the task guides the encoder."""
        if self.config.tasks == "draw" or not self._collator.encoder_knows_task:
            return 1
        return 1 + max(
            len(self.model.vocabulary.targets_of(c)) for c in self.model.vocabulary.languages
        )
