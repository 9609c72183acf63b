"""Experts that took nothing or next to nothing, by name, and what can be done about each."""

from collections.abc import Iterator

from turnout.inspection.record import Layout
from turnout.inspection.statistics import Statistics

NO_DATA = (
    "Nothing is wrong with the model: what guides decides, and nothing here was of that kind. "
    "Inspect recordings that are."
)
UNUSED = (
    "Its weights are carried along for nothing there. Train with a higher "
    "objective.balance_weight, with fewer experts (num_experts), or on more varied recordings; if "
    "it took nothing in training either, start the experts from a dense model with "
    "'turnout upcycle'."
)
HARDLY = (
    "It hardly learns from so few. Raise objective.balance_weight a little, or train longer, and "
    "look whether its share grows; if not, fewer experts would do."
)
OTHER_TASK = "Only the task that is inspected was asked of the decoder, so this is as it should be."


def advice(statistics: Statistics) -> Iterator[tuple[str, str]]:
    """What is the matter, and what to do."""
    layout = statistics.layout
    if not statistics.frames.sum():
        return
    for place, expert in enumerate(layout.experts):
        missing = [layer for layer, name in statistics.dead if name == expert]
        if missing:
            yield (
                f"Expert {expert} took no {layout.unit} in {layers(missing, layout)}.",
                why_none(statistics, place),
            )
        few = [layer for layer, name in statistics.starved if name == expert]
        if few:
            share = statistics.load[[layout.feed_forwards.index(one) for one in few], place].max()
            yield (
                f"Expert {expert} is starved in {layers(few, layout)}: at most {100 * share:.1f} % "
                f"of the {layout.unit}s.",
                HARDLY,
            )


def why_none(statistics: Statistics, expert: int) -> str:
    """What to do about an expert that took nothing somewhere."""
    layout = statistics.layout
    if not layout.learned:
        return OTHER_TASK if layout.stack == "decoder" else NO_DATA
    first = expert // layout.choices * layout.choices
    group = statistics.frames[:, first : first + layout.choices]
    return UNUSED if group.sum() else NO_DATA


def layers(names: list[str], layout: Layout) -> str:
    """'every layer', 'layer 2' or 'layers 2, 5'."""
    if len(names) == len(layout.feed_forwards):
        return "every layer" if len(names) > 1 else f"layer {names[0]}"
    return f"layer{'s' if len(names) > 1 else ''} {', '.join(names)}"
