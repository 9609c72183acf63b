"""What decoding asks of a model, in NumPy arrays: whoever answers can be ONNX, torch or a double.

A backend holds no state of a request, so threads can share one. Probabilities are natural
logarithms in float32; masks are True where there is something.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from turnout.config import ModelConfig
from turnout.guidance import Guidance


@dataclass(frozen=True)
class Encoded:
    """One batch of utterances after the encoder."""

    frame_mask: NDArray[np.bool_]
    """[batch, hidden frames]"""
    ctc_log_probs: NDArray[np.float32] | None
    """[batch, hidden frames, vocabulary]; None for a model without a CTC head."""
    expert_index: NDArray[np.int64]
    """[routings, batch, hidden frames]: the expert of each frame in each routed feed-forward, in
    order of depth (a Conformer block has two)."""
    hidden: Any
    """The backend's own: what `start` needs."""


@dataclass(frozen=True)
class DecoderState:
    """The cache of the decoder rows; all but `rows` is the backend's own."""

    rows: NDArray[np.int64]
    """[rows]: which utterance of the encoded batch each row belongs to."""
    cache: Any


class Backend(Protocol):
    """A model that can be decoded."""

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        ...

    def encode(
        self,
        log_mel: NDArray[np.float32],
        frame_mask: NDArray[np.bool_],
        guidance: Sequence[Guidance],
    ) -> Encoded:
        """[batch, frames, mels], [batch, frames], one guidance per utterance."""
        ...

    def start(
        self, encoded: Encoded, rows: NDArray[np.int64], guidance: Sequence[Guidance]
    ) -> DecoderState:
        """An empty cache; `rows[r]` is the utterance and `guidance[r]` the request of row r."""
        ...

    def step(
        self, state: DecoderState, tokens: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], DecoderState]:
        """Log-probabilities [rows, new, vocabulary] after each of `tokens` [rows, new].

        Row r has `counts[r]` (0 to new) tokens, left-aligned; what lies behind is padding, its
        outputs are meaningless and it does not enter the cache.
        """
        ...

    def select(self, state: DecoderState, rows: NDArray[np.int64]) -> DecoderState:
        """The state of the given rows, in that order; rows may repeat (beam search) or vanish."""
        ...
