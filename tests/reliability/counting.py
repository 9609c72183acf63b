"""A backend that counts what decoding asks of another."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from turnout.config import ModelConfig
from turnout.decoding.backend import Backend, DecoderState, Encoded
from turnout.guidance import Guidance


class CountingBackend:
    """Another backend's answers, and how many were wanted."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.entries = 0
        """Stretches that were encoded."""
        self.steps = 0
        """Of the decoder."""

    @property
    def config(self) -> ModelConfig:
        """See `Backend.config`."""
        return self._backend.config

    def encode(
        self,
        log_mel: NDArray[np.float32],
        frame_mask: NDArray[np.bool_],
        guidance: Sequence[Guidance],
    ) -> Encoded:
        """See `Backend.encode`."""
        self.entries += len(log_mel)
        return self._backend.encode(log_mel, frame_mask, guidance)

    def start(
        self, encoded: Encoded, rows: NDArray[np.int64], guidance: Sequence[Guidance]
    ) -> DecoderState:
        """See `Backend.start`."""
        return self._backend.start(encoded, rows, guidance)

    def step(
        self, state: DecoderState, tokens: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], DecoderState]:
        """See `Backend.step`."""
        self.steps += 1
        return self._backend.step(state, tokens, counts)

    def select(self, state: DecoderState, rows: NDArray[np.int64]) -> DecoderState:
        """See `Backend.select`."""
        return self._backend.select(state, rows)
