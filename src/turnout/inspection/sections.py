"""The figures of the page, each of one stack of layers of one model.

A figure is a table whose cells are coloured or hold a bar: it can be read aloud.
"""

from collections.abc import Sequence

import numpy as np

from turnout.inspection.advice import advice
from turnout.inspection.markup import (
    Markup,
    heat,
    joined,
    number,
    percent,
    row_head,
    stranger,
    table,
    tag,
)
from turnout.inspection.record import Layout, colours_of
from turnout.inspection.statistics import Statistics, Told, shares

MOST_COLUMNS = 24
"""Labels of a figure; the JSON has them all."""
MOST_FIGURES = 8
"""Experts whose shares stand below a bar."""
MOST_VALUES = 6
"""Languages and the like beside each other."""


OF_EACH = {
    "letter": "of each letter",
    "silence": "with sound and without",
    "speaker": "of each speaker",
}


def keys(layout: Layout) -> Markup:
    """Which colour is whose."""
    entries = [
        tag("li", swatch(colour), called(name))
        for name, colour in zip(layout.experts, colours_of(layout.experts), strict=True)
    ]
    return tag("ul", *entries, class_="keys")


def swatch(colour: str) -> Markup:
    """A small square."""
    return tag("svg", tag("rect", width=10, height=10, fill=colour), class_="key",
               viewBox="0 0 10 10", aria_hidden="true")  # fmt: skip


def called(name: str) -> str:
    """An expert, as one speaks of it."""
    return f"expert {name}" if name.isdigit() else name


def bar(parts: Sequence[float], layout: Layout, *, figures: bool = False) -> Markup:
    """A cell with a bar of the experts' colours, each as long as its share, and with the shares in
    percent below, where they are not beside it."""
    said = [f"{called(name)}: {percent(part)}" for name, part in
            zip(layout.experts, parts, strict=True) if part]  # fmt: skip
    words = ", ".join(said) or "nothing"
    edges = np.append(0, np.cumsum(parts)) * 100
    pieces = [
        tag("rect", x=f"{edges[place]:.2f}", width=f"{100 * part:.2f}", height=10, fill=colour)
        for place, (part, colour) in enumerate(zip(parts, colours_of(layout.experts), strict=True))
        if part
    ]
    drawn = tag("svg", tag("title", words), *pieces, class_="bar", viewBox="0 0 100 10",
                preserveAspectRatio="none", role="img", aria_label=words)  # fmt: skip
    percents = " ".join(percent(part).removesuffix(" %").replace(" ", "") for part in parts)
    below = tag("span", percents, class_="parts", aria_hidden="true")
    return tag("td", drawn, below if figures and len(parts) <= MOST_FIGURES else "")


def load(found: Statistics) -> Markup:
    """The share of each expert in each layer, its balance, its doubt and its stretches."""
    layout, doubt = found.layout, found.doubt
    many = len(layout.experts) > MOST_FIGURES
    head: list[object] = ["layer", "load", "balance"]
    head += ["doubt"] if doubt is not None else []
    head += ["mean stretch", *(map(called, layout.experts) if many else ())]
    rows = []
    for place, name in enumerate(layout.feed_forwards):
        parts = found.load[place].tolist()
        row = [row_head(name), bar(parts, layout, figures=True)]
        row.append(number(f"{found.entropy[place]:.2f}"))
        row += [number(f"{doubt[place]:.2f}")] if doubt is not None else []
        row.append(number(stretch(found.run_length[place], layout)))
        rows.append([*row, *(number(percent(part)) for part in parts if many)])
    total = int(found.frames[0].sum()) if len(found.frames) else 0
    counted = f"{total:,} {layout.unit}{'s' * (total != 1)} in each layer"
    return joined(keys(layout), table(head, rows, f"{layout.stack}: {counted}"))


def stretch(length: float, layout: Layout) -> str:
    """A mean length of stretches in what a reader can imagine."""
    if layout.unit == "token":
        return f"{length:.1f} tokens"
    return f"{length * layout.frame_seconds:.2f} s"


def load_by(found: Statistics, place: int, what: str) -> Markup:
    """The load of each layer for each value of one guide, such as each language."""
    layout = found.layout
    values: dict[str, np.ndarray] = {}
    for key, frames in found.counts.by_guidance.items():
        values[key[place]] = values.get(key[place], np.zeros_like(frames)) + frames
    order = sorted(values, key=lambda value: -int(values[value].sum()))
    head: list[object] = ["layer", *(stranger(value) for value in order[:MOST_VALUES])]
    rows = [
        [row_head(name), *(bar(shares(values[value][i]).tolist(), layout, figures=True)
                           for value in order[:MOST_VALUES])]
        for i, name in enumerate(layout.feed_forwards)
    ]  # fmt: skip
    more = f"; {len(order) - MOST_VALUES} more are in the JSON" if len(order) > MOST_VALUES else ""
    rows.append([row_head(f"{layout.unit}s"), *(number(f"{values[value][:1].sum():,}")
                                       for value in order[:MOST_VALUES])])  # fmt: skip
    return table(head, rows, f"{layout.stack}: load by {what}{more}")


def troubles(found: Statistics) -> Markup:
    """Dead and starved experts, and what to do."""
    together: dict[str, list[str]] = {}
    for what, remedy in advice(found):
        together.setdefault(remedy, []).append(what)
    items = [
        tag("li", tag("b", " ".join(whats), class_="warn"), " ", remedy)
        for remedy, whats in together.items()
    ]
    if not items:
        return tag("p", f"{found.layout.stack}: every expert has its share in every layer.")
    return joined(tag("h3", found.layout.stack), tag("ul", *items))


def agreement(found: Statistics) -> Markup:
    """A square for each pair of layers."""
    layout, values, same = found.layout, found.adjusted_information, found.same_expert
    rows = [
        [
            row_head(name),
            *(
                number("-") if i == j else heat(values[i, j], two_digits(values[i, j]))
                for j in range(len(layout.feed_forwards))
            ),
        ]
        for i, name in enumerate(layout.feed_forwards)
    ]
    upper = np.triu_indices(len(layout.feed_forwards), 1)
    return joined(
        table(["layer", *layout.feed_forwards], rows,
              f"{layout.stack}: agreement of each pair of layers, 0 chance, 1 complete"),
        tag("p", f"Mean over the pairs: {two_digits(found.agreement)}. Before chance is taken off "
            f"it is "
            f"{found.mutual_information[upper].mean():.2f}, and chance alone gives "
            f"{found.chance[upper].mean():.2f}. Two layers take the expert of the same number in "
            f"{percent(same[upper].mean())} of the {layout.unit}s."),
    )  # fmt: skip


def two_digits(value: float) -> str:
    """Without a sign where nothing is left of it."""
    return f"{round(value, 2) + 0.0:.2f}"


def purposes(found: Statistics) -> Markup:
    """How much letter, silence and speaker tell of the choice in each layer, then the layer that
    is told most of, in detail."""
    kinds = {"letter": found.letters, "silence": found.silence, "speaker": found.speakers}
    told = {name: one for name, one in kinds.items() if len(one.labels) > 1}
    if not told:
        return tag("p", f"{found.layout.stack}: neither letters, silence nor speakers are known.")
    head: list[object] = ["layer"]
    for name in told:
        head += [name, "shuffled"]
    rows = []
    for place, name in enumerate(found.layout.feed_forwards):
        row = [row_head(name)]
        for one in told.values():
            row += [heat(one.share[place], percent(one.share[place])),
                    number(percent(one.chance[place]))]  # fmt: skip
        rows.append(row)
    caption = f"{found.layout.stack}: how much of the choice of expert is known from each"
    details = (detail(found.layout, one, name) for name, one in told.items())
    return joined(table(head, rows, caption), *details)


def detail(layout: Layout, told: Told, what: str) -> Markup:
    """For each label, which experts its frames took, in the layer that it tells most of."""
    best = told.best
    labels = told.labels[:MOST_COLUMNS]
    per_label = shares(told.counts[best].T)
    colours = colours_of(layout.experts)
    rows = [
        [
            tag("th", swatch(colours[place]), called(name), scope="row"),
            *(heat(per_label[i, place], f"{100 * per_label[i, place]:.0f}")
              for i in range(len(labels))),
        ]
        for place, name in enumerate(layout.experts)
    ]  # fmt: skip
    most = f", the {MOST_COLUMNS} most frequent" if len(told.labels) > MOST_COLUMNS else ""
    caption = (
        f"Layer {layout.feed_forwards[best]}, of which the {what} tells most: of the "
        f"{layout.unit}s {OF_EACH[what]}{most}, how many of 100 went to each expert"
    )
    return table([what, *(stranger(label) for label in labels)], rows, caption)
