"""HTML and SVG from Python values: every text is escaped where it becomes markup, and nowhere else.

Names of recordings and what was said in them are strangers' data.
"""

import re
from html import escape

CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What no page may hold, or nobody would see; marks that only direct letters stay."""
VOID = ("meta", "image", "rect", "line", "col", "br")


class Markup(str):
    """What is markup already."""

    __slots__ = ()


def text(value: object) -> Markup:
    """A value as markup that shows just its letters."""
    return value if isinstance(value, Markup) else Markup(escape(shown(str(value))))


def shown(value: str) -> str:
    """The text without what a page cannot show."""
    return CONTROLS.sub("\ufffd", value)


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. Attributes that are None are left out; `class_` is 'class', `_` is '-'."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: object) -> Markup:
    """One behind the other."""
    return Markup("".join(text(child) for child in children))


def stranger(value: object) -> Markup:
    """A stranger's text, whose direction is its own affair."""
    return tag("bdi", value)


def table(head: list[object], rows: list[list[Markup]], caption: object) -> Markup:
    """A table under its caption, that scrolls inside itself; the cells of `rows` are `th` and `td`
    already."""
    heading = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = joined(*(tag("tr", *row) for row in rows))
    whole = tag("table", tag("thead", heading), tag("tbody", body), aria_label=caption)
    # No <caption>: that would be as narrow as a narrow table.
    words = tag("figcaption", caption)
    return tag("figure", words, scrolling(whole, caption), class_="table")


def scrolling(content: Markup, label: object) -> Markup:
    """What may be wider than the screen, for keys and fingers."""
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=label)


def row_head(value: object) -> Markup:
    """The first cell of a row."""
    return tag("th", value, scope="row")


def number(value: object) -> Markup:
    """A cell with a number."""
    return tag("td", value, class_="n")


def heat(share: float, words: str) -> Markup:
    """A cell that is the darker the nearer to 1 the share is."""
    return tag("td", words, class_=f"n h{round(10 * min(max(share, 0.0), 1.0))}")


def percent(share: float) -> str:
    """As '12 %', and what is not quite nothing as '< 1 %'."""
    if 0 < share < 0.01:
        return "< 1 %"
    return f"{100 * share:.0f} %"
