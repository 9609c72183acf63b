"""ModelConfig -> SpeechModel: the only place that matches on the routing kind."""

from torch import nn

from turnout.config import DecoderConfig, EncoderConfig, ModelConfig, RoutingConfig
from turnout.experts.bank import ExpertBank
from turnout.experts.feed_forward import FeedForward
from turnout.experts.routing import Learned, Router, Supervised
from turnout.model.decoder import Decoder
from turnout.model.encoder import Encoder, Stack
from turnout.model.speech_model import SpeechModel


def build_model(config: ModelConfig) -> SpeechModel:
    """A model with random weights, from torch's global generator."""
    width = config.encoder.d_model
    # A Conformer block has two half feed-forwards, which are routed apart.
    per_layer = 2 if config.encoder.block == "conformer" else 1
    encoder = Encoder(
        config.encoder,
        config.features.num_mels,
        build_stack(config, config.encoder, per_layer),
        bandwidth_token=config.bandwidth_token,
    )
    decoder = None
    if config.decoder.num_layers:
        stack = build_stack(config, config.decoder, 1)
        decoder = Decoder(config.decoder, width, config.vocabulary.size, stack)
    return SpeechModel(config, encoder, decoder)


def build_stack(config: ModelConfig, part: EncoderConfig | DecoderConfig, per_layer: int) -> Stack:
    """The feed-forwards of encoder or decoder, and the routers they share."""
    width = config.encoder.d_model
    routing = part.routing
    groups = config.expert_map(routing).num_groups
    feed_forwards = [
        [
            build_feed_forward(part, routing, width, groups if routing.routes(layer) else 0)
            for _ in range(per_layer)
        ]
        for layer in range(part.num_layers)
    ]
    router_of = assign_routers(routing, part.num_layers, per_layer)
    count = 1 + max((index for row in router_of for index in row if index is not None), default=-1)
    routers = nn.ModuleList(
        Router(width, routing.num_experts, groups, bias=routing.router_bias, jitter=routing.jitter)
        for _ in range(count)
    )
    return Stack(feed_forwards, routers, router_of)


def build_feed_forward(
    part: EncoderConfig | DecoderConfig, routing: RoutingConfig, width: int, groups: int
) -> FeedForward:
    """A routed feed-forward for guidance with `groups` choices; a dense one for 0."""
    kind = routing.kind if groups else "dense"
    match kind:
        case "dense":
            experts, rule = 1, None
        case "supervised":
            experts, rule = groups, Supervised(groups)
        case "switch" | "omni" | "hybrid":
            experts, rule = groups * routing.num_experts, Learned(routing.gate)
    bank = ExpertBank(experts, width, part.d_feedforward, part.activation, part.dropout)
    return FeedForward(bank, rule)


def assign_routers(
    routing: RoutingConfig, num_layers: int, per_layer: int
) -> list[list[int | None]]:
    """The router of each feed-forward: its own (switch), or one per `share_layers` layers."""
    routed = [layer for layer in range(num_layers) if routing.learned and routing.routes(layer)]
    assigned: list[list[int | None]] = [[None] * per_layer for _ in range(num_layers)]
    # Counted over routed layers alone: dense ones between them belong to no block of sharers.
    for place, layer in enumerate(routed):
        if routing.kind == "switch":
            assigned[layer] = [place * per_layer + half for half in range(per_layer)]
        else:
            assigned[layer] = [place // (routing.share_layers or num_layers)] * per_layer
    return assigned
