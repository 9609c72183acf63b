"""A recording through a model -> the expert that each frame took in each routed feed-forward, and
each word in those of the decoder.

And what a model's experts are called and coloured, the same in every picture and table. Knows
nothing of pictures or statistics.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64
from matplotlib.colors import to_hex, to_rgb

from turnout.audio.features import FRAME_SECONDS
from turnout.config import ModelConfig, RoutingConfig
from turnout.guidance import Guidance, Guide
from turnout.inspection.labels import Span
from turnout.text.transcript import Transcript, Word

PALETTE = (
    "#4477aa", "#ee7733", "#228833", "#aa3377", "#ccbb44", "#66ccee", "#ee6677", "#777777",
)  # fmt: skip
"""Distinct to colour-blind eyes too (after Paul Tol's 'bright' and 'vibrant' schemes)."""


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
    stack: Literal["encoder", "decoder"] = "encoder"
    guides: tuple[Guide, ...] = ()
    """What chooses, or helps to."""
    of_group: int | None = None
    """Among how many experts a learned router chooses, where that is not all."""

    @property
    def choices(self) -> int:
        """Among how many experts a learned router chooses: all, or those of a group."""
        return self.of_group or len(self.experts)

    @property
    def learned(self) -> bool:
        """Whether a router takes part in the choice."""
        return self.kind in ("switch", "omni", "hybrid")

    @property
    def unit(self) -> str:
        """What is counted: 'frame', or 'token' of a decoder that learned."""
        return "token" if self.learned and self.stack == "decoder" else "frame"

    @classmethod
    def of(
        cls,
        config: ModelConfig,
        stack: Literal["encoder", "decoder"] = "encoder",
        tokens_told: bool = False,
    ) -> "Layout":
        """The layout of encoder or decoder; no feed-forwards of a decoder whose experts a learned
        router chooses, unless the backend tells (`tokens_told`), as graphs do not."""
        part = getattr(config, stack)
        routing: RoutingConfig = part.routing
        halves = ("",)
        if stack == "encoder" and config.encoder.block == "conformer":
            halves = ("a", "b")
        told = stack == "encoder" or tokens_told or not routing.learned
        routed = [layer for layer in range(part.num_layers) if told and routing.routes(layer)]
        return cls(
            tuple(f"{layer + 1}{half}" for layer in routed for half in halves),
            _expert_names(config, routing) if routed else (),
            routing.kind if part.num_layers else "dense",
            FRAME_SECONDS * config.encoder.subsampling_factor,
            stack,
            routing.guided_by if routing.guided else (),
            routing.num_experts if routing.kind == "hybrid" and routed else None,
        )


def _expert_names(config: ModelConfig, routing: RoutingConfig) -> tuple[str, ...]:
    groups = config.expert_map(routing)
    names = [groups.name(group) for group in range(groups.num_groups)]
    if not routing.learned:
        return tuple(names)
    prefixes = [f"{name} " if routing.guided else "" for name in names]
    return tuple(f"{prefix}{one}" for prefix in prefixes for one in range(routing.num_experts))


@dataclass(frozen=True, kw_only=True)
class RoutingRecord:
    """What one recording did inside a model."""

    name: str
    log_mel: Float[np.ndarray, "frames mels"]
    """As the encoder saw it, windows joined in time."""
    expert_index: Int64[np.ndarray, "feed_forwards hidden"]
    """The encoder's; -1 where no window covers the frame."""
    guidance: Guidance
    transcript: Transcript
    decoder_index: Int64[np.ndarray, "feed_forwards hidden"] | None = None
    """The decoder's, in the frames of the words that it wrote; -1 between them."""

    probabilities: Float32[np.ndarray, "feed_forwards hidden experts"] | None = None
    """The encoder's routers'; None where nothing is learned or the backend does not tell."""
    silent: Bool[np.ndarray, " hidden"] | None = None
    """Where there is no sound."""
    letters: tuple[Span, ...] = ()
    tokens: tuple[Span, ...] = ()
    """Those of the transcript that the decoder's routers are known for."""
    token_probabilities: Float32[np.ndarray, "feed_forwards tokens experts"] | None = None
    """The decoder's routers' while each was written."""
    speaker: str | None = None

    def choices_of(self, layout: Layout) -> Int64[np.ndarray, "feed_forwards frames"]:
        """What is counted of a stack: its frames, or the tokens of a decoder that learned."""
        if layout.stack == "decoder" and layout.learned:
            found = self.token_probabilities
            return self.index_of(layout)[:, :0] if found is None else found.argmax(axis=-1)
        return self.index_of(layout)

    def probabilities_of(
        self, layout: Layout
    ) -> Float32[np.ndarray, "feed_forwards frames experts"] | None:
        """Of the same."""
        if not layout.learned:
            return None
        return self.probabilities if layout.stack == "encoder" else self.token_probabilities

    def index_of(self, layout: Layout) -> Int64[np.ndarray, "feed_forwards hidden"]:
        """The experts of a stack."""
        if layout.stack == "encoder":
            return self.expert_index
        empty = np.zeros((len(layout.feed_forwards), 0), np.int64)
        return empty if self.decoder_index is None else self.decoder_index

    @property
    def words(self) -> tuple[Word, ...]:
        """The transcript's words with their times."""
        return tuple(word for segment in self.transcript.segments for word in segment.words)


def colours_of(experts: Sequence[str]) -> list[str]:
    """A '#rrggbb' for each expert, from the names that `Layout` gives.

    Experts of one group (hybrid) share a hue and differ in lightness; all others differ in hue.
    """
    groups = [name.rpartition(" ")[0] for name in experts]
    if not any(groups):
        return [_hue(position, len(experts)) for position in range(len(experts))]
    order = list(dict.fromkeys(groups))
    return [
        _lightened(
            _hue(order.index(group), len(order)),
            groups[:position].count(group) / max(groups.count(group) - 1, 1),
        )
        for position, group in enumerate(groups)
    ]


def _hue(position: int, count: int) -> str:
    if count <= len(PALETTE):
        return PALETTE[position]
    # Neighbours get distant hues: the golden angle never comes back to a hue.
    hue, lightness = position * 0.618 % 1, 0.45 + 0.12 * (position % 3 - 1)
    return to_hex(colorsys.hls_to_rgb(hue, lightness, 0.6))


def _lightened(colour: str, amount: float) -> str:
    """The colour from a quarter darker (0) to far lighter (1)."""
    shade = amount - 0.25
    towards = 0.0 if shade < 0 else 1.0  # black or white
    red, green, blue = (part + (towards - part) * abs(shade) for part in to_rgb(colour))
    return to_hex((red, green, blue))
