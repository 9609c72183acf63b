"""The report as one page that needs nothing else: no network, no script."""

from turnout.inspection.markup import (
    Markup,
    joined,
    number,
    percent,
    row_head,
    stranger,
    table,
    tag,
)
from turnout.inspection.style import document
from turnout.labelling.report import BINS, LEAST, WIDTH, Report, rows_of

KEPT, DROPPED = "#4477aa", "#ee6677"
HOW_TO_READ = (
    "Confidence is the mean natural logarithm of the probabilities of a text's tokens: 0 is sure, "
    "and below -1 Whisper tries a text anew. A label that was dropped counts for each reason that "
    "speaks against it; 'for this alone' says how many would be kept without the rule."
)


def page(report: Report) -> str:
    """The page of a labelling."""
    title = f"Labels of {report.facts['source']}"
    body = [
        tag("h1", "Labels of ", stranger(report.facts["source"])),
        tag("p", HOW_TO_READ, class_="note"),
        tag("p", *summary(report)),
        tag("h2", "Kept and dropped"),
        amounts(report),
        tag("h2", "Confidence"),
        histogram(report),
        tag("h2", "Examples of what was dropped") if report.found else "",
        *(examples(report)),
    ]
    return document(title, *body)


def summary(report: Report) -> list[object]:
    """Who wrote the labels, and of how much."""
    second = report.facts["second"]
    beside = [", compared with ", stranger(second)] if second else []
    failed = len(report.failed)
    lost = f", of which {failed:,} could not be heard (listed in the JSON)" if failed else ""
    written = stranger(report.facts["model"])
    return ["Written by ", written, *beside, f": {report.inputs:,} inputs{lost}."]


def amounts(report: Report) -> Markup:
    """What was kept, and what was dropped for which reason."""
    total = max(report.kept.labels + report.dropped.labels, 1)
    rows = [
        [row_head(name), number(f"{amount.labels:,}"), number(percent(amount.labels / total)),
         number(f"{amount.hours:.2f}"), number(alone)]
        for name, amount, alone in rows_of(report)
    ]  # fmt: skip
    head: list[object] = ["labels", "", "share", "hours", "for this alone"]
    return table(head, rows, "A label may have several reasons.")


def histogram(report: Report) -> Markup:
    """A bar for each step of confidence: what was kept, then what was dropped."""
    kept, dropped = report.histogram[True], report.histogram[False]
    most = max(map(sum, zip(kept, dropped, strict=True)))
    if not most:
        return tag("p", "No label has a confidence.")
    rows = [
        [row_head(step(place)), bar(kept[place] / most, dropped[place] / most),
         number(f"{kept[place]:,}"), number(f"{dropped[place]:,}")]
        for place in reversed(range(BINS))
    ]  # fmt: skip
    keys = tag("ul", *(tag("li", swatch(colour), said) for colour, said in
                       ((KEPT, "kept"), (DROPPED, "dropped"))), class_="keys")  # fmt: skip
    head: list[object] = ["mean log-probability", "labels", "kept", "dropped"]
    return joined(keys, table(head, rows, "Labels by confidence."))


def step(place: int) -> str:
    """The bounds of a step of the histogram."""
    low, high = LEAST + place * WIDTH, LEAST + (place + 1) * WIDTH
    return f"{low:.1f} to {high + 0.0:.1f}" if place else f"below {high:.1f}"


def bar(kept: float, dropped: float) -> Markup:
    """Two lengths, of 1 at most together."""
    words = f"kept {percent(kept)} and dropped {percent(dropped)} of the longest bar"
    pieces = [
        tag("rect", x=f"{100 * x:.2f}", width=f"{100 * width:.2f}", height=10, fill=colour)
        for x, width, colour in ((0.0, kept, KEPT), (kept, dropped, DROPPED))
        if width
    ]
    drawn = tag("svg", tag("title", words), *pieces, class_="bar", viewBox="0 0 100 10",
                preserveAspectRatio="none", role="img", aria_label=words)  # fmt: skip
    return tag("td", drawn)


def swatch(colour: str) -> Markup:
    """A small square."""
    return tag("svg", tag("rect", width=10, height=10, fill=colour), class_="key",
               viewBox="0 0 10 10", aria_hidden="true")  # fmt: skip


def examples(report: Report) -> list[Markup]:
    """The first labels that each reason was found of."""
    found: list[Markup] = []
    for reason in report.found:
        rows = [
            [row_head(stranger(one.id)), number(figure(one.confidence, 2)),
             number(figure(one.disagreement, 0)), tag("td", stranger(one.text))]
            for one in report.examples[reason]
        ]  # fmt: skip
        head: list[object] = ["label", "confidence", "disagreement, %", "text"]
        found.append(table(head, rows, f"{str(reason).capitalize()}."))
    return found


def figure(value: float | None, digits: int) -> str:
    """As it is shown; nothing where it is not known."""
    return "" if value is None else f"{value:.{digits}f}"
