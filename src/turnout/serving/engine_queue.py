"""Which segments are decoded next: fairly among requests, like lengths together.

Every request has a turn, and what it was served is counted in seconds of sound: who had least is
first. A batch holds one segment of each request; further ones of the same only as long as the whole
batch stays short, since whoever comes next waits for its end. Nothing here decodes or waits.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from turnout.audio.features import FRAME_SECONDS
from turnout.decoding.requests import Decoded, Utterance

SHORT_BATCH_SECONDS = 0.05
"""A batch that is expected to take no longer may be filled with segments of few requests: whoever
comes meanwhile hardly notices."""
ALIKE_SECONDS = 2.0
"""Lengths that count as one: padding of less costs little."""


@dataclass(eq=False)
class Waiting:
    """A segment that waits to be decoded."""

    utterance: Utterance
    answer: Callable[[Decoded], None]
    """Called once, in the engine's thread; must not block."""

    @property
    def seconds(self) -> float:
        """Of what the encoder is given, silence up to the model's window included."""
        return len(self.utterance.log_mel) * FRAME_SECONDS

    @property
    def kind(self) -> tuple[object, ...]:
        """What batch-mates share: a wider beam, or more attempts, would make the others wait."""
        options = self.utterance.options
        return options.beam_size, options.temperatures, options.best_of


@dataclass(eq=False)
class Turn:
    """A request's place among the others."""

    number: int
    """Of its arrival."""
    served: float = 0.0
    """Seconds of sound, on a clock that all turns share."""
    waiting: deque[Waiting] = field(default_factory=deque)


class FairQueue:
    """What waits, by request; not thread-safe."""

    def __init__(self, limit: int) -> None:
        """`limit` is the most segments of a batch."""
        self._limit = limit
        self._turns: dict[int, Turn] = {}
        """Those of which something waits, by number."""
        self._clock = 0.0
        """What the turn had been served that was first in the last batch."""
        self._arrived = 0

    def __len__(self) -> int:
        """How many segments wait."""
        return sum(len(turn.waiting) for turn in self._turns.values())

    def join(self) -> Turn:
        """The turn of a new request."""
        self._arrived += 1
        return Turn(self._arrived)

    def put(self, turn: Turn, waiting: Waiting) -> None:
        """Let a segment wait behind those of its request."""
        if not turn.waiting:
            # Nobody saves up by having asked for nothing.
            turn.served = max(turn.served, self._clock)
            self._turns[turn.number] = turn
        turn.waiting.append(waiting)

    def leave(self, turn: Turn) -> None:
        """Forget what waits of a request."""
        turn.waiting.clear()
        self._turns.pop(turn.number, None)

    def take(self, pace: float | None) -> list[Waiting]:
        """The next batch; none where nothing waits. `pace` is how many seconds it takes to decode a
        second of what the encoder is given, None where that was not measured yet."""
        turns = sorted(self._turns.values(), key=lambda turn: (turn.served, turn.number))
        if not turns:
            return []
        first, *others = turns
        self._clock = first.served
        batch = [self._pop(first)]
        kind, length = batch[0].kind, batch[0].seconds
        mates = [turn for turn in others if turn.waiting[0].kind == kind]
        # Sorting is stable: of like lengths, who had least comes first.
        mates.sort(key=lambda turn: abs(turn.waiting[0].seconds - length) // ALIKE_SECONDS)
        chosen = mates[: self._limit - 1]
        batch += [self._pop(turn) for turn in chosen]
        self._fill(batch, [first, *chosen], pace)
        return batch

    def _fill(self, batch: list[Waiting], turns: list[Turn], pace: float | None) -> None:
        """Further segments of the same requests, while the batch stays short."""
        kind = batch[0].kind
        while len(batch) < self._limit:
            more = [turn for turn in turns if turn.waiting and turn.waiting[0].kind == kind]
            if not more:
                return
            turn = min(more, key=lambda turn: (turn.served, turn.number))
            longest = max(one.seconds for one in (*batch, turn.waiting[0]))
            taken = None if pace is None else pace * longest * (len(batch) + 1)
            if taken is None or taken > SHORT_BATCH_SECONDS:
                return
            batch.append(self._pop(turn))

    def _pop(self, turn: Turn) -> Waiting:
        waiting = turn.waiting.popleft()
        turn.served += waiting.seconds
        if not turn.waiting:
            del self._turns[turn.number]
        return waiting
