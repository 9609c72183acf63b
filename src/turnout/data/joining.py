"""Clips of isolated words: where in a clip the word is, and words of one speaker as an utterance.

Words are joined as frames (training) or as samples (dev, tests). Both forms share the choice of
words, pauses and edges: a `Joining`, drawn from a seeded generator. Words are balanced: each draw
takes one of the speaker's texts, then one of its clips.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import HOP_SAMPLES, SAMPLE_RATE
from turnout.config import JoinConfig
from turnout.corpora.clips import Clip
from turnout.text.spacing import joined_text

LONGEST_EDGE = 0.6
"""Seconds of silence before the first and after the last word, at most."""
FILL_FFT = 512
FADE_SAMPLES = SAMPLE_RATE // 200
MARGIN_SECONDS = 0.05
"""Kept on either side: stops begin and fricatives end softly."""
SHORTEST_SECONDS = 0.1
"""Whatever seems shorter than this is no word, and the clip is kept whole."""
SPEECH_RANGE_DB = 32.0
"""What lies further below the loudest frame does not count as speech."""
OUTLIER_SHARE = 0.005
"""Of the loudness on either side that is ignored, so that a click does not hold a clip open."""
QUIET_SHARE = 0.1
"""Of the frames that are taken for background."""


@dataclass(frozen=True, kw_only=True)
class Joining:
    """Which clips make an utterance, and the silence before, between and behind them."""

    clips: tuple[int, ...]
    gaps: tuple[float, ...]
    """Seconds; one more than clips: lead, pauses, tail."""
    silent: bool
    """Whether the gaps are digital zero rather than faint noise."""


Speaker = tuple[tuple[int, ...], ...]
"""One speaker's clips in one language, bandwidth and domain: those of each text."""


def speakers_of(clips: Sequence[Clip]) -> list[Speaker]:
    """The clips that may be joined with each other: one speaker (where none is stated, one
    recording), language, bandwidth, domain and split."""
    groups: dict[tuple[str, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, clip in enumerate(clips):
        key = (clip.split or "", clip.voice, clip.language, clip.bandwidth, clip.domain or "")
        groups[key][clip.text].append(index)
    return [tuple(map(tuple, words.values())) for words in groups.values()]


def most_joined(speaker: Speaker, clips: Sequence[Clip], most: int) -> int:
    """Most words of an utterance: where nobody is named, a recording's own, each once. One word
    over and over is no sentence, and most recordings of words hold one."""
    known = clips[speaker[0][0]].speaker is not None
    return most if known else min(most, sum(map(len, speaker)))


def draw_joining(
    speaker: Speaker,
    config: JoinConfig,
    rng: np.random.Generator,
    *,
    fewest: int | None = None,
    most: int | None = None,
) -> Joining:
    """An utterance of `fewest` to `most` words, by default the configuration's."""
    most = min(most or config.max_words, config.max_words)
    fewest = min(max(fewest or 1, config.min_words), most)
    count = int(rng.integers(fewest, most + 1))
    drawn = [speaker[text] for text in rng.integers(len(speaker), size=count)]
    clips = tuple(choices[int(rng.integers(len(choices)))] for choices in drawn)
    return joining_of(clips, config, rng)


def joining_of(clips: tuple[int, ...], config: JoinConfig, rng: np.random.Generator) -> Joining:
    """These clips with gaps drawn around them."""
    pauses = rng.uniform(config.min_pause, config.max_pause, len(clips) - 1)
    lead, tail = rng.uniform(0.0, LONGEST_EDGE, 2)
    return Joining(
        clips=clips,
        gaps=(float(lead), *pauses.tolist(), float(tail)),
        silent=bool(rng.random() < config.silent_pauses),
    )


def joined_translations(clips: Sequence[Clip]) -> dict[str, str]:
    """By target language, for those that every clip has."""
    targets = set(clips[0].translations).intersection(*(clip.translations for clip in clips))
    return {
        target: joined_text([clip.translations[target] for clip in clips], target)
        for target in sorted(targets)
    }


def join_waveforms(
    waveforms: Sequence[NDArray[np.float32]], joining: Joining, rng: np.random.Generator
) -> NDArray[np.float32]:
    """One utterance at 16 kHz of whole clips (trimmed here), in the order of `joining.clips`.

    Gaps that are not silent hold noise with the spectrum and level of the clips' quietest parts.
    """
    background = background_spectrum(waveforms)
    pieces = [_gap(joining, 0, background, rng)]
    for number, samples in enumerate(waveforms, 1):
        pieces += [trimmed(samples), _gap(joining, number, background, rng)]
    return np.concatenate(pieces)


def trimmed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The word of a clip, its ends faded so that an abrupt cut does not click."""
    first, last = word_span(samples)
    word = samples[first:last].copy()
    count = min(FADE_SAMPLES, len(word) // 2)
    fade = np.linspace(0.0, 1.0, count, endpoint=False, dtype=np.float32)
    word[:count] *= fade
    word[len(word) - count :] *= fade[::-1]
    return word


def background_spectrum(waveforms: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Mean power per bin of the quietest tenth of the windows, [FILL_FFT // 2 + 1]."""
    samples = np.concatenate(waveforms)
    count = max(len(samples) // FILL_FFT, 1)
    windows = np.resize(samples, (count, FILL_FFT)) if len(samples) else np.zeros((1, FILL_FFT))
    energy = np.square(windows, dtype=np.float64).sum(axis=1)
    quiet = windows[np.argsort(energy)[: max(1, count // 10)]] * np.hanning(FILL_FFT)
    # Hann's window keeps 3/8 of the power.
    return (np.abs(np.fft.rfft(quiet, axis=1)) ** 2).mean(axis=0) / (0.375 * FILL_FFT)


def _gap(
    joining: Joining, number: int, background: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    count = round(joining.gaps[number] * SAMPLE_RATE)
    if joining.silent or count == 0:
        return np.zeros(count, np.float32)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    bins = np.linspace(0, FILL_FFT // 2, len(spectrum))
    gains = np.sqrt(np.interp(bins, np.arange(FILL_FFT // 2 + 1), background))
    return np.fft.irfft(spectrum * gains, count).astype(np.float32)


def frame_energy_db(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Energy of each 10 ms in decibels (of full scale), the last frame possibly shorter."""
    squares = np.square(samples, dtype=np.float64) if len(samples) else np.zeros(1)
    starts = np.arange(0, len(squares), HOP_SAMPLES)
    sizes = np.diff(starts, append=len(squares))
    return 10.0 * np.log10(np.add.reduceat(squares, starts) / sizes + 1e-12)


def word_span(samples: NDArray[np.float32]) -> tuple[int, int]:
    """First and last-plus-one sample of the word in a clip, margins included; never empty.

    The threshold stands between the clip's own background and its loudest frame, so that a noisy
    clip is trimmed as a clean one is.
    """
    energy = frame_energy_db(samples)
    smooth = np.convolve(np.pad(energy, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    loudest, background = float(smooth.max()), float(np.quantile(smooth, QUIET_SHARE))
    threshold = max(loudest - SPEECH_RANGE_DB, background + 0.25 * (loudest - background))
    loudness = np.cumsum(np.maximum(smooth - threshold, 0.0))
    # Nothing stands out: cutting would be guessing.
    if loudest - background < 6.0 or loudness[-1] <= 0.0:
        return 0, len(samples)
    inside = np.searchsorted(
        loudness, [OUTLIER_SHARE * loudness[-1], (1 - OUTLIER_SHARE) * loudness[-1]]
    )
    margin = round(MARGIN_SECONDS * SAMPLE_RATE)
    first = max(int(inside[0]) * HOP_SAMPLES - margin, 0)
    last = min((int(inside[1]) + 1) * HOP_SAMPLES + margin, len(samples))
    return (first, last) if last - first >= SHORTEST_SECONDS * SAMPLE_RATE else (0, len(samples))


def background_power(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean power, [mels], of the quietest tenth of the frames of `power` [frames, mels]."""
    loudness = power.sum(axis=1)
    count = max(1, round(QUIET_SHARE * len(power)))
    return power[np.argpartition(loudness, count - 1)[:count]].mean(axis=0)
