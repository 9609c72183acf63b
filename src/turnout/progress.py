"""A bar on stderr while items are worked on; nothing at all where stderr is no terminal."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """The items, `total` of them; a single one has no bar."""
    # Asked here, not of rich: a bar that it is told not to show still ends a log with a blank line.
    if total < 2 or not sys.stderr.isatty():
        yield from items
        return
    from rich import progress as rich  # noqa: PLC0415 - slow to import
    from rich.console import Console  # noqa: PLC0415

    columns = (
        rich.TextColumn(what),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeRemainingColumn(compact=True),
    )
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total)
