"""One colour per expert, the same in every picture of a model.

Experts of one group (hybrid) share a hue and differ in lightness; all others differ in hue.
"""

import colorsys
from collections.abc import Sequence

PALETTE = (
    "#4477aa", "#ee7733", "#228833", "#aa3377", "#ccbb44", "#66ccee", "#ee6677", "#777777",
)  # fmt: skip
"""Distinct to colour-blind eyes too (after Paul Tol's 'bright' and 'vibrant' schemes)."""


def colours_of(experts: Sequence[str]) -> list[str]:
    """A '#rrggbb' for each expert, from the names that `Layout` gives."""
    groups = [name.rpartition(" ")[0] for name in experts]
    if not any(groups):
        return [_hue(position, len(experts)) for position in range(len(experts))]
    order = list(dict.fromkeys(groups))
    return [
        _lightened(
            _hue(order.index(group), len(order)),
            groups[:position].count(group) / max(groups.count(group) - 1, 1),
        )
        for position, group in enumerate(groups)
    ]


def _hue(position: int, count: int) -> str:
    if count <= len(PALETTE):
        return PALETTE[position]
    # Neighbours get distant hues: the golden angle never comes back to a hue.
    red, green, blue = colorsys.hls_to_rgb(
        position * 0.618 % 1, 0.45 + 0.12 * (position % 3 - 1), 0.6
    )
    return _hex(red, green, blue)


def _lightened(colour: str, amount: float) -> str:
    """The colour from a quarter darker (0) to far lighter (1)."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    shade = amount * 1.0 - 0.25
    return _hex(*(part * (1 + shade) if shade < 0 else part + (1 - part) * shade for part in parts))


def _hex(red: float, green: float, blue: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue))
