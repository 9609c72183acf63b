"""A SpeechModel as the two graphs of a model folder: what goes in, what comes out, and their names.

Batch, frames, rows, new tokens and cache slots are dynamic. Guidance is an input, so one graph
serves every expert.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from turnout.backends.onnx import ATTENTION, DECODER_OUTPUTS, encoder_outputs
from turnout.model.decoder import DecoderCache, Memory
from turnout.model.speech_model import SpeechModel


class EncoderGraph(nn.Module):
    """Log-mel frames -> CTC log-probabilities, mask, experts, cross-attention keys and values."""

    def __init__(self, model: SpeechModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        log_mel: Float[Tensor, "batch frames mels"],
        frame_mask: Bool[Tensor, "batch frames"],
        guide: Int[Tensor, " batch"],
        bandwidth: Int[Tensor, " batch"],
    ) -> tuple[Tensor, ...]:
        """The outputs that `encoder_plan` names, in that order."""
        encoded = self.model.encode(log_mel, frame_mask, guide, bandwidth)
        outputs = [encoded.frame_mask & True]  # an output of its own, never an alias of an input
        if encoded.ctc_logits is not None:
            outputs.append(encoded.ctc_logits.log_softmax(dim=-1))
        if self.model.decoder is not None:
            outputs.extend(self.model.decoder.cross(encoded.hidden))
        if encoded.routings:
            outputs.append(torch.stack([routing.expert_index for routing in encoded.routings]))
        return tuple(outputs)


class DecoderGraph(nn.Module):
    """New tokens and what came before -> the likeliest next tokens, and the grown cache."""

    def __init__(self, model: SpeechModel) -> None:
        super().__init__()
        self.model = model

    def forward(  # noqa: PLR0913, PLR0917 - a graph's inputs are a flat list
        self,
        tokens: Int[Tensor, "rows new"],
        counts: Int[Tensor, " rows"],
        guide: Int[Tensor, " rows"],
        positions: Int[Tensor, "rows asked"],
        allowed: Bool[Tensor, "rows vocabulary"],
        scored: Int[Tensor, "rows asked"],
        ranks: Int[Tensor, " best"],
        cross_keys: Float[Tensor, "layers rows heads frames dim"],
        cross_values: Float[Tensor, "layers rows heads frames dim"],
        cross_mask: Bool[Tensor, "rows frames"],
        past_keys: Float[Tensor, "layers rows heads slots dim"],
        past_values: Float[Tensor, "layers rows heads slots dim"],
        past_mask: Bool[Tensor, "rows slots"],
    ) -> tuple[Tensor, ...]:
        """The outputs that DECODER_OUTPUTS names, in that order, and the attention of the alignment
        heads where there are such."""
        memory = Memory(cross_keys, cross_values, cross_mask)
        cache = DecoderCache(past_keys, past_values, past_mask)
        best, log_probs, known, decoded = self.model.next_tokens(
            tokens, counts, guide, memory, cache, positions, allowed, scored, ranks
        )
        outputs = (best, log_probs, known, *decoded.cache)
        if not self.model.config.decoder.alignment_heads:
            return outputs
        assert self.model.decoder is not None
        return (*outputs, self.model.decoder.attention(decoded, memory))


@dataclass(frozen=True)
class Plan:
    """What `torch.onnx.export` is told of one graph."""

    module: nn.Module
    inputs: dict[str, Tensor]
    dynamic: dict[str, dict[int, Any]]
    outputs: tuple[str, ...]


def encoder_plan(model: SpeechModel) -> Plan:
    """The encoder's graph, traced on two utterances."""
    mask = torch.ones((2, 37), dtype=torch.bool)
    mask[1, 30:] = False
    inputs = {
        "log_mel": torch.zeros((2, 37, model.config.features.num_mels)),
        "frame_mask": mask,
        "guide": torch.zeros(2, dtype=torch.int64),
        "bandwidth": torch.zeros(2, dtype=torch.int64),
    }
    batch = {0: torch.export.Dim("batch")}
    frames = {**batch, 1: torch.export.Dim("frames")}
    dynamic = {"log_mel": frames, "frame_mask": frames, "guide": batch, "bandwidth": batch}
    encoder = model.config.encoder
    routed = any(encoder.routing.routes(layer) for layer in range(encoder.num_layers))
    outputs = (*encoder_outputs(model.config), *(("expert_index",) if routed else ()))
    return Plan(EncoderGraph(model), inputs, dynamic, outputs)


def decoder_plan(model: SpeechModel) -> Plan:
    """The decoder's graph, traced on three rows with a past."""
    decoder, width = model.config.decoder, model.config.encoder.d_model
    rows, new, slots, frames, asked, best = 3, 2, 5, 7, 4, 6

    def state(length: int) -> Tensor:
        heads = decoder.num_heads
        return torch.zeros((decoder.num_layers, rows, heads, length, width // heads))

    inputs = {
        "tokens": torch.zeros((rows, new), dtype=torch.int64),
        "counts": torch.tensor([2, 1, 0]),
        "guide": torch.zeros(rows, dtype=torch.int64),
        "positions": torch.zeros((rows, asked), dtype=torch.int64),
        "allowed": torch.ones((rows, model.config.vocabulary.size), dtype=torch.bool),
        "scored": torch.zeros((rows, asked), dtype=torch.int64),
        "ranks": torch.arange(best),
        "cross_keys": state(frames),
        "cross_values": state(frames),
        "cross_mask": torch.ones((rows, frames), dtype=torch.bool),
        "past_keys": state(slots),
        "past_values": state(slots),
        "past_mask": torch.ones((rows, slots), dtype=torch.bool),
    }
    names = ("rows", "new", "slots", "frames", "asked", "best")
    dim = {name: torch.export.Dim(name) for name in names}
    # Said at once: PyTorch finds it out by tracing all of it in vain.
    dim["best"] = torch.export.Dim("best", max=model.config.vocabulary.size)
    memory = {1: dim["rows"], 3: dim["frames"]}
    past = {1: dim["rows"], 3: dim["slots"]}
    dynamic = {
        "tokens": {0: dim["rows"], 1: dim["new"]},
        "counts": {0: dim["rows"]},
        "guide": {0: dim["rows"]},
        "positions": {0: dim["rows"], 1: dim["asked"]},
        "allowed": {0: dim["rows"]},
        "scored": {0: dim["rows"], 1: dim["asked"]},
        "ranks": {0: dim["best"]},
        "cross_keys": memory,
        "cross_values": memory,
        "cross_mask": {0: dim["rows"], 1: dim["frames"]},
        "past_keys": past,
        "past_values": past,
        "past_mask": {0: dim["rows"], 1: dim["slots"]},
    }
    outputs = (*DECODER_OUTPUTS, *((ATTENTION,) if decoder.alignment_heads else ()))
    return Plan(DecoderGraph(model), inputs, dynamic, outputs)
