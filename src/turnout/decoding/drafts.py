"""What CTC hears is a draft of what the decoder writes: speculative decoding (Leviathan et al.
2023, arXiv 2211.17192) by drafts that cost nothing.

The decoder reads a draft in one step, which says of each token whether the decoder would have
written it: what stands before the first difference is written, and the decoder's own token behind
it. So the text is the decoder's, whatever the draft says; a good one saves steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from turnout.decoding.encoded_batch import DecoderRow, EncodedBatch
from turnout.guidance import Task

REACH = 3
"""Tokens before and behind a difference among which the draft may go on: as many words may be left
out or put in at once."""
FEWEST = 4
"""Tokens that are proposed behind a difference, and two more for each that was right before it: a
draft that is wrong throughout costs little more than none."""


@dataclass(frozen=True)
class Draft:
    """What a row is expected to write."""

    tokens: tuple[int, ...] = ()
    place: int = 0
    """From where on it is expected now."""
    most: int | None = None
    """Tokens to propose at once; None is all."""

    def proposed(self, room: int) -> tuple[int, ...]:
        """The tokens that are expected next, no more than there is `room` for."""
        most = room if self.most is None else min(self.most, room)
        return self.tokens[self.place : self.place + most]

    def behind(self, right: int, token: int) -> "Draft":
        """After so many of the proposed tokens were right, and `token` was written behind them:
        what follows the nearest such token, or the place where another one was expected."""
        missed = self.place + right
        near = range(max(missed - REACH, 0), min(missed + REACH + 1, len(self.tokens)))
        same = [place for place in reversed(near) if self.tokens[place] == token]
        found = min(same, key=lambda place: abs(place - missed), default=missed)
        return Draft(self.tokens, found + 1, 2 * right + FEWEST)


def drafts_of(batch: EncodedBatch, rows: Sequence[DecoderRow]) -> list[Draft]:
    """CTC's best path for each transcript: CTC hears what is spoken, and no translation. Empty
    where there is no CTC head, or other tokens may come first than later."""
    paths = batch.paths
    if paths is None or batch.config.decoder.suppressed_first:
        return [Draft() for _ in rows]
    return [
        Draft(paths[row.entry].spikes.tokens) if row.guidance.task is Task.TRANSCRIBE else Draft()
        for row in rows
    ]
