"""Tokens and hidden frames -> logits of the next token, with a cache of keys and values.

One code path serves a training pass, a prompt, a single step and several tokens to be verified:
`tokens` are appended to whatever the cache holds. Caches grow by concatenation; a mask says which
slots hold a token, and a token's position is the number of tokens before it.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from turnout.config import DecoderConfig
from turnout.experts.bank import Dropout
from turnout.experts.feed_forward import FeedForward
from turnout.experts.routing import Route, Routing
from turnout.model.encoder import Stack, routes_of
from turnout.model.layers import Attention, with_positions


class Memory(NamedTuple):
    """What the decoder attends to, one entry per decoder row."""

    keys: Float[Tensor, "layers rows heads frames dim"]
    values: Float[Tensor, "layers rows heads frames dim"]
    mask: Bool[Tensor, "rows frames"]


class DecoderCache(NamedTuple):
    """Keys and values of the tokens so far; slots of padding stay masked."""

    keys: Float[Tensor, "layers rows heads slots dim"]
    values: Float[Tensor, "layers rows heads slots dim"]
    mask: Bool[Tensor, "rows slots"]


def select_rows(
    held: Memory | DecoderCache, index: Int[Tensor, " chosen"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Keys, values and mask of these rows; a row may be chosen more than once."""
    keys, values, mask = held
    return keys.index_select(1, index), values.index_select(1, index), mask.index_select(0, index)


def keep_tokens(cache: DecoderCache, counts: Int[Tensor, " rows"], most: int) -> DecoderCache:
    """The cache of the first `counts[r]` tokens of row r, `most` of them at most; empty slots come
    last."""
    keys, values, mask = cache
    kept = mask & (mask.cumsum(dim=1) <= counts.unsqueeze(1))
    slots = kept.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    places = slots[None, :, None, :, None].expand(*keys.shape[:3], -1, keys.shape[4])
    return DecoderCache(keys.gather(3, places), values.gather(3, places), kept.gather(1, slots))


class DecoderOutput(NamedTuple):
    """Logits after the tokens that were asked for, the grown cache, the decisions in order of
    depth, and what each block's cross-attention was asked with."""

    logits: Float[Tensor, "rows asked vocabulary"]
    cache: DecoderCache
    routings: tuple[Routing, ...]
    asking: tuple[Float[Tensor, "rows new d_model"], ...]


class Step(NamedTuple):
    """What every block of one call shares."""

    token_mask: Bool[Tensor, "rows new"]
    self_mask: Bool[Tensor, "rows 1 new slots"]
    cross_mask: Bool[Tensor, "rows 1 1 frames"]
    rotary: Int[Tensor, "rows new"] | None


class DecoderBlock(nn.Module):
    """Pre-norm: self-attention, cross-attention, feed-forward."""

    def __init__(self, config: DecoderConfig, d_model: int, feed_forward: FeedForward) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(d_model)
        self.self_attention = Attention(d_model, config.num_heads)
        self.cross_norm = nn.LayerNorm(d_model)
        self.cross_attention = Attention(d_model, config.num_heads)
        self.feed_forward_norm = nn.LayerNorm(d_model)
        self.feed_forward = feed_forward
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        hidden: Float[Tensor, "rows new d_model"],
        step: Step,
        memory: tuple[Tensor, Tensor],
        past: tuple[Tensor, Tensor],
        route: Route,
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Routing | None, Tensor]:
        """The hidden tokens, keys and values with the new ones appended, the decision, and what the
        cross-attention was asked with."""
        normed = self.self_norm(hidden)
        keys, values = self.self_attention.keys_values(normed, step.rotary)
        keys = torch.cat((past[0], keys), dim=2)
        values = torch.cat((past[1], values), dim=2)
        mixed = self.self_attention(normed, keys, values, step.self_mask, step.rotary)
        hidden = hidden + self.dropout(mixed)
        asking = self.cross_norm(hidden)
        mixed = self.cross_attention(asking, *memory, step.cross_mask)
        hidden = hidden + self.dropout(mixed)
        normed = self.feed_forward_norm(hidden)
        fed, routing = self.feed_forward(normed, step.token_mask, route)
        return hidden + self.dropout(fed), (keys, values), routing, asking


class Decoder(nn.Module):
    """Embedding, positions, blocks, output layer (the embedding itself where tied)."""

    def __init__(
        self, config: DecoderConfig, d_model: int, vocabulary_size: int, stack: Stack
    ) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocabulary_size, d_model)
        # It is the output layer too where tied: PyTorch's own start, of std 1, gives huge logits.
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)
        # Sinusoids have amplitude 1; the embedding is scaled up to stand beside them.
        self.scale = d_model**0.5 if config.positions == "sinusoidal" else 1.0
        learned = config.positions == "learned"
        self.positions = nn.Embedding(config.max_tokens, d_model) if learned else None
        self.blocks = nn.ModuleList(
            DecoderBlock(config, d_model, layer[0]) for layer in stack.feed_forwards
        )
        self.routers = stack.routers
        self.router_of = stack.router_of
        self.norm = nn.LayerNorm(d_model)
        self.dropout = Dropout(config.dropout)
        self.output = (
            None if config.tie_embeddings else nn.Linear(d_model, vocabulary_size, bias=False)
        )

    def forward(
        self,
        tokens: Int[Tensor, "rows new"],
        counts: Int[Tensor, " rows"],
        guide: Int[Tensor, " rows"],
        memory: Memory,
        cache: DecoderCache,
        positions: Int[Tensor, "rows asked"] | None = None,
    ) -> DecoderOutput:
        """Append `counts[r]` of row r's tokens; outputs behind them are meaningless.

        Logits are those after the new tokens at `positions`, after all of them where None.
        """
        new = torch.arange(tokens.shape[1], device=tokens.device)
        token_mask = new.unsqueeze(0) < counts.unsqueeze(1)
        places = cache.mask.sum(dim=1, keepdim=True) + new
        step = self.prepare(token_mask, places, memory, cache)
        # Only padding comes to lie beyond the last position, and its output is never read.
        known = places if self.positions is None else places.clamp(max=self.config.max_tokens - 1)
        hidden = self.embedding(tokens) * self.scale
        hidden = with_positions(hidden, known, self.config.positions, self.positions)
        hidden = self.dropout(hidden)
        keys, values, asked = [], [], []
        decisions: list[Routing | None] = []
        for layer, block in enumerate(self.blocks):
            (route,) = routes_of(self.routers, self.router_of[layer], guide)
            past = (cache.keys[layer], cache.values[layer])
            source = (memory.keys[layer], memory.values[layer])
            hidden, grown, routing, asking = block(hidden, step, source, past, route)
            keys.append(grown[0])
            values.append(grown[1])
            decisions.append(routing)
            asked.append(asking)
        mask = torch.cat((cache.mask, token_mask), dim=1)
        grown_cache = DecoderCache(torch.stack(keys), torch.stack(values), mask)
        if positions is not None:
            # Before the output layer: a prompt's logits over a large vocabulary cost more than it.
            index = positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
            hidden = hidden.gather(1, index)
        hidden = self.norm(hidden)
        if self.output is None:
            logits = nn.functional.linear(hidden, self.embedding.weight)
        else:
            logits = self.output(hidden)
        routings = tuple(routing for routing in decisions if routing is not None)
        return DecoderOutput(logits, grown_cache, routings, tuple(asked))

    def attention(
        self, output: DecoderOutput, memory: Memory
    ) -> Float[Tensor, "rows heads new frames"]:
        """The cross-attention weights of the alignment heads, in their order."""
        mask = memory.mask[:, None, None, :]
        weights = []
        for layer, head in self.config.alignment_heads:
            block = self.blocks[layer]
            assert isinstance(block, DecoderBlock)
            asking, keys = output.asking[layer], memory.keys[layer]
            weights.append(block.cross_attention.weights(asking, keys, mask, head))
        return torch.stack(weights, dim=1)

    def prepare(
        self,
        token_mask: Bool[Tensor, "rows new"],
        positions: Int[Tensor, "rows new"],
        memory: Memory,
        cache: DecoderCache,
    ) -> Step:
        """The masks: a token sees the cache and the new tokens up to itself."""
        rows, new = token_mask.shape
        past = cache.mask[:, None, None, :].expand(rows, 1, new, cache.mask.shape[1])
        index = torch.arange(new, device=token_mask.device)
        before = (index[None, :] <= index[:, None]).expand(rows, 1, new, new)
        self_mask = torch.cat((past, before), dim=3)
        rotary = positions if self.config.positions == "rotary" else None
        return Step(token_mask, self_mask, memory.mask[:, None, None, :], rotary)

    def cross(
        self, hidden: Float[Tensor, "batch frames d_model"]
    ) -> tuple[
        Float[Tensor, "layers batch heads frames dim"],
        Float[Tensor, "layers batch heads frames dim"],
    ]:
        """Keys and values of the encoder's frames for every layer's cross-attention."""
        # isinstance, since to the type checker a ModuleList holds Modules and nothing more.
        blocks = (block for block in self.blocks if isinstance(block, DecoderBlock))
        pairs = [block.cross_attention.keys_values(hidden) for block in blocks]
        return torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs])
