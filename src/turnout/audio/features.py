"""Samples -> log-mel frames: one implementation, for the runtime and for training.

Two kinds: Kaldi's filterbank (as kaldi-native-fbank computes it without dither, edges mirrored) and
Whisper's. Augmentation works on the mel power between `mel_power` and `log_mel_of`. This file knows
nothing of files, rates other than 16 kHz, or batches.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from turnout.config import FeatureConfig, ModelConfig
from turnout.guidance import Window

Floats = NDArray[np.float32]

SAMPLE_RATE = 16_000
WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
FRAME_SECONDS = HOP_SAMPLES / SAMPLE_RATE

KALDI_FFT = 512
KALDI_LOWEST_HZ = 20.0
KALDI_SCALE = 32768.0
PREEMPHASIS = 0.97
SILENCE_POWER = 10.0
"""Mel power, on Kaldi's scale, that noise of a tenth of a 16-bit step does not reach: an utterance
whose loudest value lies below is silence, and rounding errors are not raised to its peak."""

BLOCK_FRAMES = 256
"""Frames transformed at once: large enough for NumPy's loops, small enough for the cache."""
PRODUCT_FRAMES = 8
"""Frames of one product with the filters: so few that no BLAS wakes its threads for it, which wait
for more at full speed, on the cores that the model wants. Always so many, a part of a block, so
that how many frames there are moves none of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Filterbank:
    """The constant arrays of one kind of features."""

    window: Floats
    fft_size: int
    weights: Floats
    """Spectrum power -> mel power, [bins, mels]."""
    before: int
    """Samples that the first window reaches back beyond the first sample."""
    padding: Literal["symmetric", "reflect"]
    """How samples beyond the ends are mirrored: with the outermost sample, or without."""


def num_frames(num_samples: int, config: FeatureConfig) -> int:
    """Frames of `num_samples` samples; no samples give none, any others at least one."""
    rounding = HOP_SAMPLES // 2 if config.kind == "kaldi" else 0
    return max((num_samples + rounding) // HOP_SAMPLES, min(num_samples, 1))


def log_mel(samples: Floats, config: FeatureConfig) -> Floats:
    """Log-mel frames, [frames, mels], of samples in -1..1 at 16 kHz."""
    return log_mel_of(mel_power(samples, config), config)


def model_features(samples: Floats, model: ModelConfig, window: Window = Window.PADDED) -> Floats:
    """Log-mel frames, [frames, mels], as this model takes them: where its features are padded, of
    the samples and silence up to its window, which the normalisation sees as well.

    A window of the speech alone has the features of a model without padding: at its end, where the
    padded one goes over into silence, samples are mirrored; all else is the same to rounding.
    """
    missing = round(model.window_seconds * SAMPLE_RATE) - len(samples)
    if model.features.padding == "window" and window is Window.PADDED and missing > 0:
        samples = np.pad(samples, (0, missing))
    return log_mel(samples, model.features)


def mel_power(samples: Floats, config: FeatureConfig) -> Floats:
    """Linear mel power, [frames, mels], of samples in -1..1 at 16 kHz."""
    if samples.ndim != 1:
        raise ValueError(f"samples have shape {samples.shape}: mel_power takes one dimension")
    bank = filterbank(config.kind, config.num_mels)
    frames = num_frames(len(samples), config)
    products = -(-frames // PRODUCT_FRAMES)
    power = np.empty((products, PRODUCT_FRAMES, config.num_mels), np.float32)
    if frames == 0:
        return power.reshape(0, config.num_mels)
    windows = _windows(samples.astype(np.float32, copy=False), frames, bank)
    length = min(BLOCK_FRAMES, products * PRODUCT_FRAMES)
    buffer = np.zeros((length, bank.fft_size), np.float32)
    for first in range(0, frames, BLOCK_FRAMES):
        block = windows[first : first + BLOCK_FRAMES]
        rows = buffer[: len(block)]
        if config.kind == "kaldi":
            _prepare_kaldi(block, bank, rows[:, :WINDOW_SAMPLES])
        else:
            np.multiply(block[:, 1:], bank.window, out=rows[:, :WINDOW_SAMPLES])
        # Behind the last frame are an earlier block's, or none: they are cut off below.
        spectrum = np.fft.rfft(buffer[: -(-len(block) // PRODUCT_FRAMES) * PRODUCT_FRAMES], axis=1)
        squares = spectrum.real**2
        squares += spectrum.imag**2
        squares = squares.astype(np.float32, copy=False)  # NumPy 1 transforms in float64
        parts = squares.reshape(-1, PRODUCT_FRAMES, squares.shape[1])
        place = first // PRODUCT_FRAMES
        np.matmul(parts, bank.weights, out=power[place : place + len(parts)])
    return power.reshape(-1, config.num_mels)[:frames]


def log_mel_of(power: Floats, config: FeatureConfig) -> Floats:
    """Mel power -> log-mel, [frames, mels], normalised over all frames given."""
    if config.normalization == "peak":
        silence = SILENCE_POWER / (1.0 if config.kind == "kaldi" else KALDI_SCALE**2)
        return _below_peak(power, silence, config.dynamic_range_db)
    if config.normalization == "whisper":
        return _whisper_scale(power)
    logs = np.log(np.maximum(power, np.finfo(np.float32).eps))
    if config.normalization == "utterance" and len(logs):
        logs -= logs.mean(axis=0)
        logs /= np.maximum(logs.std(axis=0), 1e-5)
    return logs


@lru_cache(maxsize=8)
def filterbank(kind: Literal["kaldi", "whisper"], num_mels: int) -> Filterbank:
    """The window and mel filters of one kind."""
    position = np.arange(WINDOW_SAMPLES)
    if kind == "kaldi":
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * position / (WINDOW_SAMPLES - 1))
        return Filterbank(
            window=(hann**0.85 * KALDI_SCALE).astype(np.float32),
            fft_size=KALDI_FFT,
            weights=_kaldi_filters(num_mels),
            before=(WINDOW_SAMPLES - HOP_SAMPLES) // 2,
            padding="symmetric",
        )
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * position / WINDOW_SAMPLES)
    return Filterbank(
        window=hann.astype(np.float32),
        fft_size=WINDOW_SAMPLES,
        weights=_whisper_filters(num_mels),
        before=WINDOW_SAMPLES // 2,
        padding="reflect",
    )


def _windows(samples: Floats, frames: int, bank: Filterbank) -> Floats:
    """Overlapping windows, [frames, WINDOW_SAMPLES + 1], each led by the sample before it."""
    after = (frames - 1) * HOP_SAMPLES + WINDOW_SAMPLES - bank.before - len(samples)
    # One sample more in front: pre-emphasis needs the predecessor of each window's first sample.
    padded = np.pad(samples, (bank.before + 1, max(after, 0)), mode=bank.padding)
    view = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES + 1)
    return view[::HOP_SAMPLES][:frames]


def _prepare_kaldi(block: Floats, bank: Filterbank, out: Floats) -> None:
    """DC removed, pre-emphasised, windowed, as Kaldi does per window.

    Kaldi emphasises a window's first sample against itself; the window is zero there, so that the
    difference to the running sample before it is never heard.
    """
    offset = block[:, 1:].mean(axis=1, keepdims=True)
    np.subtract(block, offset, out=(centred := np.empty_like(block)))
    np.multiply(centred[:, :-1], -PREEMPHASIS, out=out)
    out += centred[:, 1:]
    out *= bank.window


def _kaldi_filters(num_mels: int) -> Floats:
    """Triangles on Kaldi's mel scale, 20 Hz to 8 kHz, [bins, mels]; Nyquist's bin is left out."""
    hz = np.arange(KALDI_FFT // 2, dtype=np.float64) * (SAMPLE_RATE / KALDI_FFT)
    lowest, highest = _kaldi_mel(np.array([KALDI_LOWEST_HZ, SAMPLE_RATE / 2]))
    weights = _triangles(_kaldi_mel(hz), np.linspace(lowest, highest, num_mels + 2))
    return np.vstack([weights, np.zeros((1, num_mels))]).astype(np.float32)


def _whisper_filters(num_mels: int) -> Floats:
    """Slaney's triangles from 0 to 8 kHz, each of unit area, [bins, mels]."""
    hz = np.arange(WINDOW_SAMPLES // 2 + 1, dtype=np.float64) * (SAMPLE_RATE / WINDOW_SAMPLES)
    edges = _slaney_hz(np.linspace(0.0, _slaney_mel(SAMPLE_RATE / 2), num_mels + 2))
    weights = _triangles(hz, edges) * (2.0 / (edges[2:] - edges[:-2]))
    return weights.astype(np.float32)


def _triangles(points: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Triangle k rises from edges[k] to edges[k + 1] and falls to edges[k + 2], [points, mels]."""
    widths = np.diff(edges)
    rising = (points[:, None] - edges[None, :-2]) / widths[:-1]
    falling = (edges[None, 2:] - points[:, None]) / widths[1:]
    return np.maximum(0.0, np.minimum(rising, falling))


def _kaldi_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(hz / 700.0), np.float64)


def _slaney_mel(hz: float) -> float:
    """Slaney's mel scale above 1 kHz, where it is logarithmic."""
    return 15.0 + 27.0 * float(np.log(hz / 1000.0) / np.log(6.4))


def _slaney_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's mel scale -> Hz: linear to 1 kHz (15 mel), logarithmic above."""
    return np.where(mel < 15.0, mel * (200.0 / 3.0), 1000.0 * 6.4 ** ((mel - 15.0) / 27.0))


def _below_peak(power: Floats, silence: float, dynamic_range_db: float) -> Floats:
    """Decibels below the loudest value, floored at -dynamic_range_db, divided by 20, plus 2."""
    peak = float(power.max(initial=0.0))
    floor = 10.0 ** (-dynamic_range_db / 10.0)
    if peak < silence:
        return np.full_like(power, 2.0 - dynamic_range_db / 20.0)
    relative = np.maximum(power * np.float32(1.0 / peak), np.float32(floor))
    return np.log10(relative) * np.float32(0.5) + np.float32(2.0)


def _whisper_scale(power: Floats) -> Floats:
    """Whisper's: log10, at most 8 below the loudest value, plus 4, divided by 4."""
    logs = np.log10(np.maximum(power, np.float32(1e-10)))
    clamped = np.maximum(logs, logs.max(initial=-10.0) - np.float32(8.0))
    return (clamped + np.float32(4.0)) * np.float32(0.25)
