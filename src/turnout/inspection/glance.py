"""The means of several models beside each other."""

from collections.abc import Callable, Sequence

from turnout.inspection import sections
from turnout.inspection.inspected import Inspected
from turnout.inspection.markup import Markup, number, percent, row_head, stranger, table, tag
from turnout.inspection.statistics import Statistics, Told

UNKNOWN = "-"


def glance(models: Sequence[Inspected]) -> Markup:
    """The figures of all models beside each other."""
    rows: list[list[Markup]] = []
    for stack in ("encoder", "decoder"):
        found: list[Statistics] = [getattr(one, stack) for one in models]
        if any(one.layout.feed_forwards for one in found):
            figures = {what: [figure(one, read) for one in found] for what, read in FIGURES.items()}
            rows += [
                [row_head(f"{stack}: {what}"), *map(number, values)]
                for what, values in figures.items()
                if set(values) != {UNKNOWN}
            ]
    head = ["", *(stranger(one.name) for one in models)]
    means = "Means over the layers; each is explained below"
    return tag("section", tag("h2", "Side by side"), table(head, rows, means))


FIGURES: dict[str, Callable[[Statistics], str]] = {
    "routing": lambda one: one.layout.kind if one.layout.kind != "dense" else "no experts",
    "balance of the load": lambda one: f"{one.entropy.mean():.2f}",
    "doubt of the router": lambda one: UNKNOWN if one.doubt is None else f"{one.doubt.mean():.2f}",
    "agreement of the layers beyond chance": lambda one: (
        agreement(one) if one.layout.learned else "decided beforehand"
    ),
    "mean stretch on one expert": lambda one: sections.stretch(
        float(one.run_length.mean()), one.layout
    ),
    "known from the letter, beyond chance": lambda one: beyond(one, one.letters),
    "known from silence, beyond chance": lambda one: beyond(one, one.silence),
    "known from the speaker, beyond chance": lambda one: beyond(one, one.speakers),
    "dead experts, over all layers": lambda one: str(len(one.dead)),
    "starved experts, over all layers": lambda one: str(len(one.starved)),
}


def figure(found: Statistics, read: Callable[[Statistics], str]) -> str:
    """A figure, where there is something to count; which routing it is is known in any case."""
    known = read is FIGURES["routing"] or (found.layout.feed_forwards and found.frames.sum())
    return read(found) if known else UNKNOWN


def agreement(found: Statistics) -> str:
    """Mean over the pairs of layers, where there is one."""
    pairs = len(found.layout.feed_forwards) > 1
    return sections.two_digits(found.agreement) if pairs else UNKNOWN


def beyond(found: Statistics, told: Told) -> str:
    """Mean over the layers of what is told, less what chance gives, of what routers chose."""
    if len(told.labels) < 2 or not found.layout.learned:
        return UNKNOWN
    return percent(max(float((told.share - told.chance).mean()), 0.0))
