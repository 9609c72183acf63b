"""What the routing did, as one page that needs nothing else: no network, no script.

It is written for somebody who never read of routed experts; each figure says what it shows.
"""

from collections.abc import Callable, Sequence

from turnout.guidance import Guide
from turnout.inspection import sections, sentences
from turnout.inspection.counts import guides_of
from turnout.inspection.glance import glance
from turnout.inspection.inspected import Inspected
from turnout.inspection.markup import (
    Markup,
    joined,
    stranger,
    tag,
)
from turnout.inspection.record import Layout
from turnout.inspection.statistics import Statistics, describe
from turnout.inspection.style import document
from turnout.inspection.timeline import SHOWN_SECONDS, timeline

MOST_LETTERS = 400
"""Of a text above its timeline."""
Panel = Callable[[Inspected], Markup]


def page(models: Sequence[Inspected]) -> str:
    """The page of one model, or of two side by side."""
    title = "Routing of " + " and ".join(one.name for one in models)
    body = [
        tag("h1", "Routing of ", joined(*between([stranger(one.name) for one in models]))),
        how_to_read(),
        section("What was inspected", [], models, summary),
        glance(models) if len(models) > 1 else "",
        section("Timelines", sentences.TIMELINES, models, timelines),
        section("Load", sentences.LOAD, models, loads),
        section("Load by kind of recording", sentences.BY_KIND, models, by_kind),
        section("Experts without work", sentences.TROUBLES, models, each(sections.troubles)),
        section("Do the layers agree?", sentences.AGREEMENT, models, agreements),
        section("What are the experts for?", sentences.PURPOSES, models, purposes),
    ]
    return document(title, *body)


def between(parts: Sequence[Markup]) -> list[object]:
    """With 'and' between them."""
    found: list[object] = []
    for part in parts:
        found += [" and ", part] if found else [part]
    return found


def section(title: str, sentences: Sequence[str], models: Sequence[Inspected], panel: Panel) -> str:
    """A heading, what it shows, and the panel of each model."""
    panels = [
        tag("div", tag("h3", stranger(one.name)) if len(models) > 1 else "", panel(one))
        for one in models
    ]
    words = (tag("p", sentence, class_="faint") for sentence in sentences)
    return tag("section", tag("h2", title), *words, tag("div", *panels, class_="pair"))


def how_to_read() -> Markup:
    """What a stranger must know."""
    return tag(
        "p",
        sentences.HOW_TO_READ,
        class_="note",
    )


def summary(one: Inspected) -> Markup:
    """The model in sentences."""
    few = f"The timelines show the first {len(one.shown)}; all else counts every one." * (
        one.recordings > len(one.shown)
    )
    items: list[object] = [
        f"{one.recordings:,} recording{'s' * (one.recordings != 1)}, {duration(one.seconds)}. {few}"
    ]
    for found in (one.encoder, one.decoder):
        layout = found.layout
        if layout.stack == "decoder" and layout.kind == "dense" and not found.frames.size:
            items.append("Decoder: no routed experts.")
            continue
        kind = sentences.KINDS[layout.kind].format(unit=layout.unit)
        items.append(f"{layout.stack.capitalize()}: {kind}{size(layout)}")
    return tag("ul", *(tag("li", item) for item in items))


def size(layout: Layout) -> str:
    """How many layers and experts, and what is counted."""
    if not layout.feed_forwards:
        return ""
    count = len(layout.feed_forwards)
    paired = layout.feed_forwards[0][-1].isalpha()
    pairs = " (two in each layer, such as 1a and 1b)" if paired else ""
    said = f" Of its feed-forwards, {count}{pairs} ha{'s' if count == 1 else 've'} "
    said += f"{len(layout.experts)} expert{'s' * (len(layout.experts) != 1)}"
    if layout.stack == "encoder":
        return f"{said}; a frame is {1000 * layout.frame_seconds:.0f} ms."
    counted = "tokens" if layout.unit == "token" else "the frames of the words that it wrote"
    return f"{said}; counted in {counted}."


def duration(seconds: float) -> str:
    """In the unit that fits."""
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.1f} minutes"


def nothing(one: Inspected) -> Markup:
    """Why there is no figure."""
    routed = one.encoder.layout.feed_forwards or one.decoder.layout.feed_forwards
    return tag("p", sentences.NOTHING if routed else sentences.NO_ROUTING)


def each(draw: Callable[[Statistics], Markup]) -> Panel:
    """A panel that draws every stack that is routed."""

    def panel(one: Inspected) -> Markup:
        if not one.stacks:
            return nothing(one)
        return joined(*(draw(found) for found in one.stacks))

    return panel


def timelines(one: Inspected) -> Markup:
    """Of the first recordings."""
    layouts = (one.encoder.layout, one.decoder.layout)
    parts: list[object] = [
        joined(tag("p", f"{layout.stack.capitalize()}:"), sections.keys(layout))
        for layout in layouts
        if layout.feed_forwards
    ]
    for record in one.shown:
        known = describe(record, one.encoder.layout)
        long = record.transcript.duration_seconds > SHOWN_SECONDS
        first = f" The first {SHOWN_SECONDS:.0f} seconds are drawn." if long else ""
        caption = tag(
            "figcaption", tag("b", stranger(record.name)), f" ({known}). ",
            stranger(beginning(record.transcript.text) or "No text."), first,
        )  # fmt: skip
        parts.append(tag("figure", caption, timeline(record, layouts)))
    return joined(*parts)


def beginning(text: str) -> str:
    """Of a text that may be an hour's."""
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]} ..."


def loads(one: Inspected) -> Markup:
    """With what is known of doubt."""
    parts = [sections.load(found) for found in one.stacks]
    if any(found.doubt is not None for found in one.learned):
        parts.append(tag("p", sentences.DOUBT))
    elif one.learned:
        parts.append(tag("p", sentences.CHOICES_ALONE, class_="note"))
    if one.decoder.layout.learned and not one.decoder.layout.feed_forwards:
        parts.append(tag("p", sentences.NOT_TOLD, class_="note"))
    return joined(*parts) or nothing(one)


def by_kind(one: Inspected) -> Markup:
    """A figure for each property in which the recordings differ, and for bandwidth in any case."""
    parts: list[Markup] = []
    for found in one.stacks:
        for place, guide in enumerate(guides_of(found.layout)):
            values = {key[place] for key in found.counts.by_guidance}
            wanted = len(values) > 1 or guide in (Guide.BANDWIDTH, *found.layout.guides)
            if values and wanted:
                parts.append(sections.load_by(found, place, guide.value.replace("_", " ")))
    return joined(*parts) or nothing(one)


def agreements(one: Inspected) -> Markup:
    """Of the stacks in which a router chooses."""
    deep = [found for found in one.learned if len(found.layout.feed_forwards) > 1]
    parts = [sections.agreement(found) for found in deep]
    if len(deep) < len(one.stacks):
        parts.append(tag("p", sentences.NO_AGREEMENT))  # fmt: skip
    return joined(*parts) or nothing(one)


def purposes(one: Inspected) -> Markup:
    """Of the stacks in which a router chooses."""
    parts = [sections.purposes(found) for found in one.learned]
    if len(parts) < len(one.stacks):
        parts.append(tag("p", sentences.NAMED))
    return joined(*parts) or nothing(one)
