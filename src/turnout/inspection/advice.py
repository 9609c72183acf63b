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
                HARDLY,
            )


def named(experts: list[str]) -> str:
    """'Expert 2' or 'Experts 2, 5'."""
    return f"Expert{'s' if len(experts) > 1 else ''} {', '.join(experts)}"


def why_none(statistics: Statistics, expert: int) -> str:
    """What to do about an expert that took nothing somewhere."""
    layout = statistics.layout
    first = expert // layout.choices * layout.choices
    if layout.learned and statistics.frames[:, first : first + layout.choices].any():
        return UNUSED
    # 'translate+en 1' is of group 'translate+en'.
    values = layout.experts[expert].partition(" ")[0].split("+")
    asked = {key[TOLD.index(Guide.TASK)] for key in statistics.counts.by_guidance}
    others = Guide.TASK in layout.guides and not asked.intersection(values)
    return OTHER_TASK if others and set(Task).intersection(values) else NO_DATA


def layers(names: list[str], layout: Layout, every: str) -> str:
    """`every`, 'layer 2' or 'layers 2, 5'."""
    if len(names) == len(layout.feed_forwards):
        return every if len(names) > 1 else f"layer {names[0]}"
    return f"layer{'s' if len(names) > 1 else ''} {', '.join(names)}"
