"""A machine on which time is counted and not taken: how long requests wait by a queue's rule."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from turnout.decoding.requests import DecodingOptions, Request, Utterance
from turnout.serving.engine_queue import Waiting

LIMIT = 8
"""Segments of a batch."""


def segment(seconds: float, **options: object) -> Waiting:
    """One of this length, which nobody waits for."""
    log_mel = np.zeros((round(seconds * 100), 1), np.float32)
    chosen = DecodingOptions(**options)  # type: ignore[arg-type]
    return Waiting(Utterance(log_mel, Request(), chosen), lambda _: None)


@dataclass(frozen=True)
class Machine:
    """How long a batch takes: what every batch costs, and every second of what is encoded."""

    overhead: float
    per_second: float
    window: float | None = None
    """Seconds to which every segment is padded; None where the longest of the batch counts."""

    def seconds(self, batch: Sequence[Waiting]) -> float:
        """A batch's time."""
        return self.overhead + self.per_second * len(batch) * max(one.seconds for one in batch)

    def segment(self, seconds: float) -> Waiting:
        """A segment as its model takes it."""
        return segment(self.window or seconds)


WHISPER = Machine(overhead=0.1, per_second=0.04, window=30.0)
"""whisper-base on two cores: more than a second for each window."""
SMALL = Machine(overhead=0.02, per_second=0.004)
"""The shipped model: 20 ms for a segment of 5 s, and as much around it."""


@dataclass
class FirstCome:
    """The control: a queue as simple as can be."""

    waiting: deque[Waiting] = field(default_factory=deque)

    def join(self) -> None:
        """Nobody has a turn."""

    def put(self, _: object, waiting: Waiting) -> None:
        """Behind all others."""
        self.waiting.append(waiting)

    def take(self, _: float | None) -> list[Waiting]:
        """The first ones."""
        return [self.waiting.popleft() for _ in range(min(LIMIT, len(self.waiting)))]


def short_delays(
    machine: Machine, queue: Any, arrivals: Sequence[float], long_segments: int
) -> list[float]:
    """How long requests of 5 s take that come at these times, beside one that has so many
    segments, a few of which wait at any time."""
    now, delays, came = 0.0, [], dict[Waiting, float]()
    long, ahead = queue.join(), 100 if isinstance(queue, FirstCome) else 4
    coming, waits, left = deque(sorted(arrivals)), set[Waiting](), long_segments
    pace: float | None = None
    while len(delays) < len(arrivals):
        while coming and coming[0] <= now:
            one = machine.segment(5.0)
            came[one] = coming.popleft()
            queue.put(queue.join(), one)
        while left and len(waits) < ahead:
            more = machine.segment(30.0 if machine.window else 6.0)
            waits.add(more)
            queue.put(long, more)
            left -= 1
        batch = queue.take(pace)
        if not batch:
            now = coming[0]
            continue
        now += machine.seconds(batch)
        pace = machine.seconds(batch) / (len(batch) * max(one.seconds for one in batch))
        delays += [now - came[one] for one in batch if one in came]
        waits.difference_update(batch)
    return sorted(delays)


def p95(delays: Sequence[float]) -> float:
    """Of sorted delays."""
    return delays[int(0.95 * (len(delays) - 1))]


ARRIVALS = {
    "twenty at once": [0.5] * 20,
    "twenty, one after the other": [0.5 + 0.7 * number for number in range(20)],
    "one now and then": [0.5 + 13.37 * number for number in range(40)],
}
