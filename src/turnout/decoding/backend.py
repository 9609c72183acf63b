"""What decoding asks of a model, in NumPy arrays: whoever answers can be ONNX, torch or a double.

A backend holds no state of a request, so threads can share one. Probabilities are natural
logarithms in float32; masks are True where there is something.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

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
    """The backend's own: what `start` needs. It is read by several starts, and written by none."""
    router_probabilities: NDArray[np.float32] | None = None
    """[routings, batch, hidden frames, experts]: how probable learned routers found each expert;
    None where nothing is learned, and of graphs, which give the choice alone."""


@dataclass(frozen=True)
class DecoderState:
    """The cache of the decoder rows; all but `rows` is the backend's own.

    A state is used once: `step`, `keep` and `select` take one and give another, and the backend may
    write into what it was given.
    """

    rows: NDArray[np.int64]
    """[rows]: which utterance of the encoded batch each row belongs to."""
    cache: Any


@dataclass(frozen=True, kw_only=True)
class StepQuery:
    """What is wanted of a step: a vocabulary of fifty thousand ids is never handed over whole."""

    positions: NDArray[np.int64]
    """[rows, asked]: after which of the new tokens, from 0."""
    allowed: NDArray[np.bool_]
    """[rows, vocabulary]: the ids that may be among the best."""
    best: int
    """How many of the allowed ids; 0 where only `scored` is of interest."""
    scored: NDArray[np.int64]
    """[rows, asked]: an id whose log-probability is wanted, allowed or not."""


@dataclass(frozen=True)
class StepOutput:
    """What a step gives. Log-probabilities are of the whole vocabulary, whatever is allowed."""

    tokens: NDArray[np.int64]
    """[rows, asked, best]: the likeliest first."""
    log_probs: NDArray[np.float32]
    """[rows, asked, best]: minus infinity where fewer ids than `best` are allowed."""
    scored: NDArray[np.float32]
    """[rows, asked]"""


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
        self,
        state: DecoderState,
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
        query: StepQuery,
    ) -> tuple[StepOutput, DecoderState]:
        """What may follow `tokens` [rows, new] where the query asks, and the grown cache.

        Row r has `counts[r]` (0 to new) tokens, left-aligned; what lies behind is padding, its
        outputs are meaningless and it does not enter the cache.
        """
        ...

    def keep(self, state: DecoderState, counts: NDArray[np.int64]) -> DecoderState:
        """The state as if row r had been given no more than the first `counts[r]` of its tokens:
        those of a draft that were wrong are forgotten."""
        ...

    def attention(
        self,
        encoded: Encoded,
        rows: NDArray[np.int64],
        guidance: Sequence[Guidance],
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """How much each token takes from each frame, [rows, heads, tokens, hidden frames]: the
        weights of the cross-attention, which sum to 1, in the heads of
        `config.decoder.alignment_heads`, for models that have such.

        `rows` and `guidance` as of `start`. Row r has `counts[r]` of `tokens` [rows, tokens], its
        prompt among them; what lies behind is padding, and its weights are meaningless.
        """
        ...

    def select(self, state: DecoderState, rows: NDArray[np.int64]) -> DecoderState:
        """The state of the given rows, in that order; rows may repeat (beam search) or vanish."""
        ...


@runtime_checkable
class TellsRouting(Protocol):
    """A Backend that can tell what the decoder's learned routers did; graphs cannot."""

    def decoder_probabilities(
        self,
        encoded: Encoded,
        rows: NDArray[np.int64],
        guidance: Sequence[Guidance],
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """[routings, rows, tokens, experts]: how probable each expert was for each token that was
        read, of which the next one is written. The arguments are those of `Backend.attention`."""
        ...


def from_whole_vocabulary(log_probs: NDArray[np.float32], query: StepQuery) -> StepOutput:
    """A step's output from log-probabilities [rows, new, vocabulary], for models that give no less:
    the graphs of version 1, and doubles in tests. Of equals, the lowest id."""
    asked = np.take_along_axis(log_probs, query.positions[..., None], axis=1)
    scored = np.take_along_axis(asked, query.scored[..., None], axis=2)[..., 0]
    allowed = np.where(query.allowed[:, None], asked, np.float32(-np.inf))
    tokens = np.argsort(-allowed, axis=2, kind="stable")[..., : query.best]
    return StepOutput(tokens, np.take_along_axis(allowed, tokens, axis=2), scored)
