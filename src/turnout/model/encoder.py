"""Log-mel frames -> hidden frames, with the Routing of every routed feed-forward."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from turnout.config import EncoderConfig
from turnout.experts.bank import Dropout
from turnout.experts.feed_forward import FeedForward
from turnout.experts.routing import Route, Router, Routing
from turnout.guidance import Bandwidth
from turnout.model.layers import (
    Attention,
    Convolution,
    ConvolvedFrames,
    ConvolvedSpectrogram,
    StackedFrames,
    context_mask,
    with_positions,
)


class Stack(NamedTuple):
    """The feed-forwards of a stack of layers and the learned routers they share.

    `router_of[layer][feed-forward]` is an index into `routers`, None where nothing is learned.
    """

    feed_forwards: list[list[FeedForward]]
    routers: nn.ModuleList
    router_of: list[list[int | None]]


class TransformerBlock(nn.Module):
    """Pre-norm: attention, feed-forward."""

    def __init__(self, config: EncoderConfig, feed_forwards: list[FeedForward]) -> None:
        super().__init__()
        (self.feed_forward,) = feed_forwards
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.attention = Attention(config.d_model, config.num_heads)
        self.feed_forward_norm = nn.LayerNorm(config.d_model)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        hidden: Float[Tensor, "batch frames d_model"],
        frame_mask: Bool[Tensor, "batch frames"],
        attention_mask: Bool[Tensor, "batch 1 #frames frames"],
        positions: Int[Tensor, "#batch frames"] | None,
        routes: list[Route],
    ) -> tuple[Float[Tensor, "batch frames d_model"], list[Routing | None]]:
        """One Routing, or None where the layer is dense."""
        normed = self.attention_norm(hidden)
        keys, values = self.attention.keys_values(normed, positions)
        mixed = self.attention(normed, keys, values, attention_mask, positions)
        hidden = hidden + self.dropout(mixed)
        fed, routing = self.feed_forward(self.feed_forward_norm(hidden), frame_mask, routes[0])
        return hidden + self.dropout(fed), [routing]


class ConformerBlock(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward (arXiv 2005.08100)."""

    def __init__(self, config: EncoderConfig, feed_forwards: list[FeedForward]) -> None:
        super().__init__()
        d_model = config.d_model
        self.first, self.second = feed_forwards
        self.first_norm = nn.LayerNorm(d_model)
        self.attention_norm = nn.LayerNorm(d_model)
        self.attention = Attention(d_model, config.num_heads)
        self.convolution = Convolution(d_model, config.conv_kernel, config.dropout)
        self.second_norm = nn.LayerNorm(d_model)
        self.norm = nn.LayerNorm(d_model)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        hidden: Float[Tensor, "batch frames d_model"],
        frame_mask: Bool[Tensor, "batch frames"],
        attention_mask: Bool[Tensor, "batch 1 #frames frames"],
        positions: Int[Tensor, "#batch frames"] | None,
        routes: list[Route],
    ) -> tuple[Float[Tensor, "batch frames d_model"], list[Routing | None]]:
        """Two Routings, or None where a feed-forward is dense."""
        fed, first = self.first(self.first_norm(hidden), frame_mask, routes[0])
        hidden = hidden + 0.5 * self.dropout(fed)
        normed = self.attention_norm(hidden)
        keys, values = self.attention.keys_values(normed, positions)
        mixed = self.attention(normed, keys, values, attention_mask, positions)
        hidden = hidden + self.dropout(mixed)
        hidden = hidden + self.convolution(hidden, frame_mask)
        fed, second = self.second(self.second_norm(hidden), frame_mask, routes[1])
        hidden = hidden + 0.5 * self.dropout(fed)
        return self.norm(hidden), [first, second]


def build_subsampling(config: EncoderConfig, num_mels: int) -> nn.Module:
    """What `config.subsampling` names."""
    match config.subsampling:
        case "stack4":
            return StackedFrames(num_mels, config.d_model)
        case "conv2":
            return ConvolvedFrames(num_mels, config.d_model, (1, 2))
        case "conv4":
            return ConvolvedFrames(num_mels, config.d_model, (2, 2))
        case "conv2d4":
            return ConvolvedSpectrogram(num_mels, config.d_model, config.subsampling_channels)


class Encoder(nn.Module):
    """Subsampling, positions, blocks, and the bandwidth token before the frames where wanted."""

    def __init__(
        self, config: EncoderConfig, num_mels: int, stack: Stack, *, bandwidth_token: bool
    ) -> None:
        super().__init__()
        self.config = config
        d_model = config.d_model
        self.subsampling = build_subsampling(config, num_mels)
        block = TransformerBlock if config.block == "transformer" else ConformerBlock
        self.blocks = nn.ModuleList(block(config, layer) for layer in stack.feed_forwards)
        self.routers = stack.routers
        self.router_of = stack.router_of
        self.bandwidth = nn.Embedding(len(Bandwidth), d_model) if bandwidth_token else None
        learned = config.positions == "learned"
        self.positions = nn.Embedding(config.max_frames, d_model) if learned else None
        self.norm = nn.LayerNorm(d_model)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        log_mel: Float[Tensor, "batch frames mels"],
        frame_mask: Bool[Tensor, "batch frames"],
        guide: Int[Tensor, " batch"],
        bandwidth: Int[Tensor, " batch"],
    ) -> tuple[Tensor, Tensor, tuple[Routing, ...]]:
        """Hidden frames, their mask, and the decisions in order of depth.

        The token is dropped after the last block: it is in no target, statistic or time.
        """
        hidden, mask = self.subsampling(log_mel, frame_mask)
        if self.bandwidth is not None:
            token = self.bandwidth(bandwidth).unsqueeze(1).to(hidden.dtype)
            hidden = torch.cat((token, hidden), dim=1)
            mask = torch.cat((torch.ones_like(mask[:, :1]), mask), dim=1)
        index = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
        kind = self.config.positions
        hidden = self.dropout(with_positions(hidden, index, kind, self.positions))
        rotary = index if kind == "rotary" else None
        guides = int(self.bandwidth is not None)
        left, right = self.config.left_context, self.config.right_context
        attention_mask = context_mask(mask, left, right, guides)
        decisions: list[Routing | None] = []
        for block, routers in zip(self.blocks, self.router_of, strict=True):
            routes = routes_of(self.routers, routers, guide)
            hidden, routings = block(hidden, mask, attention_mask, rotary, routes)
            decisions += routings
        routed = [routing for routing in decisions if routing is not None]
        if self.bandwidth is not None:
            hidden, mask = hidden[:, 1:], mask[:, 1:]
            routed = [Routing(*(part[:, 1:] for part in routing)) for routing in routed]
        return self.norm(hidden), mask, tuple(routed)


def routes_of(
    routers: nn.ModuleList, indices: list[int | None], guide: Int[Tensor, " batch"]
) -> list[Route]:
    """The Route of each feed-forward of a layer: shared routers reach the layers at call time."""
    routes: list[Route] = []
    for index in indices:
        router = None if index is None else routers[index]
        assert router is None or isinstance(router, Router)
        routes.append(Route(guide, router))
    return routes
