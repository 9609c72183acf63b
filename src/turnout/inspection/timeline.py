"""A recording's first seconds as one drawing: words, spectrogram, and the expert of every frame of
every layer below."""

import base64
from dataclasses import replace
from io import BytesIO

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.image import imsave
from numpy.typing import NDArray

from turnout.audio.features import FRAME_SECONDS
from turnout.inspection.markup import (
    Markup,
    joined,
    number,
    row_head,
    scrolling,
    stranger,
    table,
    tag,
)
from turnout.inspection.record import Layout, RoutingRecord, colours_of
from turnout.text.transcript import Word

SHOWN_SECONDS = 30.0
PIXELS_PER_SECOND = 90
LEFT, RIGHT, TOP, MEL, ROW, GAP, BOTTOM = 74, 12, 40, 110, 16, 8, 24
"""Pixels: names of layers, half of the last second's number, words, spectrogram, a layer, between
stacks, the seconds."""
LETTER = 7.5
"""Pixels of a letter of a word, about."""
MOST_WORDS = 80
"""In the table, which tells the same without a picture."""


def kept(record: RoutingRecord) -> RoutingRecord:
    """The record with no more than what is drawn: a page holds a few, whatever their lengths."""
    frames = round(SHOWN_SECONDS / FRAME_SECONDS)
    hidden = -(-record.expert_index.shape[1] * frames // max(len(record.log_mel), frames))
    decoder = record.decoder_index
    return replace(
        record,
        log_mel=record.log_mel[:frames].copy(),  # a view would hold the whole
        expert_index=record.expert_index[:, :hidden].copy(),
        decoder_index=None if decoder is None else decoder[:, :hidden].copy(),
        probabilities=None,
        silent=None,
        letters=(),
        tokens=(),
        token_probabilities=None,
    )


def timeline(record: RoutingRecord, layouts: tuple[Layout, ...]) -> Markup:
    """The drawing, and the same as a table for those who do not see it."""
    if not len(record.log_mel):
        return tag("p", "No speech was found in it, so there was nothing to be routed.")
    seconds = min(max(len(record.log_mel) * FRAME_SECONDS, 0.5), SHOWN_SECONDS)
    wide = round(max(seconds * PIXELS_PER_SECOND, 300))
    width, scale = LEFT + wide + RIGHT, wide / seconds
    stacks = [one for one in layouts if one.feed_forwards]
    parts, top = [spectrogram(record, wide), *words_of(record, seconds, scale)], TOP + MEL + GAP
    for layout in stacks:
        parts.append(stack_rows(record, layout, (seconds, scale), top))
        top += ROW * len(layout.feed_forwards) + GAP
    parts.append(axis(seconds, scale, top - GAP))
    label = f"Timeline of {record.name}: {seconds:.0f} seconds"
    drawing = tag(
        "svg", *parts, class_="timeline", width=width, height=top + BOTTOM, role="img",
        viewBox=f"0 0 {width} {top + BOTTOM}", aria_label=label,
    )  # fmt: skip
    return joined(
        scrolling(drawing, label),
        as_table(record, stacks),
    )


def spectrogram(record: RoutingRecord, wide: int) -> Markup:
    """Loud is dark; in dark mode the page turns it round."""
    mel = record.log_mel[: round(SHOWN_SECONDS / FRAME_SECONDS)].T[::-1].astype(np.float32)
    if not mel.size:
        return Markup("")
    floor, top = float(np.percentile(mel, 20)), float(mel.max())
    grey = 255 - 255 * np.clip((mel - floor) / max(top - floor, 1e-3), 0, 1)
    pixels = np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    return picture(pixels, (LEFT, TOP, wide, MEL), "mel")


def picture(pixels: NDArray[np.uint8], box: tuple[float, float, float, float], kind: str) -> Markup:
    """Pixels stretched over x, y, width and height."""
    out = BytesIO()
    imsave(out, np.ascontiguousarray(pixels), format="png")
    x, y, width, height = box
    return tag(
        "image", x=f"{x:g}", y=f"{y:g}", width=f"{width:g}", height=f"{height:g}", class_=kind,
        preserveAspectRatio="none",
        href="data:image/png;base64," + base64.b64encode(out.getvalue()).decode(),
    )  # fmt: skip


def words_of(record: RoutingRecord, seconds: float, scale: float) -> list[Markup]:
    """Each word over its time, on a second level where the first has no room; one that has none on
    either is left to the table."""
    parts: list[Markup] = []
    free_from = [0.0, 0.0]
    for word in record.words:
        if word.start >= seconds:
            break
        first, last = (LEFT + min(time, seconds) * scale for time in (word.start, word.end))
        parts.append(line(first, TOP - 4, last, TOP - 4, "word"))
        half = LETTER * len(word.word) / 2 + 3
        end = LEFT + seconds * scale + RIGHT
        middle = max(min((first + last) / 2, end - half), half)
        level = next((one for one in (0, 1) if middle - half >= free_from[one]), None)
        if level is None:
            continue
        free_from[level] = middle + half
        parts.append(
            tag("text", word.word, x=f"{middle:.1f}", y=TOP - 9 - 15 * level, text_anchor="middle")
        )
    return parts


def line(x1: float, y1: float, x2: float, y2: float, kind: str | None = None) -> Markup:
    """From one point to another."""
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return tag("line", **{name: f"{place:.1f}" for name, place in ends.items()}, class_=kind)


def stack_rows(
    record: RoutingRecord, layout: Layout, span: tuple[float, float], top: int
) -> Markup:
    """A row of colours for each layer; nothing where no frame was."""
    seconds, scale = span
    frames = int(np.ceil(seconds / layout.frame_seconds))
    index = record.index_of(layout)[:, :frames]
    height = ROW * len(index)
    colours = [[*(round(255 * part) for part in to_rgb(one)), 255] for one in
               colours_of(layout.experts)]  # fmt: skip
    palette = np.array([*colours, [0, 0, 0, 0]], np.uint8)
    width = index.shape[1] * layout.frame_seconds * scale
    drawn = picture(palette[index], (LEFT, top, width, height), "choice") if index.size else ""
    names = []
    for place, name in enumerate(layout.feed_forwards):
        y = top + ROW * place
        names.append(tag("text", f"{layout.stack} {name}", x=LEFT - 6, y=y + 12, class_="small",
                         text_anchor="end"))  # fmt: skip
        names.append(line(LEFT, y, LEFT + width, y, "gap"))
    return joined(drawn, *names)


def axis(seconds: float, scale: float, y: float) -> Markup:
    """A number for each second, or every fifth."""
    step = 1 if seconds <= 15 else 5
    parts = []
    for second in range(0, int(seconds) + 1, step):
        x = LEFT + second * scale
        parts.append(line(x, y, x, y + 4))
        label = f"{second} s" if second == 0 else second
        parts.append(tag("text", label, x=f"{x:.1f}", y=y + 16, class_="small",
                         text_anchor="middle"))  # fmt: skip
    return joined(*parts)


def as_table(record: RoutingRecord, stacks: list[Layout]) -> Markup:
    """Each word, when it was said, and the expert that most of its frames took in each layer."""
    words = [word for word in record.words if word.start < SHOWN_SECONDS][:MOST_WORDS]
    if not words:
        return Markup("")
    head = ["word", "seconds"]
    head += [f"{one.stack} {name}" for one in stacks for name in one.feed_forwards]
    rows = [
        [
            row_head(stranger(word.word)),
            number(f"{word.start:.2f} to {word.end:.2f}"),
            *(tag("td", expert) for one in stacks for expert in most_taken(record, one, word)),
        ]
        for word in words
    ]
    caption = "For each word, the expert that most of its frames took in each layer"
    return tag("details", tag("summary", "The same as a table"), table([*head], rows, caption))


def most_taken(record: RoutingRecord, layout: Layout, word: Word) -> list[str]:
    """By name, of each layer; a dash where no frame of the word took any."""
    first = round(word.start / layout.frame_seconds)
    last = max(round(word.end / layout.frame_seconds), first + 1)
    found = []
    for row in record.index_of(layout)[:, first:last]:
        taken = np.bincount(row[row >= 0], minlength=1)
        found.append(layout.experts[int(taken.argmax())] if taken.sum() else "-")
    return found
