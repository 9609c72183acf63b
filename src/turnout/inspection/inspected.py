"""A model and what it did with recordings, which are added one by one and not kept."""

from dataclasses import dataclass, replace

from turnout.inspection.counts import counts_of, nothing
from turnout.inspection.parts import Way
from turnout.inspection.record import Layout, RoutingRecord
from turnout.inspection.statistics import Statistics
from turnout.inspection.timeline import kept

SHOWN = 4
"""Recordings whose timelines are on the page."""


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """A model, and what it did with the recordings."""

    name: str
    encoder: Statistics
    decoder: Statistics
    shown: tuple[RoutingRecord, ...] = ()
    """The first recordings."""
    recordings: int = 0
    seconds: float = 0.0
    """Of all of them."""

    @classmethod
    def start(cls, name: str, way: Way) -> "Inspected":
        """Before the first recording."""
        layouts = Layout.of(way.config), way.decoder
        encoder, decoder = (Statistics(nothing(layout)) for layout in layouts)
        return cls(name=name, encoder=encoder, decoder=decoder)

    def plus(self, record: RoutingRecord) -> "Inspected":
        """With one recording more."""
        return replace(
            self,
            encoder=more(self.encoder, record),
            decoder=more(self.decoder, record),
            shown=self.shown if len(self.shown) == SHOWN else (*self.shown, kept(record)),
            recordings=self.recordings + 1,
            seconds=self.seconds + record.transcript.duration_seconds,
        )

    @property
    def stacks(self) -> tuple[Statistics, ...]:
        """Those that have experts of which choices are known."""
        return tuple(one for one in (self.encoder, self.decoder) if one.frames.any())

    @property
    def learned(self) -> tuple[Statistics, ...]:
        """Those of them in which a router chooses."""
        return tuple(one for one in self.stacks if one.layout.learned)


def more(found: Statistics, record: RoutingRecord) -> Statistics:
    """The statistics with one recording more."""
    return Statistics(found.counts + counts_of([record], found.layout))
