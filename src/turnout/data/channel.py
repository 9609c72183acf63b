"""The channel that a configuration describes: drawn for a speaker's line and a place, and applied.

What is a speaker's: codec, filter, line noise, level. What is the place's: room, noise and its
ratio, an overdriven microphone. What is the moment's: where the noise begins, which packets are
lost. All this needs the waveform, so that versions of clips are made once and drawn from in each
epoch; the noises are also added in each epoch anew (`augment`).
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turnout.audio.codecs import CODECS, check_codec, recode
from turnout.audio.features import SAMPLE_RATE
from turnout.audio.packets import PACKET_SAMPLES, concealed, lost_packets
from turnout.audio.surroundings import at_level, clipped, in_room, with_noise
from turnout.audio.telephone import TelephoneChannel, back_at_16khz, random_channel
from turnout.audio.waveform import open_recording
from turnout.config import ChannelConfig
from turnout.corpora.clips import held_out
from turnout.corpora.manifest import json_lines
from turnout.corpora.spelling import beside
from turnout.errors import AudioError, ConfigError, ManifestError, MissingExtra

Floats = NDArray[np.float32]
Generator = np.random.Generator

ENDINGS = (
    ".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".sph", ".au", ".caf", ".w64",
    ".rf64", ".m4a", ".mp4", ".webm", ".mka", ".aac", ".amr", ".ts",
)  # fmt: skip
"""Of the files of a folder without a manifest that are taken for recordings."""
MANIFEST = "manifest.jsonl"
LONGEST_RESPONSE = 20
"""Seconds: a cathedral's is ten."""
LONGEST_NOISE = 300
"""Seconds that are heard of a noise: a process keeps some of them in memory."""
KINDS = {"noises": ("noise",), "rooms": ("impulse response", "room", "rir")}
"""What a manifest calls them."""


@dataclass(frozen=True)
class Sound:
    """A recording of a noise, or a room's impulse response."""

    path: str
    size: int
    """Bytes: another file of that name is another sound."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Generators of one version of one clip: who shares their seeds shares what they draw."""

    line: Generator
    place: Generator
    moment: Generator


@dataclass(frozen=True, kw_only=True)
class Line:
    """A speaker's telephone and the network behind it."""

    filtered: TelephoneChannel
    """Its filter and its noise."""
    codec: str
    bit_rate: int | None
    loss: tuple[float, float] | None
    """Rate and mean burst of the packets that are lost."""
    gain_db: float | None

    def apply(self, samples: Floats, rng: Generator) -> Floats:
        """As many samples at 16 kHz, as they arrive."""
        arrived = self.filtered.at_8khz(samples, rng)
        if self.codec != "none":
            arrived = recode(arrived, self.codec, self.bit_rate)
        if self.loss is not None:
            count = -(-len(arrived) // PACKET_SAMPLES)
            arrived = concealed(arrived, lost_packets(count, *self.loss, rng))
        return back_at_16khz(arrived, len(samples))


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A configuration and the recordings that it names."""

    config: ChannelConfig
    noises: tuple[Sound, ...]
    rooms: tuple[Sound, ...]

    def version(self, samples: Floats, draws: Draws, *, telephone: bool) -> Floats:
        """As many samples at 16 kHz, after the place and, where wanted, a telephone line."""
        config = self.config
        line = _line(config, draws.line)
        heard = self._in_place(samples, draws)
        if line.gain_db is not None:
            heard = at_level(heard, line.gain_db)
        return line.apply(heard, draws.moment) if telephone else heard

    def _in_place(self, samples: Floats, draws: Draws) -> Floats:
        config, place = self.config, draws.place
        shares = place.random(3)
        which = place.random(2)
        snr_db, cut = place.uniform(*config.noise_snr_db), place.uniform(*config.clipped)
        start = draws.moment.random()
        if self.rooms and shares[0] < config.room:
            samples = in_room(samples, samples_of(self.rooms[int(which[0] * len(self.rooms))]))
        if self.noises and shares[1] < config.noise:
            noise = samples_of(self.noises[int(which[1] * len(self.noises))])
            samples = with_noise(samples, noise, snr_db, int(start * len(noise)))
        return clipped(samples, cut) if shares[2] < config.clipping else samples


def open_channel(config: ChannelConfig, split: str | None = None) -> Channel:
    """The channel, its codecs and recordings there to be used: those of no held-out split, or of
    this one ('dev', 'test').

    Raises ConfigError for a folder that is missing or holds none, or a recording that is damaged,
    MissingExtra for a codec that needs PyAV where that is not installed.
    """
    for codec in config.codecs:
        if codec != "none":
            check_codec(codec)
    folders = config.noises, config.rooms
    # Two spellings may name one folder.
    shared = all(folders) and len({Path(str(folder)).resolve() for folder in folders}) == 1
    if shared and not (Path(str(config.rooms)) / MANIFEST).is_file():
        raise ConfigError(
            f"augment.channel.noises and rooms are both {config.rooms}, which has no {MANIFEST} to "
            "tell them apart: name two folders"
        )
    return Channel(
        config=config,
        noises=_sounds("noises", config.noises, split, shared=shared),
        rooms=_sounds("rooms", config.rooms, split, shared=shared),
    )


def telephone_of(config: ChannelConfig | None) -> Callable[[Floats, Generator], Floats]:
    """A call as training hears it, everything drawn from one generator: samples at 16 kHz in, as
    many out. Raises as `open_channel`."""
    if config is None:
        return lambda samples, rng: random_channel(rng).apply(samples, rng)
    channel = open_channel(config)
    return lambda samples, rng: channel.version(
        samples, Draws(line=rng, place=rng, moment=rng), telephone=True
    )


def _line(config: ChannelConfig, rng: Generator) -> Line:
    codec = config.codecs[int(rng.integers(len(config.codecs)))]
    rates = (None,) if codec == "none" else CODECS[codec].bit_rates
    bit_rate = rates[int(rng.integers(len(rates)))]
    # Drawn whether wanted or not: one share must not move what the others draw.
    loses, louder = rng.random(2)
    loss = rng.uniform(*config.packet_loss_rate), rng.uniform(*config.packet_loss_burst)
    gain_db = rng.uniform(*config.level_db)
    return Line(
        filtered=replace(random_channel(rng), codec=None),
        codec=codec,
        bit_rate=bit_rate,
        loss=loss if loses < config.packet_loss else None,
        gain_db=gain_db if louder < config.level else None,
    )


def _sounds(
    option: str, folder: str | None, split: str | None, *, shared: bool
) -> tuple[Sound, ...]:
    """The recordings of a folder, in order of their names, each tried; where noises and rooms
    share it, each states its kind."""
    if folder is None:
        return ()
    name = f"augment.channel.{option}"
    if not folder:
        raise ConfigError(f"{name} is empty: name a folder of recordings, or leave the option out")
    if not Path(folder).is_dir():
        raise ConfigError(f"{name} is {folder}: no such folder; name one of recordings")
    try:
        files = sorted(_files(option, Path(folder), split, shared=shared))
    except ManifestError as error:
        raise ConfigError(f"{name}: {error}") from error
    if not files:
        raise ConfigError(
            f"{name} is {folder}: no recording in it that may be used here (WAV, FLAC, ...; where "
            f"it has a {MANIFEST}, of kind '{KINDS[option][0]}' and of "
            + (f"the split {split})" if split else "no dev or test split)")
        )
    for file in files:
        _try(name, file, rooms=option == "rooms")
    sounds = tuple(Sound(str(file), file.stat().st_size) for file in files)
    for sound in sounds if option == "rooms" else ():
        if len(samples_of(sound)) > LONGEST_RESPONSE * SAMPLE_RATE:
            raise ConfigError(
                f"{name}: {sound.path}: is longer than {LONGEST_RESPONSE} s, and so no impulse "
                "response of a room"
            )
    return sounds


def _files(option: str, folder: Path, of: str | None, *, shared: bool) -> Iterator[Path]:
    if not (folder / MANIFEST).is_file():
        yield from (path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
        return
    for line in json_lines(folder / MANIFEST):
        if isinstance(line, ManifestError):
            raise line
        kind, split = line.text("kind"), line.split() or "train"
        if shared and not kind:
            raise line.place.error(None, "states no kind, and noises and rooms are both named here")
        wanted = not kind or kind.lower() in KINDS[option]
        if wanted and held_out(split) == of:
            yield beside(folder, line.needed("audio_filepath"))


def _try(name: str, file: Path, *, rooms: bool) -> None:
    """Raise ConfigError unless this is a recording with sound in it; an offset is none."""
    try:
        with closing(open_recording(str(file), channel=0)) as recording:
            if any(np.any(block) for block in recording.blocks(settled=not rooms)):
                return
    except (AudioError, MissingExtra) as error:
        raise ConfigError(f"{name}: {error}") from error
    raise ConfigError(f"{name}: {file}: is nothing but silence: leave it out")


@lru_cache(maxsize=32)
def samples_of(sound: Sound) -> Floats:
    """The same as `read_sound`, for whoever wants it again."""
    return read_sound(sound)


def read_sound(sound: Sound) -> Floats:
    """Its first channel at 16 kHz, of LONGEST_NOISE seconds at most: the mean of several channels
    would blur a room."""
    most, blocks, length = LONGEST_NOISE * SAMPLE_RATE, [], 0
    try:
        with closing(open_recording(sound.path, channel=0)) as recording:
            for block in recording.blocks(settled=False):
                blocks.append(block)
                length += len(block)
                if length >= most:
                    break
        return np.concatenate(blocks)[:most].copy()
    except AudioError as error:  # it could be read when the run began
        raise ConfigError(f"augment.channel: {error}") from error
