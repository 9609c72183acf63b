"""Backends around another: what each changes or counts is all that it says."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.decoding.backend import Backend, DecoderState, Encoded, StepOutput, StepQuery
from turnout.guidance import Guidance


@dataclass(frozen=True)
class Around:
    """A Backend that does what another does."""

    inner: Backend

    @property
    def config(self) -> Any:
        """See `Backend.config`."""
        return self.inner.config

    def encode(
        self,
        log_mel: NDArray[np.float32],
        frame_mask: NDArray[np.bool_],
        guidance: Sequence[Guidance],
    ) -> Encoded:
        """See `Backend.encode`."""
        return self.inner.encode(log_mel, frame_mask, guidance)

    def start(
        self, encoded: Encoded, rows: NDArray[np.int64], guidance: Sequence[Guidance]
    ) -> DecoderState:
        """See `Backend.start`."""
        return self.inner.start(encoded, rows, guidance)

    def step(
        self,
        state: DecoderState,
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
        query: StepQuery,
    ) -> tuple[StepOutput, DecoderState]:
        """See `Backend.step`."""
        return self.inner.step(state, tokens, counts, query)

    def keep(self, state: DecoderState, counts: NDArray[np.int64]) -> DecoderState:
        """See `Backend.keep`."""
        return self.inner.keep(state, counts)

    def attention(
        self,
        encoded: Encoded,
        rows: NDArray[np.int64],
        guidance: Sequence[Guidance],
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """See `Backend.attention`."""
        return self.inner.attention(encoded, rows, guidance, tokens, counts)

    def select(self, state: DecoderState, rows: NDArray[np.int64]) -> DecoderState:
        """See `Backend.select`."""
        return self.inner.select(state, rows)


@dataclass
class Asked:
    """How much of a backend was wanted."""

    entries: int = 0
    """Segments that were encoded."""
    steps: int = 0
    """Of the decoder."""


@dataclass(frozen=True)
class Counting(Around):
    """Counts what decoding asks for."""

    asked: Asked = field(default_factory=Asked)

    def encode(
        self,
        log_mel: NDArray[np.float32],
        frame_mask: NDArray[np.bool_],
        guidance: Sequence[Guidance],
    ) -> Encoded:
        """See `Backend.encode`."""
        self.asked.entries += len(log_mel)
        return super().encode(log_mel, frame_mask, guidance)

    def step(
        self,
        state: DecoderState,
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
        query: StepQuery,
    ) -> tuple[StepOutput, DecoderState]:
        """See `Backend.step`."""
        self.asked.steps += 1
        return super().step(state, tokens, counts, query)
