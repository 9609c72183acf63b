"""Multiplications and additions of a training step, product by product.

A matrix product of N rows, `inner` by `outer`, takes 2 N inner outer operations forward. Backward
it takes as many for the gradient of the matrix, where that is trained, and as many for that of its
input, where something before it is trained: three times the forward pass where all is. Attention
multiplies twice over all pairs of a frame and a slot, 4 N slots d forward, and twice that backward
(fused kernels compute their scores once more, which is not counted: it is no progress). Norms,
activations, softmaxes and the optimizer are left out: they take time by their bytes, not by these.
A frame or token takes one expert, whatever their number.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from turnout.config import DecoderConfig, EncoderConfig, ModelConfig, TrainConfig
from turnout.planning.micro_batch import MicroBatch, taught_batch_of
from turnout.planning.weights import EXPERTS, Weights

LAST = 4
"""Depths beside those of layers: before the encoder's, behind them, before the decoder's, behind
them."""


class Product(NamedTuple):
    """One matrix product."""

    weight: str | None
    """Beginning of the names of what is multiplied by; None where both sides are activations."""
    forward: float
    """Operations."""
    depth: int
    """What is before it has a smaller one."""
    of_features: bool = False
    """Whether its input is the features, which nothing is learned of."""


@dataclass(frozen=True)
class Operations:
    """Of one micro-batch."""

    forward: float
    backward: float

    @property
    def all(self) -> float:
        """Both passes."""
        return self.forward + self.backward


def operations_of(model: ModelConfig, weights: Weights, batch: MicroBatch) -> Operations:
    """Forward and backward of one micro-batch, for the weights that are trained."""
    found = list(products(model, batch))
    moved = [product.weight is not None and is_moved(product.weight, weights) for product in found]
    # The CTC head is before nothing, and the decoder after all of the encoder but that head.
    depths = [depth_of(n, model) for n in weights.trained if not n.startswith("ctc_head.")]
    first = min(depths, default=model.encoder.num_layers + model.decoder.num_layers + LAST)
    backward = 0.0
    for product, trained in zip(found, moved, strict=True):
        # Inside a layer no order is asked for: what is before it may be trained in the same one.
        reached = first <= product.depth and not product.of_features
        sides = 2 * reached if product.weight is None else int(trained) + int(reached)
        backward += sides * product.forward
    return Operations(sum(product.forward for product in found), backward)


def taught_operations(config: TrainConfig, batch: MicroBatch) -> float:
    """Of what a teacher makes of a micro-batch, where there is one: forward alone, and all of it,
    though its encoder's outputs may have been kept."""
    if not config.objective.distils:
        return 0.0
    return sum(p.forward for p in products(config.model, taught_batch_of(config, batch)))


def is_moved(beginning: str, weights: Weights) -> bool:
    """Whether a matrix that begins so is trained; of one that moves by a product of low rank, what
    that takes is too little to count."""
    return any(name.startswith(beginning) and name.endswith(".weight") for name in weights.trained)


def depth_of(name: str, model: ModelConfig) -> int:
    """Of a parameter: what is before the encoder's layers, these, what is behind them; and so of
    the decoder."""
    stack, _, rest = name.partition(".")
    offset = decoder_depth(model) if stack == "decoder" else 0
    layers = (model.decoder if stack == "decoder" else model.encoder).num_layers
    if rest.startswith("blocks."):
        return offset + 1 + int(rest.split(".")[1])
    return offset + layers + 1 if rest.startswith(("norm.", "output.")) else offset


def decoder_depth(model: ModelConfig) -> int:
    """Of what is before the decoder's layers: behind all of the encoder."""
    return model.encoder.num_layers + 2


def products(model: ModelConfig, batch: MicroBatch) -> Iterator[Product]:
    """All of a forward pass."""
    encoder, width = model.encoder, model.encoder.d_model
    frames, rows = batch.all_frames, model.vocabulary.size
    yield from subsampling(model, batch)
    seen = batch.frames
    for layer in range(encoder.num_layers):
        depth, block = layer + 1, f"encoder.blocks.{layer}."
        yield Product(f"{block}attention.", 8.0 * frames * width**2, depth)
        yield Product(None, 4.0 * frames * seen * width, depth)
        if encoder.block == "conformer":
            linear = 2.0 * frames * width * (2 * width + width)
            yield Product(f"{block}convolution.", linear, depth)
            yield Product(
                f"{block}convolution.depthwise.", 2.0 * frames * width * encoder.conv_kernel, depth
            )
            names = ("first", "second")
        else:
            names = ("feed_forward",)
        for name in names:
            yield from feed_forward(model, encoder, layer, (f"{block}{name}", frames, depth))
    if model.ctc:
        heard = frames - batch.utterances * model.bandwidth_token
        yield Product("ctc_head.", 2.0 * heard * width * rows, encoder.num_layers + 1)
    if batch.tokens:
        yield from decoder_products(model, batch)


def feed_forward(
    model: ModelConfig,
    part: EncoderConfig | DecoderConfig,
    layer: int,
    place: tuple[str, int, int],
) -> Iterator[Product]:
    """One expert a frame, and the router where it is learned; `place` is its name, frames and
    depth."""
    name, frames, depth = place
    width = model.encoder.d_model
    yield Product(f"{name}{EXPERTS}", 4.0 * frames * width * part.d_feedforward, depth)
    if part.routing.learned and part.routing.routes(layer):
        stack = name.partition(".")[0]
        experts = model.experts_of(part.routing, layer)
        yield Product(f"{stack}.routers.", 2.0 * frames * width * experts, depth)


def decoder_products(model: ModelConfig, batch: MicroBatch) -> Iterator[Product]:
    """Its layers, the keys and values of the encoder's frames for each of them, and the logits."""
    decoder, width = model.decoder, model.encoder.d_model
    tokens, start = batch.all_tokens, decoder_depth(model)
    seen = batch.frames - model.bandwidth_token
    heard = batch.utterances * seen
    for layer in range(decoder.num_layers):
        depth, block = start + 1 + layer, f"decoder.blocks.{layer}."
        yield Product(f"{block}self_attention.", 8.0 * tokens * width**2, depth)
        yield Product(None, 4.0 * tokens * batch.tokens * width, depth)
        cross = f"{block}cross_attention."
        yield Product(cross, 4.0 * tokens * width**2, depth)  # queries and output
        yield Product(cross, 4.0 * heard * width**2, start - 1)  # keys and values: the encoder's
        yield Product(None, 4.0 * tokens * seen * width, depth)
        yield from feed_forward(model, decoder, layer, (f"{block}feed_forward", tokens, depth))
    output = "decoder.embedding." if decoder.tie_embeddings else "decoder.output."
    depth = start + decoder.num_layers + 1
    yield Product(output, 2.0 * tokens * width * model.vocabulary.size, depth)


def subsampling(model: ModelConfig, batch: MicroBatch) -> Iterator[Product]:
    """Each output number of a convolution takes 2 x kernel x channels operations."""
    encoder, mels = model.encoder, model.features.num_mels
    width, channels = encoder.d_model, encoder.subsampling_channels
    place = "encoder.subsampling."
    hidden = batch.utterances * (batch.frames - model.bandwidth_token)
    half = batch.utterances * -(-batch.feature_frames // 2)
    match encoder.subsampling:
        case "stack4":
            work = 2.0 * hidden * 4 * mels * width
            yield Product(f"{place}project.", work, 0, of_features=True)
        case "conv2" | "conv4":
            whole = batch.utterances * batch.feature_frames
            first = whole if encoder.subsampling == "conv2" else half
            yield Product(f"{place}first.", 6.0 * first * mels * width, 0, of_features=True)
            yield Product(f"{place}second.", 6.0 * hidden * width**2, 0)
        case "conv2d4":
            bands, quarter = -(-mels // 2), (mels + 3) // 4
            work = 18.0 * half * bands * channels
            yield Product(f"{place}first.", work, 0, of_features=True)
            yield Product(f"{place}second.", 18.0 * hidden * quarter * channels**2, 0)
            yield Product(f"{place}project.", 2.0 * hidden * channels * quarter * width, 0)
