"""What a run reads, and what is done to it before the model sees it. No torch here."""

from dataclasses import dataclass, field
from typing import Literal

from turnout.config.bounds import above_zero, at_least, require, share, within
from turnout.guidance import Window

LONGEST_PAUSE = 30
"""Seconds: as long as the window of most models."""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """One corpus of a mixture: lhotse cuts, as `turnout prepare` and `synthesize` write them, or
    shards, as `turnout shard` makes them of such."""

    cuts: str = ""
    """Path of a `*.jsonl.gz` of cuts."""
    shards: str = ""
    """Folder or address (s3://, http://) of shards instead: they are streamed, and nothing of them
    is stored beforehand. For `data.train` alone."""
    weight: float = 1.0
    """How often it is drawn, relative to the other corpora."""
    join: bool = False
    """Whether its clips are isolated words, to be joined into connected utterances."""

    pack: bool = False
    """Whether its utterances are put one after the other, with short gaps (`join.min_pause` to
    `max_pause`), until the model's window is full: of one language, bandwidth, domain and
    translations each. For models whose windows are padded, such as Whisper."""

    def __post_init__(self) -> None:
        at_least(0, self, "", "weight")
        require(
            bool(self.cuts or self.shards),
            "a corpus in data names neither cuts nor shards: give the cuts that `turnout prepare` "
            "wrote, or the folder or address of shards",
        )
        require(
            not (self.join and self.pack),
            f"{self.cuts}: join is for isolated words, pack for whole utterances: choose one",
        )
        if self.shards:
            self._check_stream()

    def _check_stream(self) -> None:
        """Raise ConfigError for what cannot go with shards."""
        # Not even shown: configurations are written down beside checkpoints and into model cards.
        require(
            "://" not in self.shards or not set(self.shards).intersection("@?#"),
            "an address of shards in data has a user, a password or a query, and configurations "
            "are written down: leave it to the store's own settings (environment or profile)",
        )
        require(
            not self.cuts,
            f"cuts ({self.cuts}) and shards ({self.shards}) are two corpora: name each by itself",
        )
        require(
            not (self.join or self.pack),
            f"{self.shards}: {'join' if self.join else 'pack'} chooses among all utterances of a "
            "corpus, and of shards nobody holds them: leave it out, or name the cuts",
        )


@dataclass(frozen=True, kw_only=True)
class JoinConfig:
    """Words of one speaker joined with pauses into connected utterances."""

    min_words: int = 1
    """Fewest words of an utterance."""
    max_words: int = 6
    """Most words of an utterance."""
    min_pause: float = 0.05
    """Shortest pause between words, in seconds."""
    max_pause: float = 0.3
    """Longest pause between words, in seconds."""
    silent_pauses: float = 0.3
    """Share of utterances whose pauses are digital zero rather than faint noise."""
    curriculum: tuple[tuple[float, int], ...] = ((0.05, 1), (0.15, 3))
    """(share of the run, most words until then), ascending; then max_words."""
    exclude: tuple[str, ...] = ()
    """Texts that no utterance may have: sentences that are kept for trying the model out."""

    def __post_init__(self) -> None:
        require(1 <= self.min_words <= self.max_words, "join: 1 <= min_words <= max_words")
        require(
            0 <= self.min_pause <= self.max_pause <= LONGEST_PAUSE,
            f"join.min_pause and max_pause are {self.min_pause} and {self.max_pause}: "
            f"0 <= min_pause <= max_pause <= {LONGEST_PAUSE} is needed, in seconds",
        )
        share(self, "join.", "silent_pauses")
        shares = [until for until, _ in self.curriculum]
        require(
            shares == sorted(shares)
            and all(0 <= until <= 1 and words >= 1 for until, words in self.curriculum),
            f"join.curriculum is {self.curriculum}: pairs of a share of the run, ascending from 0 "
            "to 1, and a number of words are needed",
        )


CodecName = Literal["none", "mulaw", "alaw", "gsm", "g726", "g723_1", "amr_nb", "opus"]


@dataclass(frozen=True, kw_only=True)
class ChannelConfig:
    """What speech goes through before it is recorded: a room, noise, a telephone line. Each share
    is that of the versions made of a clip (`telephone_variants`, `wideband_variants`)."""

    codecs: tuple[CodecName, ...] = (
        "none", "mulaw", "alaw", "gsm", "g726", "g723_1", "amr_nb", "opus",
    )  # fmt: skip
    """Of telephone lines, each as likely as the others (named twice, twice as likely), at any of
    its bit rates. All but none, mulaw, alaw and gsm need the extra 'av'."""
    packet_loss: float = 0.3
    """Share of telephone calls that lose packets of 20 ms; what came before is repeated, fading."""
    packet_loss_rate: tuple[float, float] = (0.01, 0.15)
    """Range of the share of a call's packets that are lost."""
    packet_loss_burst: tuple[float, float] = (1.0, 4.0)
    """Range of the mean number of packets lost in a row."""
    rooms: str | None = None
    """Folder of impulse responses; where it has a manifest.jsonl with `kind` and `split`, only
    those it calls impulse responses, and none of dev and test."""
    room: float = 0.3
    """Share that is heard in one of the rooms."""
    noises: str | None = None
    """Folder of recorded noises, read like that of the rooms; both may be one folder. Of each, the
    first five minutes are heard."""
    noise: float = 0.5
    """Share that has one of the noises behind it."""
    noise_snr_db: tuple[float, float] = (5.0, 30.0)
    """Range of its signal-to-noise ratio, in decibels of the clip's mean power."""
    level: float = 0.5
    """Share that is louder or quieter than it was recorded."""
    level_db: tuple[float, float] = (-30.0, 6.0)
    """Range of that gain, in decibels; what goes beyond full scale is cut off."""
    clipping: float = 0.1
    """Share whose microphone was overdriven."""
    clipped: tuple[float, float] = (0.001, 0.02)
    """Range of the share of such a clip's samples that are cut off."""
    wideband_variants: int = 2
    """Versions with room, noise, level and clipping made of each wideband clip and drawn from; 0
    leaves wideband as it was recorded."""

    def __post_init__(self) -> None:
        name = "augment.channel."
        require(len(self.codecs) > 0, f"{name}codecs is empty: name at least one, such as 'none'")
        share(self, name, "packet_loss", "room", "noise", "level", "clipping")
        at_least(0, self, name, "wideband_variants")
        within(0, 0.9, self, name, "packet_loss_rate", "clipped")
        within(1, 50, self, name, "packet_loss_burst")
        within(-60, 100, self, name, "noise_snr_db", "level_db")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Changes made anew for each utterance and epoch, from (seed, epoch, utterance id)."""

    narrowband: float = 0.5
    """Share of wideband utterances sent through the telephone channel."""
    telephone_variants: int = 2
    """Telephone channels (codec, filter, line noise) made of each clip and drawn from; 0 leaves
    narrowband recordings as they are."""
    channel: ChannelConfig | None = None
    """What these channels have besides, and wideband too: more codecs, lost packets, rooms, noises,
    level, clipping. Any of its options turns it on; without them a line has G.711 or no codec."""
    speed: tuple[float, float] = (0.85, 1.18)
    """Range of the tempo, drawn uniformly; (1, 1) is off."""
    warp: tuple[float, float] = (0.87, 1.15)
    """Range of the frequency warp (vocal tract length); (1, 1) is off."""
    equalizer_db: float = 6.0
    """Largest gain of a random smooth colouring of the spectrum, in decibels."""
    noise: float = 0.6
    """Share of utterances that get noise; half of it is recorded where channel.noises has any."""
    noise_snr_db: tuple[float, float] = (8.0, 40.0)
    """Range of its signal-to-noise ratio, in decibels."""
    empty: float = 0.02
    """Share of utterances replaced by noise or silence with empty text."""
    sounds: float = 0.5
    """Share of these that are clicks, tones or hum."""
    time_masks: int = 2
    """SpecAugment: masks along time."""
    time_mask_frames: int = 20
    """SpecAugment: widest mask along time, in 10 ms frames."""
    mel_masks: int = 2
    """SpecAugment: masks along frequency."""
    mel_mask_bands: int = 14
    """SpecAugment: widest mask along frequency, in mel bands."""

    def __post_init__(self) -> None:
        share(self, "augment.", "narrowband", "noise", "empty", "sounds")
        at_least(0, self, "augment.", "telephone_variants")
        at_least(0, self, "augment.", "equalizer_db", "time_masks", "time_mask_frames")
        at_least(0, self, "augment.", "mel_masks", "mel_mask_bands")
        within(-60, 100, self, "augment.", "noise_snr_db")
        within(0.1, 10, self, "augment.", "speed", "warp")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The data of a run."""

    train: tuple[CorpusConfig, ...] = ()
    """Corpora to learn from: each a file of cuts, or JSON as in '{"cuts": FILE, "weight": 2,
    "join": true}' or '{"shards": FOLDER}'."""
    dev: tuple[CorpusConfig, ...] = ()
    """Corpora to validate on; never augmented, joined with a fixed seed where they are words."""
    tasks: Literal["draw", "all"] = "all"
    """'draw': each utterance trains one task a step, by weight; 'all': every task it has a text
    for, in one step and one encoder pass."""
    translate_weight: float = 0.5
    """'draw' only: share of utterances with a translation that train it."""
    join: JoinConfig = field(default_factory=JoinConfig)
    """For corpora of isolated words."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """For the training corpora."""
    batch_seconds: float = 180.0
    """Audio in one batch of one rank, padding included, at most."""
    epoch_hours: float | None = None
    """Audio in one epoch; by default each corpus about once (weights considered)."""
    plans: int | None = None
    """So many different plans of an epoch (what is joined or packed, gaps, tempo) in turn; by
    default every epoch has its own. What a teacher hears comes again with the plan."""
    window: Window = Window.PADDED
    """'speech': models with padded windows learn to hear no more than there is of an
    utterance, which takes less time."""
    cache: str | None = None
    """Folder for the mel power of every clip; by default `features` inside the run's folder."""
    workers: int = 0
    """Processes that prepare batches; 0 prepares them in the training process."""
    worker_start: Literal["forkserver", "spawn", "fork"] | None = None
    """How they begin: 'forkserver' on Linux and 'spawn' elsewhere, unless told. 'fork' begins
    sooner, but may stand still where the training process has threads."""
    worker_timeout: float = 300.0
    """Seconds that a batch may take them before the run is given up."""
    dev_utterances: int = 200
    """Most utterances of each dev corpus, bandwidth and task."""

    def __post_init__(self) -> None:
        above_zero(self, "data.", "batch_seconds", "epoch_hours", "worker_timeout")
        at_least(0, self, "data.", "workers")
        at_least(1, self, "data.", "dev_utterances", "plans")
        share(self, "data.", "translate_weight")
        require(
            self.window is not Window.SPEECH or not any(corpus.pack for corpus in self.train),
            "data.window is 'speech', and pack: true fills windows until they are as long as "
            "padded ones: leave out one of them",
        )
        require(
            not any(corpus.pack for corpus in self.dev),
            "data.dev: pack is for training, and each utterance is validated alone: leave it out",
        )
        require(
            not any(corpus.shards for corpus in self.dev),
            "data.dev names shards, and these are for training: name the cuts of a dev set",
        )
