"""Changes of an utterance made anew in each epoch, in the domain of mel power.

Words are stretched and warped as natural logarithms, then coloured, joined with their gaps and
given noise as power, and masked after the normalisation (SpecAugment, arXiv 1904.08779). All from
one generator that the caller seeds per (seed, epoch, utterance).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import HOP_SAMPLES, SAMPLE_RATE, log_mel_of, mel_power, num_frames
from turnout.config import AugmentConfig, ModelConfig
from turnout.data.channel import Sound
from turnout.data.noise import (
    TELEPHONE_HZ,
    NoiseBank,
    draw_sound,
    envelope,
    noise_bank,
    recorded,
)
from turnout.data.plan import WORD_WARP_JITTER, PlannedUtterance
from turnout.data.variants import Variant
from turnout.guidance import Window

Floats = NDArray[np.float32]
NATS_PER_DB = np.log(10.0) / 10.0
WORD_LEVEL_DB = 5.0
WARP_STEP = 0.01
SILENT_ABOVE_HZ = 4300.0
"""Mel bands from here on touch nothing of what a telephone channel carries."""
CLEAN_TOP = 0.8
"""Share of narrowband utterances with nothing at all up there; the others keep what clips that were
cut abruptly, or a poor resampler, left."""
WARP_CUTOFF_HZ = 6800.0
"""Up to here frequencies are scaled; from here on they run straight to the highest band."""
EQUALIZER_POINTS = 6
RECORDED = 0.5
"""Share of noises that are recorded ones where a recipe has them, of empty utterances too."""
SPARE_FRAMES = 3
"""A window reaches beyond its frame."""
LONGEST_MASK_SHARE = 0.1
"""Of an utterance that one time mask may hide: short utterances are one word."""


@dataclass(frozen=True)
class Augmenter:
    """Stored words -> log-mel of one augmented utterance."""

    config: AugmentConfig
    model: ModelConfig
    noises: tuple[Sound, ...] = ()
    """Recorded; where there are any, they are RECORDED of the noise."""
    window: Window = Window.PADDED
    """Whether features that are padded to the model's window are padded here."""

    @cached_property
    def bank(self) -> NoiseBank:
        """Noise for the model's features."""
        return noise_bank(self.model.features)

    @cached_property
    def inside_telephone(self) -> NDArray[np.bool_]:
        """[mels]: the bands that a telephone channel carries."""
        return self.bank.band_hz < TELEPHONE_HZ

    def speech(
        self, words: Sequence[Variant], planned: PlannedUtterance, rng: np.random.Generator
    ) -> Floats:
        """The log-mel frames, [frames, mels], of one utterance."""
        power = self._joined(words, planned, rng)
        if rng.random() < self.config.noise:
            # The ratio is that of the words: pauses, however long, do not change it.
            loud = power.sum(axis=1)
            level = float(loud[loud > loud.mean()].mean()) if loud.any() else 0.0
            snr_db = rng.uniform(*self.config.noise_snr_db)
            # Somebody else talking has a spectrum like this speaker's.
            babble = power[int(rng.integers(len(power)))] + power.mean(axis=0)
            noise = self._noise(len(power), babble, planned.narrow, rng)
            total = max(float(noise.sum(axis=1).mean()), 1e-20)
            power += noise * np.float32(level * 10.0 ** (-snr_db / 10.0) / total)
        return self._finished(power, rng)

    def clean(self, words: Sequence[Variant], planned: PlannedUtterance, *, narrow: bool) -> Floats:
        """The log-mel frames of the same utterance as it was recorded, by telephone or not: in the
        same tempo, without colour, noise or masks, and always in the whole window."""
        shape = planned.shape
        power = np.zeros((shape.num_frames, len(self.bank.band_hz)), np.float32)
        first = shape.gaps[0]
        for number, word in enumerate(words):
            logs = stretched(word.log_power, shape.counts[number])
            logs = logs @ self._warp_matrix(shape.warp[number], narrow)
            last = first + len(logs)
            np.exp(logs, out=power[first:last])
            first = last + shape.gaps[number + 1]
        return log_mel_of(self._in_window(power), self.model.features)

    def empty(self, planned: PlannedUtterance, rng: np.random.Generator) -> Floats:
        """The log-mel frames of an utterance without words: noise, faint noise, digital zero, or
        (`AugmentConfig.sounds`) clicks, tones and hum."""
        return self._finished(self._without_words(planned, rng), rng)

    def clean_empty(self, planned: PlannedUtterance, rng: np.random.Generator) -> Floats:
        """The same, by an equal generator, without masks and always in the whole window."""
        power = self._without_words(planned, rng)
        return log_mel_of(self._in_window(power), self.model.features)

    def nothing(self, frames: int) -> tuple[Floats, Floats]:
        """The log-mel frames of a dead line, and the same in the whole window."""
        power = np.zeros((frames, len(self.bank.band_hz)), np.float32)
        whole = log_mel_of(self._in_window(power), self.model.features)
        heard = power if self.window is not Window.PADDED else self._in_window(power)
        return log_mel_of(heard, self.model.features), whole

    def _without_words(self, planned: PlannedUtterance, rng: np.random.Generator) -> Floats:
        frames, narrow, mels = planned.shape.num_frames, planned.narrow, len(self.bank.band_hz)
        if rng.random() < self.config.sounds:
            sound = draw_sound((frames + SPARE_FRAMES) * HOP_SAMPLES, rng)
            power = mel_power(sound, self.model.features)[:frames]
            return power * self.inside_telephone if narrow else power
        if rng.random() < 0.15:  # a dead line has no power at all
            return np.zeros((frames, mels), np.float32)
        # A room: more power the lower the frequency.
        fall = np.power(self.bank.band_hz / 1000.0 + 0.2, -1.5, dtype=np.float32)
        noise = self._noise(frames, self.bank.white_mean * fall, narrow, rng)
        # On Kaldi's scale of 16-bit values: from hardly there to a loud room.
        noise = noise * np.float32(10.0 ** rng.uniform(2.0, 9.0))
        if rng.random() < 0.5:
            noise = noise * envelope(frames, 40, 10.0, rng)[:, None]
        return noise

    def _joined(
        self, words: Sequence[Variant], planned: PlannedUtterance, rng: np.random.Generator
    ) -> Floats:
        """Mel power of the words and their gaps, coloured alike, [frames, mels]."""
        shape, narrow = planned.shape, planned.narrow
        colour = self._colour(rng)
        floor = np.stack([word.floor for word in words]).astype(np.float32).mean(axis=0) + colour
        if planned.joining.silent:
            power = np.zeros((shape.num_frames, len(colour)), np.float32)
        else:
            power = self.bank.stretch(shape.num_frames, rng) * np.exp(floor)
        # One word alone has no level to differ from: the normalisation takes it away again.
        gains = rng.uniform(-WORD_LEVEL_DB, WORD_LEVEL_DB, len(words)) * (len(words) > 1)
        first = shape.gaps[0]
        for number, word in enumerate(words):
            logs = stretched(word.log_power, shape.counts[number])
            # Of logarithms, not of power: one loud band must not leak into its quiet neighbours.
            logs = logs @ self._warp_matrix(shape.warp[number], narrow)
            logs += colour + np.float32(gains[number] * NATS_PER_DB)
            last = first + len(logs)
            np.exp(logs, out=power[first:last])
            first = last + shape.gaps[number + 1]
        if narrow and rng.random() < CLEAN_TOP:
            power[:, self.bank.band_hz > SILENT_ABOVE_HZ] = 0.0
        return power

    def _colour(self, rng: np.random.Generator) -> Floats:
        """Gain of each band in nats: smooth and random, at most equalizer_db."""
        points = rng.uniform(-1.0, 1.0, EQUALIZER_POINTS) * self.config.equalizer_db
        mels = np.linspace(0, EQUALIZER_POINTS - 1, len(self.bank.band_hz))
        gains = np.interp(mels, np.arange(EQUALIZER_POINTS), points)
        return (gains * (rng.random() * NATS_PER_DB)).astype(np.float32)

    def _noise(self, frames: int, babble: Floats, narrow: bool, rng: np.random.Generator) -> Floats:
        if self.noises and rng.random() < RECORDED:
            noise = recorded(self.noises, frames, self.model.features, rng)
        else:
            noise = self.bank.draw(frames, babble, rng)
        return noise * self.inside_telephone if narrow else noise

    def _finished(self, power: Floats, rng: np.random.Generator) -> Floats:
        frames = len(power)
        padded = self._in_window(power) if self.window is Window.PADDED else power
        log_mel = log_mel_of(padded, self.model.features)
        # In place; what is silence anyway is not hidden.
        masked(log_mel[:frames], self.config, rng)
        return log_mel

    def _in_window(self, power: Floats) -> Floats:
        features = self.model.features
        if features.padding == "none":
            return power
        # As `audio.features.model_features` pads samples: silence has no power at all.
        window = num_frames(round(self.model.window_seconds * SAMPLE_RATE), features)
        return np.pad(power, ((0, max(window - len(power), 0)), (0, 0)))

    def _warp_matrix(self, warp: float, narrow: bool) -> Floats:
        low, _ = self.config.warp
        margin = 1 - WORD_WARP_JITTER
        index = round((warp - low * margin) / WARP_STEP)
        matrices = self._warp_matrices[int(narrow)]
        # Rounding may lead past an end, and without warping there is one matrix for all.
        return matrices[min(max(index, 0), len(matrices) - 1)]

    @cached_property
    def _warp_matrices(self) -> Floats:
        """For wideband, then for narrowband: [2, warps, mels in, mels out]."""
        low, high = self.config.warp
        start = low * (1 - WORD_WARP_JITTER)
        count = round((high * (1 + WORD_WARP_JITTER) - start) / WARP_STEP) + 1
        warps = [1.0] if low == high == 1.0 else start + WARP_STEP * np.arange(count)
        hz = self.bank.band_hz
        edges = len(hz), int(self.inside_telephone.sum())
        return np.stack([[warp_matrix(hz, warp, edge) for warp in warps] for edge in edges])


def warp_matrix(band_hz: Floats, warp: float, edge: int) -> Floats:
    """Spectra @ matrix moves what lies at f to f * warp, [mels in, mels out].

    Bands from `edge` on stay as they are, and those below take nothing from there: beyond the
    telephone's band lies nothing that a shorter vocal tract could bring into it.
    """
    mels = len(band_hz)
    cutoff = min(WARP_CUTOFF_HZ / max(warp, 1.0), WARP_CUTOFF_HZ)
    top = float(band_hz[-1])
    source = np.interp(band_hz, [0.0, cutoff * warp, top], [0.0, cutoff, top])
    position = np.interp(source, band_hz, np.arange(mels))
    position[:edge] = np.minimum(position[:edge], edge - 1)
    position[edge:] = np.arange(edge, mels)
    lower = np.minimum(np.floor(position).astype(int), mels - 2)
    upper = position - lower
    matrix = np.zeros((mels, mels), np.float32)
    matrix[lower, np.arange(mels)] = 1.0 - upper
    matrix[lower + 1, np.arange(mels)] += upper
    return matrix


def stretched(frames: NDArray[np.float16], count: int) -> Floats:
    """The frames at another tempo: `count` of them, interpolated, [count, mels]."""
    values = frames.astype(np.float32)
    if count == len(values):
        return values
    position = np.linspace(0.0, len(values) - 1, count)
    lower = np.minimum(position.astype(np.intp), max(len(values) - 2, 0))
    upper = np.minimum(lower + 1, len(values) - 1)
    share = (position - lower).astype(np.float32)[:, None]
    result = values[lower]
    result += (values[upper] - result) * share
    return result


def masked(log_mel: Floats, config: AugmentConfig, rng: np.random.Generator) -> Floats:
    """SpecAugment: frames and bands set to the utterance's mean, in place. (Its lowest value would
    be a pause, and pauses part words.)"""
    frames, mels = log_mel.shape
    mean = log_mel.mean()
    longest = min(config.time_mask_frames, int(frames * LONGEST_MASK_SHARE))
    widest = min(config.mel_mask_bands, mels)
    times, bands = (log_mel, longest, config.time_masks), (log_mel.T, widest, config.mel_masks)
    for rows, most, masks in (times, bands):
        for _ in range(masks):
            width = int(rng.integers(most + 1))
            first = int(rng.integers(len(rows) - width + 1))
            rows[first : first + width] = mean
    return log_mel
