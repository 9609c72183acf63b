"""A clip -> its variants as mel power: as it is, and through telephone channels.

Natural logarithms in float16: half the size, and finer than any augmentation.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE, WINDOW_SAMPLES, mel_power, num_frames
from turnout.audio.telephone import random_channel
from turnout.config import FeatureConfig
from turnout.corpora.clips import Clip
from turnout.data.channel import Channel, Draws
from turnout.data.joining import background_power, word_span
from turnout.guidance import Bandwidth

Floats = NDArray[np.float32]

LOWEST_LOG = -30.0
"""Natural logarithm that stands for no power at all (float16 has no room for less)."""


@dataclass(frozen=True, kw_only=True)
class VariantConfig:
    """All that the variants of a clip depend on, besides the clip."""

    features: FeatureConfig
    telephone_variants: int
    """Telephone variants of each narrowband clip, and of each wideband clip where wanted."""
    narrowband: bool
    """Whether wideband clips get telephone variants as well."""
    trim: bool
    """Whether clips are isolated words, kept without the silence around them."""
    window_seconds: float | None = None
    """Up to which length silence follows the clip, where the model's features are padded."""

    channel: Channel | None = None
    """What the telephone variants go through, and wideband variants too; None is a channel of
    G.711 or no codec, and as recorded."""

    def numbers(self, clip: Clip) -> list[int]:
        """Of a clip's variants: as it is, by telephone, in wideband through the channel."""
        first = 1 + self.telephone_variants
        narrow = clip.bandwidth is Bandwidth.NARROWBAND
        telephone = range(1, first) if self.narrowband or narrow else ()
        wide = self.channel.config.wideband_variants if self.channel and not narrow else 0
        return [0, *telephone, *range(first, first + wide)]


@dataclass(frozen=True)
class Variant:
    """One version of one clip: as it is, or as a telephone channel left it."""

    log_power: NDArray[np.float16]
    """[frames, mels]: natural logarithm of the mel power."""
    floor: NDArray[np.float16]
    """[mels]: the same of the quietest frames of the whole clip, silence around a word included."""


def variants_of(clip: Clip, samples: Floats, config: VariantConfig) -> list[Variant]:
    """The clip's variants in the order of their numbers, each with the same number of frames.

    A speaker's clips share their telephone channels, variant by variant: words that are joined
    came over one line, and out of one room.
    """
    first, last = word_span(samples) if config.trim else (0, len(samples))
    numbers = config.numbers(clip)
    versions = _versions(clip, samples, config, numbers)
    return [_variant(version, first, last, config) for version in versions]


def variant_of(clip: Clip, samples: Floats, config: VariantConfig, number: int) -> Variant:
    """One of these variants alone, the same to the bit; raises ValueError for a number that the
    clip does not have."""
    first, last = word_span(samples) if config.trim else (0, len(samples))
    numbers = config.numbers(clip)
    place = numbers.index(number)
    # Telephone lines without a channel come one after the other out of one generator.
    wanted = numbers[: place + 1] if config.channel is None else [number]
    *_, version = _versions(clip, samples, config, wanted)
    return _variant(version, first, last, config)


def _versions(
    clip: Clip, samples: Floats, config: VariantConfig, numbers: list[int]
) -> Iterator[Floats]:
    """The clip's sound as of these numbers."""
    calls = _calls(clip, samples)
    for number in numbers:
        if number == 0:
            yield samples
        elif config.channel is None:
            yield next(calls)
        else:
            yield _version(config.channel, clip, samples, number, config)


def _calls(clip: Clip, samples: Floats) -> Iterator[Floats]:
    """Without end. One generator for all: the shipped model was trained on these."""
    line, noise = generator_of(clip.voice), generator_of(clip.id)
    while True:
        yield random_channel(line).apply(samples, noise)


def _version(
    channel: Channel, clip: Clip, samples: Floats, number: int, config: VariantConfig
) -> Floats:
    # Whole utterances are recorded wherever they are; words that are joined, in one place.
    place = clip.voice if config.trim else clip.id
    draws = Draws(
        line=generator_of(f"line/{clip.voice}/{number}"),
        place=generator_of(f"place/{place}/{number}"),
        moment=generator_of(f"moment/{clip.id}/{number}"),
    )
    return channel.version(samples, draws, telephone=number <= config.telephone_variants)


def generator_of(name: str) -> np.random.Generator:
    """Seeded by a name; Python's own hash of it would differ from process to process."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _variant(samples: Floats, first: int, last: int, config: VariantConfig) -> Variant:
    power = mel_power(samples, config.features)
    floor = background_power(power)
    kept = samples[first:last]
    silence = _silence(len(kept), config)
    if silence or len(kept) < len(samples):
        power = mel_power(np.pad(kept, (0, silence)), config.features)
    return Variant(_log16(power), _log16(floor))


def frames_of(samples: int, config: VariantConfig) -> int:
    """Frames of each variant of a clip of so many samples that is not trimmed."""
    return num_frames(samples + _silence(samples, config), config.features)


def _silence(samples: int, config: VariantConfig) -> int:
    """Samples behind a clip of so many."""
    if config.window_seconds is None:
        return 0
    # The last frames reach into the silence behind the clip, one window of it at most; where there
    # is none, the clip's end is mirrored.
    missing = round(config.window_seconds * SAMPLE_RATE) - samples
    return min(max(missing, 0), WINDOW_SAMPLES)


def _log16(power: Floats) -> NDArray[np.float16]:
    lowest = np.float32(np.exp(LOWEST_LOG))
    return np.log(np.maximum(power, lowest)).astype(np.float16)
