"""A bar on stderr while items are worked on or bytes come; nothing at all where stderr is no
terminal."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from turnout.errors import Cancelled

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

T = TypeVar("T")
Say = Callable[[str], None]
"""Is told, in lines, what whoever waits should know."""
Heard = Callable[[float], None]
"""Is told how many seconds of a recording are through."""


def progress(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """The items, `total` of them; a single one has no bar."""
    # Asked here, not of rich: a bar that it is told not to show still ends a log with a blank line.
    if total < 2 or not sys.stderr.isatty():
        yield from items
        return
    from rich import progress as rich  # noqa: PLC0415 - slow to import

    columns = (
        rich.TextColumn(what),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeRemainingColumn(compact=True),
    )
    with bar_of(*columns) as bar:
        yield from bar.track(items, total=total)


@contextmanager
def byte_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar of bytes, moved by what is called with those that came, or that went again."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich import progress as rich  # noqa: PLC0415 - slow to import

    columns = (
        rich.TextColumn(what),
        rich.BarColumn(),
        rich.DownloadColumn(),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(compact=True),
    )
    with bar_of(*columns) as bar:
        task = bar.add_task(what, total=total)
        yield lambda size: bar.advance(task, size)


def sound_progress(work: Callable[[Heard], Iterable[T]], what: str) -> Iterator[T]:
    """What work on a single recording gives, once it is through; meanwhile it says, by what it is
    given, how many seconds of the recording are."""
    if not sys.stderr.isatty():
        yield from work(lambda _: None)
        return
    from rich import progress as rich  # noqa: PLC0415 - slow to import

    columns = (
        rich.SpinnerColumn(),
        rich.TextColumn(what + "{task.fields[heard]}"),
        rich.TimeElapsedColumn(),
    )
    given: list[T] = []
    stopped: Cancelled | None = None
    with bar_of(*columns) as bar:
        task = bar.add_task(what, total=None, heard="")

        def heard(seconds: float) -> None:
            bar.update(task, heard=f", {timedelta(seconds=int(seconds))} done")

        try:
            given.extend(work(heard))  # one by one: what came before the end is kept
        except Cancelled as error:
            stopped = error
    # Behind the bar, so that a long text is not folded above it.
    yield from given
    if stopped is not None:
        raise stopped


@dataclass
class Pace:
    """How much sound was worked on since this was made."""

    items: int = 0
    hours: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def add(self, seconds: float) -> None:
        """One more item, of so much sound."""
        self.items += 1
        self.hours += seconds / 3600

    @property
    def minutes(self) -> float:
        """That it took, more than 0."""
        return max(time.monotonic() - self.started, 1e-9) / 60

    def __str__(self) -> str:
        """As '1.250 h of sound, 0.312 h a minute'."""
        return f"{self.hours:,.3f} h of sound, {self.hours / self.minutes:,.3f} h a minute"


@contextmanager
def pace_progress(what: str, total: int, pace: Pace) -> Iterator[Callable[[float], None]]:
    """A bar of items and hours, moved by what is called with the seconds of each."""
    if not sys.stderr.isatty():
        yield pace.add
        return
    from rich import progress as rich  # noqa: PLC0415 - slow to import

    columns = (
        rich.TextColumn(what),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[pace]}"),
        rich.TimeRemainingColumn(compact=True),
    )
    with bar_of(*columns) as bar:
        task = bar.add_task(what, total=total, pace="")

        def told(seconds: float) -> None:
            pace.add(seconds)
            bar.update(task, advance=1, pace=str(pace))

        yield told


def bar_of(*columns: "ProgressColumn") -> "Progress":
    """A bar on the terminal: what is printed meanwhile goes above it, unless it goes into a file or
    a pipe."""
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.progress import Progress  # noqa: PLC0415

    console, above = Console(stderr=True), sys.stdout.isatty()
    return Progress(*columns, console=console, transient=True, redirect_stdout=above)
