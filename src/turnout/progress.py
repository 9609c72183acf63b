"""A bar on stderr while items are worked on or bytes come; nothing at all where stderr is no
terminal."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
Say = Callable[[str], None]
"""Is told, in lines, what whoever waits should know."""


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


@contextmanager
def byte_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar of bytes, moved by what is called with those that came, or that went again."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich import progress as rich  # noqa: PLC0415 - slow to import
    from rich.console import Console  # noqa: PLC0415

    columns = (
        rich.TextColumn(what),
        rich.BarColumn(),
        rich.DownloadColumn(),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(compact=True),
    )
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda size: bar.advance(task, size)
