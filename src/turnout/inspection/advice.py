"""Experts that took nothing or next to nothing, by name, and what can be done about each."""

from collections.abc import Iterator

from turnout.guidance import Guide, Task
from turnout.inspection.counts import TOLD
from turnout.inspection.record import Layout
from turnout.inspection.statistics import Statistics

NO_DATA = (
    "Nothing is wrong with the model: what guides decides, and nothing here was of that kind. "
    "Inspect recordings that are."
)
UNUSED = (
    "Weights that nothing takes are carried along for nothing. Train with a higher "
    "objective.balance_weight, with fewer experts (num_experts), or on more varied recordings; if "
    "nothing took them in training either, start the experts from a dense model with "
    "'turnout upcycle'."
)
HARDLY = (
    "An expert hardly learns from so few. Raise objective.balance_weight a little, or train "
    "longer, and look whether the share grows; if not, fewer experts would do."
)
ENOUGH = 50
"""Frames (or tokens) of an equal share, below which an expert may lack work by chance: they come in
stretches of several on one expert."""
TOO_FEW = (
    f"That may be chance, for an equal share would be fewer than {ENOUGH}: inspect more recordings."
)
OTHER_TASK = "What is inspected is one task, and this is for another: nothing is wrong with it."


def advice(statistics: Statistics) -> Iterator[tuple[str, str]]:
    """What is the matter, and what to do."""
    layout = statistics.layout
    if not statistics.frames.sum():
        return
    missing: dict[tuple[str, str], list[str]] = {}
    for place, expert in enumerate(layout.experts):
        if none := [layer for layer, name in statistics.dead if name == expert]:
            key = layers(none, layout, "any layer"), why_none(statistics, place)
            missing.setdefault(key, []).append(expert)
    for (where, why), experts in missing.items():
        yield f"{named(experts)} took no {layout.unit} in {where}.", why
    for place, expert in enumerate(layout.experts):
        few = [layer for layer, name in statistics.starved if name == expert]
        if few:
            share = statistics.load[[layout.feed_forwards.index(one) for one in few], place].max()
            yield (
                f"{named([expert])} is starved in {layers(few, layout, 'every layer')}: at most "
                f"{100 * share:.1f} % of the {layout.unit}s.",
                HARDLY if equal_share(statistics, place) >= ENOUGH else TOO_FEW,
            )


def named(experts: list[str]) -> str:
    """'Expert 2' or 'Experts 2, 5'."""
    return f"Expert{'s' if len(experts) > 1 else ''} {', '.join(experts)}"


def why_none(statistics: Statistics, expert: int) -> str:
    """What to do about an expert that took nothing somewhere."""
    layout = statistics.layout
    if layout.learned and (equal := equal_share(statistics, expert)):
        return UNUSED if equal >= ENOUGH else TOO_FEW
    # 'translate+en 1' is of group 'translate+en'.
    values = layout.experts[expert].partition(" ")[0].split("+")
    asked = {key[TOLD.index(Guide.TASK)] for key in statistics.counts.by_guidance}
    others = Guide.TASK in layout.guides and not asked.intersection(values)
    return OTHER_TASK if others and set(Task).intersection(values) else NO_DATA


def equal_share(statistics: Statistics, expert: int) -> float:
    """Of a layer's frames, for each of the experts among which a router chose."""
    choices = statistics.layout.choices
    first = expert // choices * choices
    return float(statistics.frames[0, first : first + choices].sum() / choices)


def layers(names: list[str], layout: Layout, every: str) -> str:
    """`every`, 'layer 2' or 'layers 2, 5'."""
    if len(names) == len(layout.feed_forwards):
        return every if len(names) > 1 else f"layer {names[0]}"
    return f"layer{'s' if len(names) > 1 else ''} {', '.join(names)}"
