"""Encoder, CTC head and decoder as one module; its outputs are values, routings included."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from turnout.config import ModelConfig
from turnout.experts.routing import Routing
from turnout.model.decoder import Decoder, DecoderCache, DecoderOutput, Memory, select_rows
from turnout.model.encoder import Encoder


class EncoderOutput(NamedTuple):
    """What an encoder pass gives."""

    hidden: Float[Tensor, "batch hidden d_model"]
    frame_mask: Bool[Tensor, "batch hidden"]
    ctc_logits: Float[Tensor, "batch hidden vocabulary"] | None
    routings: tuple[Routing, ...]


class SpeechModel(nn.Module):
    """A routed encoder with a CTC head, a routed decoder, or both."""

    def __init__(self, config: ModelConfig, encoder: Encoder, decoder: Decoder | None) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        width = config.encoder.d_model
        self.ctc_head = nn.Linear(width, config.vocabulary.size) if config.ctc else None
        self.decoder = decoder

    def encode(
        self,
        log_mel: Float[Tensor, "batch frames mels"],
        frame_mask: Bool[Tensor, "batch frames"],
        guide: Int[Tensor, " batch"],
        bandwidth: Int[Tensor, " batch"],
    ) -> EncoderOutput:
        """`guide` is the encoder's expert or group (0 where unguided), `bandwidth` the position in
        `Bandwidth`."""
        hidden, mask, routings = self.encoder(log_mel, frame_mask, guide, bandwidth)
        logits = None if self.ctc_head is None else self.ctc_head(hidden)
        return EncoderOutput(hidden, mask, logits, routings)

    def empty_cache(self, rows: int) -> DecoderCache:
        """A cache of no slots."""
        assert self.decoder is not None, "this model has no decoder"
        weight = self.decoder.embedding.weight
        heads = self.config.decoder.num_heads
        shape = (self.config.decoder.num_layers, rows, heads, 0, weight.shape[1] // heads)
        mask = torch.zeros((rows, 0), dtype=torch.bool, device=weight.device)
        return DecoderCache(weight.new_zeros(shape), weight.new_zeros(shape), mask)

    def next_tokens(  # noqa: PLR0913, PLR0917 - the columns of a step and of what is asked of it
        self,
        tokens: Int[Tensor, "rows new"],
        counts: Int[Tensor, " rows"],
        guide: Int[Tensor, " rows"],
        memory: Memory,
        cache: DecoderCache,
        positions: Int[Tensor, "rows asked"],
        allowed: Bool[Tensor, "rows vocabulary"],
        scored: Int[Tensor, "rows asked"],
        ranks: Int[Tensor, " best"],
    ) -> tuple[Tensor, Tensor, Tensor, DecoderOutput]:
        """`Backend.step` in tensors: the best tokens [rows, asked, best] with their natural
        log-probabilities, the scored tokens' [rows, asked], and what the decoder gives.

        `ranks` is as long as the number of best tokens: a graph's sizes come from its inputs.
        """
        assert self.decoder is not None, "this model has no decoder"
        decoded: DecoderOutput = self.decoder(tokens, counts, guide, memory, cache, positions)
        log_probs = decoded.logits.float().log_softmax(dim=-1)
        known = log_probs.gather(-1, scored.unsqueeze(-1)).squeeze(-1)
        open_to_all = log_probs.masked_fill(~allowed.unsqueeze(1), -torch.inf)
        best, index = open_to_all.topk(ranks.shape[0], dim=-1)
        return index, best, known, decoded

    def forward(  # noqa: PLR0913, PLR0917 - the columns of a batch
        self,
        log_mel: Float[Tensor, "batch frames mels"],
        frame_mask: Bool[Tensor, "batch frames"],
        encoder_guide: Int[Tensor, " batch"],
        bandwidth: Int[Tensor, " batch"],
        rows: Int[Tensor, " rows"],
        tokens: Int[Tensor, "rows tokens"],
        token_counts: Int[Tensor, " rows"],
        decoder_guide: Int[Tensor, " rows"],
    ) -> tuple[EncoderOutput, DecoderOutput | None]:
        """A training pass: once the encoder and, for `rows` (each row's utterance), the decoder."""
        encoded = self.encode(log_mel, frame_mask, encoder_guide, bandwidth)
        # Without rows the decoder is left out, and has no gradient: `Ranks.sum_gradients` knows.
        if self.decoder is None or rows.numel() == 0:
            return encoded, None
        memory = Memory(*self.decoder.cross(encoded.hidden), encoded.frame_mask)
        # One encoder pass serves all rows of an utterance: its transcript, its translations.
        memory = Memory(*select_rows(memory, rows))
        cache = self.empty_cache(len(rows))
        return encoded, self.decoder(tokens, token_counts, decoder_guide, memory, cache)
