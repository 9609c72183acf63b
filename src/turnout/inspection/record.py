"""A recording through a model -> the expert that each frame took in each routed feed-forward.

Reads `Encoded.expert_index`, so any backend will do. Knows nothing of pictures or statistics.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from turnout.config import ModelConfig
from turnout.guidance import Guidance
from turnout.text.transcript import Transcript, Word

HOP_SECONDS = 0.01


@dataclass(frozen=True)
class Layout:
    """The names of a model's routed feed-forwards, in order of depth, and of their experts."""

    feed_forwards: tuple[str, ...]
    """'1', '2', ... by layer from 1; a Conformer block's two are '1a' and '1b'."""
    experts: tuple[str, ...]
    """Words of the guidance where it chooses, numbers from 0 where a router does."""
    kind: str
    """The routing: dense, switch, omni, supervised or hybrid."""
    frame_seconds: float
    """Length of a hidden frame."""

    @classmethod
    def of(cls, config: ModelConfig) -> "Layout":
        """The layout of the encoder."""
        encoder = config.encoder
        halves = ("a", "b") if encoder.block == "conformer" else ("",)
        routed = [layer for layer in range(encoder.num_layers) if encoder.routing.routes(layer)]
        return cls(
            tuple(f"{layer + 1}{half}" for layer in routed for half in halves),
            tuple(_expert_names(config)) if routed else (),
            encoder.routing.kind,
            HOP_SECONDS * encoder.subsampling_factor,
        )


def _expert_names(config: ModelConfig) -> Iterator[str]:
    routing = config.encoder.routing
    groups = config.expert_map(routing)
    for group in range(groups.num_groups):
        if not routing.learned:
            yield groups.name(group)
            continue
        prefix = f"{groups.name(group)} " if routing.guided else ""
        yield from (f"{prefix}{expert}" for expert in range(routing.num_experts))


@dataclass(frozen=True, kw_only=True)
class RoutingRecord:
    """What one recording did inside the encoder."""

    name: str
    log_mel: Float32[np.ndarray, "frames mels"]
    """As the encoder saw it, windows joined in time."""
    expert_index: Int64[np.ndarray, "feed_forwards hidden"]
    """-1 where no window covers the frame."""
    guidance: Guidance
    transcript: Transcript

    @property
    def words(self) -> tuple[Word, ...]:
        """The transcript's words with their times."""
        return tuple(word for segment in self.transcript.segments for word in segment.words)
