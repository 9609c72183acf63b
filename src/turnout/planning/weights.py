"""Every parameter of a model by name and shape, from its configuration alone.

What `build_model` makes, without making it: a model of a billion parameters is counted in a
moment. The tests hold both against each other.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from turnout.config import DecoderConfig, EncoderConfig, ModelConfig, RoutingConfig, TrainConfig
from turnout.errors import ConfigError
from turnout.guidance import Bandwidth
from turnout.training.parts import trained_names

EXPERTS = ".bank.experts."
TABLES = ("encoder.bandwidth.", "encoder.positions.", "decoder.embedding.", "decoder.positions.")
"""Embeddings: matrices that nothing is multiplied by."""


class Weight(NamedTuple):
    """One parameter."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers in it."""
        return prod(self.shape)

    @property
    def expert(self) -> int | None:
        """Which expert of its bank it belongs to; None where it belongs to none."""
        _, found, rest = self.name.partition(EXPERTS)
        return int(rest.partition(".")[0]) if found else None

    @property
    def is_layer(self) -> bool:
        """Whether it is the matrix of a Linear that could move by a product of low rank."""
        outside = (*TABLES, "encoder.routers.", "decoder.routers.")
        return len(self.shape) == 2 and not self.name.startswith(outside)


@dataclass(frozen=True)
class Weights:
    """All parameters of a model, and which of them are trained."""

    all: tuple[Weight, ...]
    trained: frozenset[str]

    @property
    def total(self) -> int:
        """Numbers that the model holds; what two parts share counts once."""
        return count(self.all)

    @property
    def active(self) -> int:
        """Without the experts that a frame or token does not take: under every routing it takes
        one of each routed feed-forward, and meets the whole router. total - idle experts."""
        return count(weight for weight in self.all if not weight.expert)

    @property
    def moved(self) -> tuple[Weight, ...]:
        """Those that are trained."""
        return tuple(weight for weight in self.all if weight.name in self.trained)


def count(weights: Iterable[Weight]) -> int:
    """Numbers in all of them."""
    return sum(weight.size for weight in weights)


def weights_of(config: TrainConfig) -> Weights:
    """Of the model of a run.

    Raises ConfigError where `trainable` names nothing, or `low_rank` fits none of what it names.
    """
    weights = model_weights(config.model)
    trained = trained_names(config.model, [w.name for w in weights], config.trainable)
    if config.objective.text_weight == 0:
        unreached = ("ctc_head.",) if config.objective.decodes else ("ctc_head.", "decoder.")
        trained = frozenset(name for name in trained if not name.startswith(unreached))
    if config.low_rank is None:
        return Weights(tuple(weights), trained)
    return low_rank(weights, trained, config.low_rank)


def low_rank(weights: list[Weight], trained: frozenset[str], rank: int) -> Weights:
    """Beside each trained matrix [out, in] two of [out, rank] and [rank, in], trained in its
    place."""
    moved, added = set(trained), list[Weight]()
    for weight in weights:
        if weight.name not in trained or len(weight.shape) < 2:
            continue
        outer, inner = weight.shape[:2]
        if not weight.is_layer or rank * (outer + inner) >= outer * inner:
            raise ConfigError(
                f"low_rank is {rank}, and {weight.name} of {' x '.join(map(str, weight.shape))} "
                "is no larger matrix of a layer: name attention or experts alone in trainable, or "
                "choose a lower low_rank"
            )
        stem = weight.name.removesuffix("weight")
        added += [
            Weight(f"{stem}added_down", (rank, inner)),
            Weight(f"{stem}added_up", (outer, rank)),
        ]
        moved.remove(weight.name)
    return Weights((*weights, *added), frozenset(moved.union(w.name for w in added)))


def model_weights(config: ModelConfig) -> list[Weight]:
    """Names and shapes of all parameters, as `named_parameters` has them but for their order."""
    width, rows = config.encoder.d_model, config.vocabulary.size
    weights = [*_encoder(config)]
    if config.ctc:
        weights += _linear("ctc_head", width, rows)
    if config.decoder.num_layers:
        weights += _decoder(config)
    return weights


def _encoder(config: ModelConfig) -> Iterator[Weight]:
    encoder = config.encoder
    width = encoder.d_model
    yield from _subsampling(encoder, config.features.num_mels)
    for layer in range(encoder.num_layers):
        block = f"encoder.blocks.{layer}"
        yield from _attention(f"{block}.attention", width)
        norms = ["attention_norm", "feed_forward_norm"]
        feed_forwards = ["feed_forward"]
        if encoder.block == "conformer":
            norms = ["first_norm", "attention_norm", "second_norm", "norm", *_CONVOLVED_NORMS]
            feed_forwards = ["first", "second"]
            yield from _convolution(f"{block}.convolution", width, encoder.conv_kernel)
        for norm in norms:
            yield from _norm(f"{block}.{norm}", width)
        for name in feed_forwards:
            yield from _bank(f"{block}.{name}", config, encoder, layer)
    yield from _routers("encoder", config, encoder)
    if config.bandwidth_token:
        yield Weight("encoder.bandwidth.weight", (len(Bandwidth), width))
    if encoder.positions == "learned":
        yield Weight("encoder.positions.weight", (encoder.max_frames, width))
    yield from _norm("encoder.norm", width)


def _decoder(config: ModelConfig) -> Iterator[Weight]:
    decoder, width, rows = config.decoder, config.encoder.d_model, config.vocabulary.size
    yield Weight("decoder.embedding.weight", (rows, width))
    if decoder.positions == "learned":
        yield Weight("decoder.positions.weight", (decoder.max_tokens, width))
    for layer in range(decoder.num_layers):
        block = f"decoder.blocks.{layer}"
        for name in ("self", "cross"):
            yield from _attention(f"{block}.{name}_attention", width)
        for name in ("self", "cross", "feed_forward"):
            yield from _norm(f"{block}.{name}_norm", width)
        yield from _bank(f"{block}.feed_forward", config, decoder, layer)
    yield from _routers("decoder", config, decoder)
    yield from _norm("decoder.norm", width)
    if not decoder.tie_embeddings:
        yield Weight("decoder.output.weight", (rows, width))


def num_routers(routing: RoutingConfig, num_layers: int, per_layer: int) -> int:
    """Learned routers of a stack: one of each feed-forward (switch), or of each run of
    `share_layers` routed layers, all of them by default (omni, hybrid)."""
    routed = sum(routing.learned and routing.routes(layer) for layer in range(num_layers))
    if routing.kind == "switch":
        return routed * per_layer
    return -(-routed // (routing.share_layers or num_layers or 1))


def feed_forwards_of(part: EncoderConfig | DecoderConfig) -> int:
    """Of one layer: a Conformer block has two halves, which are routed apart."""
    return 2 if isinstance(part, EncoderConfig) and part.block == "conformer" else 1


_CONVOLVED_NORMS = ("convolution.norm", "convolution.inner_norm")


def _linear(name: str, inner: int, outer: int, *, bias: bool = True) -> Iterator[Weight]:
    yield Weight(f"{name}.weight", (outer, inner))
    if bias:
        yield Weight(f"{name}.bias", (outer,))


def _norm(name: str, width: int) -> Iterator[Weight]:
    yield Weight(f"{name}.weight", (width,))
    yield Weight(f"{name}.bias", (width,))


def _attention(name: str, width: int) -> Iterator[Weight]:
    for part in ("query", "key", "value", "output"):
        yield from _linear(f"{name}.{part}", width, width, bias=part != "key")


def _convolution(name: str, width: int, kernel: int) -> Iterator[Weight]:
    yield from _linear(f"{name}.expand", width, 2 * width)
    yield from _kernels(f"{name}.depthwise", (width, 1, kernel))
    yield from _linear(f"{name}.project", width, width)


def _kernels(name: str, shape: tuple[int, ...]) -> Iterator[Weight]:
    yield Weight(f"{name}.weight", shape)
    yield Weight(f"{name}.bias", shape[:1])


def _subsampling(encoder: EncoderConfig, mels: int) -> Iterator[Weight]:
    place, width, channels = "encoder.subsampling", encoder.d_model, encoder.subsampling_channels
    match encoder.subsampling:
        case "stack4":
            yield from _linear(f"{place}.project", mels * 4, width)
        case "conv2" | "conv4":
            yield from _kernels(f"{place}.first", (width, mels, 3))
            yield from _kernels(f"{place}.second", (width, width, 3))
        case "conv2d4":
            yield from _kernels(f"{place}.first", (channels, 1, 3, 3))
            yield from _kernels(f"{place}.second", (channels, channels, 3, 3))
            yield from _linear(f"{place}.project", channels * ((mels + 3) // 4), width)


def _bank(
    name: str, config: ModelConfig, part: EncoderConfig | DecoderConfig, layer: int
) -> Iterator[Weight]:
    width = config.encoder.d_model
    for expert in range(config.experts_of(part.routing, layer)):
        yield from _linear(f"{name}{EXPERTS}{expert}.up", width, part.d_feedforward)
        yield from _linear(f"{name}{EXPERTS}{expert}.down", part.d_feedforward, width)


def _routers(
    stack: str, config: ModelConfig, part: EncoderConfig | DecoderConfig
) -> Iterator[Weight]:
    routing = part.routing
    choices = config.expert_map(routing).num_groups * routing.num_experts
    for index in range(num_routers(routing, part.num_layers, feed_forwards_of(part))):
        name = f"{stack}.routers.{index}.linear"
        yield from _linear(name, config.encoder.d_model, choices, bias=routing.router_bias)
