"""A recording's routing as a picture: words, spectrogram, and under it the expert of every frame.

Draws what `RoutingRecord` holds and knows nothing of models. matplotlib's objects are used
directly, so that no figure and no backend outlives the call.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from math import ceil

import numpy as np
from jaxtyping import Int64
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import Patch

from turnout.audio.features import FRAME_SECONDS, SAMPLE_RATE, filterbank
from turnout.config import FeatureConfig
from turnout.inspection.record import Layout, RoutingRecord, colours_of
from turnout.text.transcript import Word

PAGE_SECONDS = 30.0
INK = "#222222"
FAINT = "#8a8a8a"
SPECTROGRAM, ABOVE, LINE = 2.1, 0.92, 0.18
"""Inches: its height, words and title over it, and a line of a legend."""
ONE_COLUMN = 8
"""Experts of a legend."""
TICKS_HZ = (500, 1000, 2000, 4000, 7500)


def draw(
    record: RoutingRecord,
    layout: Layout,
    features: FeatureConfig,
    *,
    decoder: Layout | None = None,
    start: float = 0.0,
    dpi: int = 150,
) -> bytes:
    """The PNG of up to 30 s of a recording, from `start` seconds on, with the decoder's routing
    below the encoder's where that is given."""
    silent = not len(record.log_mel)
    record = _never_empty(record, features)
    stacks = [one for one in (layout, decoder) if one and one.feed_forwards]
    end = min(start + PAGE_SECONDS, max(len(record.log_mel) * FRAME_SECONDS, start + 0.1))
    inches = [0.24 * len(one.feed_forwards) + 0.1 for one in stacks]
    # Legends have the title's line left over them, whatever they are as high as.
    sound = max(SPECTROGRAM, sum(map(_legend_inches, stacks)) + 0.35 - ABOVE)
    height = ABOVE + sound + sum(inches) + 0.48
    width = float(np.clip(4.2 + 1.5 * (end - start), 9.5, 26.0))
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
    grid = figure.add_gridspec(
        1 + len(stacks),
        2,
        width_ratios=(width - 3.1, 1.9),
        height_ratios=(sound, *inches),
        hspace=0.06,
        wspace=0.04,
        left=0.72 / width,
        right=1 - 0.3 / width,
        top=1 - ABOVE / height,
        bottom=0.48 / height,
    )
    spectrogram = figure.add_subplot(grid[0, 0])
    _draw_spectrogram(spectrogram, record, features, start)
    _draw_words(spectrogram, record.words, (start, end), width)
    side = figure.add_subplot(grid[0, 1])
    _draw_legends(side, stacks or [layout], sound)
    if silent:
        _say_silence(spectrogram)
    axes = [spectrogram]
    for place, one in enumerate(stacks, start=1):
        axes.append(figure.add_subplot(grid[place, 0], sharex=spectrogram))
        _draw_routing(axes[-1], record, one, start, end)
        if len(stacks) > 1:
            axes[-1].set_ylabel(one.stack, fontsize=8, color=INK)
        load = figure.add_subplot(grid[place, 1], sharey=axes[-1])
        _draw_load(load, record, one)
        if place < len(stacks):
            load.tick_params(labelbottom=False)
            load.set_xlabel("")
    for upper in axes[:-1]:
        upper.tick_params(labelbottom=False)
    spectrogram.set_xlim(start, end)
    axes[-1].set_xlabel("seconds", fontsize=8, color=INK, labelpad=2)
    _draw_title(figure, record)
    return _png(figure)


def _say_silence(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no speech was found in it", transform=axes.transAxes, fontsize=10,
              color=INK, ha="center", va="center")  # fmt: skip
    axes.set_xticks([])


def _never_empty(record: RoutingRecord, features: FeatureConfig) -> RoutingRecord:
    """The record, with one frame that took no expert where it has none at all."""
    if len(record.log_mel):
        return record
    decoder = record.decoder_index
    return replace(
        record,
        log_mel=np.zeros((1, features.num_mels), np.float32),
        expert_index=nowhere(record.expert_index),
        decoder_index=None if decoder is None else nowhere(decoder),
    )


def nowhere(index: Int64[np.ndarray, "feed_forwards hidden"]) -> Int64[np.ndarray, "rows one"]:
    """A frame that took no expert, in each of as many feed-forwards."""
    return np.full((len(index), 1), -1, np.int64)


def pages(record: RoutingRecord) -> list[float]:
    """Where each picture of a recording begins, in seconds."""
    seconds = len(record.log_mel) * FRAME_SECONDS
    return [float(start) for start in np.arange(0, max(seconds, 0.1), PAGE_SECONDS)]


def _png(figure: Figure) -> bytes:
    out = BytesIO()
    with warnings.catch_warnings():
        # A script that the font lacks is drawn as boxes: no reason to stop, the JSON has the words.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(out, format="png")
    return out.getvalue()


def _plain(axes: Axes) -> None:
    """No frame, small ticks."""
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=2.5, width=0.6, labelsize=8, color=FAINT, labelcolor=INK, pad=2)


def _draw_spectrogram(
    axes: Axes, record: RoutingRecord, features: FeatureConfig, start: float
) -> None:
    first = round(start / FRAME_SECONDS)
    last = first + round(PAGE_SECONDS / FRAME_SECONDS)
    shown = record.log_mel[first:last].T.astype(np.float32)
    end = start + shown.shape[1] * FRAME_SECONDS
    floor = float(np.percentile(shown, 20)) if shown.size else 0.0
    axes.imshow(
        shown,
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
        cmap="Greys",
        vmin=floor,
        vmax=max(float(shown.max(initial=floor)), floor + 1e-3),
        extent=(start, end, -0.5, features.num_mels - 0.5),
    )
    _plain(axes)
    axes.set_yticks(_bands(features), [f"{hz / 1000:g}" for hz in TICKS_HZ])
    axes.set_ylabel("kHz (mel)", fontsize=8, color=INK)


def _bands(features: FeatureConfig) -> list[float]:
    """The mel band, with fraction, whose middle lies at each of TICKS_HZ."""
    bank = filterbank(features.kind, features.num_mels)
    centres = bank.weights.argmax(axis=0) * (SAMPLE_RATE / bank.fft_size)
    return [float(np.interp(hz, centres, np.arange(features.num_mels))) for hz in TICKS_HZ]


def _draw_words(
    axes: Axes, words: tuple[Word, ...], span: tuple[float, float], width: float
) -> None:
    """Each word over its time, on a second level where the first has no room."""
    low, high = span
    seconds_per_character = 0.1 * (high - low) / (width - 3.1)
    free_from = [low, low]
    for word in words:
        if word.start >= high or word.end <= low:
            continue
        start, end = max(word.start, low), min(word.end, high)
        middle = (start + end) / 2
        half = max((end - start) / 2, seconds_per_character * len(word.word) / 2)
        level = 0 if middle - half >= free_from[0] else 1
        free_from[level] = middle + half
        height = 1.035 + 0.085 * level
        axes.plot(
            (start, end), (1.012, 1.012), transform=axes.get_xaxis_transform(),
            color=INK, linewidth=2.2, clip_on=False, solid_capstyle="butt",
        )  # fmt: skip
        axes.text(
            middle, height, word.word, transform=axes.get_xaxis_transform(), ha="center",
            va="bottom", fontsize=10, color=INK, parse_math=False,
        )  # fmt: skip
        for edge in (start, end):
            axes.axvline(edge, color="#4477aa", linewidth=0.5, alpha=0.45)


def _draw_routing(
    axes: Axes, record: RoutingRecord, layout: Layout, start: float, end: float
) -> None:
    """One row of colours per feed-forward, the first at the top."""
    step = layout.frame_seconds
    first, last = int(start / step), int(np.ceil(end / step))
    index = record.index_of(layout)[:, first:last]
    # RGBA by hand: a colour map would have to be told apart from "no frame" by rounding.
    palette = ListedColormap(colours_of(layout.experts))
    image = palette(np.maximum(index, 0))
    image[index < 0] = (1, 1, 1, 1)
    axes.imshow(
        image,
        aspect="auto",
        interpolation="nearest",
        extent=(first * step, (first + index.shape[1]) * step, len(index) - 0.5, -0.5),
    )
    for row in range(1, len(index)):
        axes.axhline(row - 0.5, color="white", linewidth=1.6)
    for word in record.words:
        for edge in (word.start, word.end):
            axes.axvline(edge, color="white", linewidth=0.7, alpha=0.8)
    _plain(axes)
    axes.set_yticks(range(len(index)), layout.feed_forwards)
    axes.set_ylabel("layer", fontsize=8, color=INK)


def _draw_load(axes: Axes, record: RoutingRecord, layout: Layout) -> None:
    """The share of each expert in each feed-forward of this recording, as bars."""
    colours = colours_of(layout.experts)
    left = np.zeros(len(layout.feed_forwards))
    for expert, colour in enumerate(colours):
        index = record.index_of(layout)
        taken = (index == expert).sum(axis=1)
        share = taken / np.maximum((index >= 0).sum(axis=1), 1)
        axes.barh(range(len(share)), share, left=left, height=0.72, color=colour)
        left = left + share
    _plain(axes)
    axes.tick_params(labelleft=False, left=False)
    axes.set_xlim(0, 1)
    axes.set_xticks((0, 0.5, 1), ("0", "50", "100 %"))
    axes.set_xlabel("share of frames", fontsize=8, color=INK, labelpad=2)


def _draw_legends(axes: Axes, layouts: Sequence[Layout], inches: float) -> None:
    """The encoder's experts at the bottom of so high a place, the decoder's above them."""
    axes.axis("off")
    bottom = 0.0
    for layout in layouts:
        which = f"{layout.stack}: " if len(layouts) > 1 else ""
        # matplotlib keeps but the last one where it is not added by itself.
        if legend := _legend(axes, layout, which, bottom / inches):
            axes.add_artist(legend)
        bottom += _legend_inches(layout)


def _legend_inches(layout: Layout) -> float:
    """With its title, and as much as a line below it."""
    return LINE * (2 + ceil(len(layout.experts) / _columns(layout)))


def _columns(layout: Layout) -> int:
    """Two of short names, where there are many."""
    short = max(map(len, layout.experts), default=0) <= len("expert")
    return 2 if short and len(layout.experts) > ONE_COLUMN else 1


def _legend(axes: Axes, layout: Layout, which: str, bottom: float) -> Legend | None:
    if not layout.experts:
        axes.text(0.04, 0.9, "dense: every frame takes\nthe same way", fontsize=8.5, color=FAINT,
                  va="top", transform=axes.transAxes)  # fmt: skip
        return None
    patches = [
        Patch(facecolor=colour, label=name if not name.isdigit() else f"expert {name}")
        for name, colour in zip(layout.experts, colours_of(layout.experts), strict=True)
    ]
    return axes.legend(
        handles=patches, loc="lower left", bbox_to_anchor=(-0.04, bottom), frameon=False,
        fontsize=8.5, title=f"{which}{layout.kind} routing", title_fontsize=8.5, alignment="left",
        ncols=_columns(layout), handlelength=1.1, handleheight=1.0,
        labelcolor=INK, borderaxespad=0, columnspacing=0.8,
    )  # fmt: skip


def _draw_title(figure: Figure, record: RoutingRecord) -> None:
    width, height = figure.get_size_inches()
    left = 0.72 / width
    figure.text(
        left, 1 - 0.1 / height, record.name, fontsize=12, fontweight="bold", color=INK, va="top",
        parse_math=False,
    )  # fmt: skip
    transcript = record.transcript
    known = (transcript.language, str(transcript.bandwidth), f"{transcript.duration_seconds:.1f} s")
    figure.text(
        1 - 0.3 / width, 1 - 0.13 / height, ", ".join(word for word in known if word), fontsize=9,
        color=FAINT, va="top", ha="right", parse_math=False,
    )  # fmt: skip
