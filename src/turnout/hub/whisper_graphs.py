"""The graphs of Whisper's shapes (arXiv 2212.04356), from a configuration: no torch, no weights.

What they take and give is in `turnout.backends.onnx`. The decoder takes what it attends to layer by
layer, of one input for all layers each step would copy every layer's part; and once for all rows of
an utterance, which is read from memory once for all hypotheses of a beam.
"""

import math
from dataclasses import dataclass, replace
from functools import reduce

from turnout.backends.onnx import (
    ATTENTION,
    CROSS_NAMES,
    ENTRIES,
    GROWN_NAMES,
    PAST_NAMES,
    STEP_NAMES,
    of_layer,
)
from turnout.config import ModelConfig
from turnout.errors import MissingExtra, shown
from turnout.hub.whisper_layers import (
    Layers,
    far,
    fused_attention,
    indices,
    mask_dimension,
    sinusoids,
    stacked,
    unsqueezed,
)
from turnout.model_folder import DECODER, ENCODER
from turnout.onnx_file import CONTRIB, KINDS, Graph, Size

SHAPE = {
    "encoder.block": "transformer",
    "encoder.activation": "gelu",
    "encoder.subsampling": "conv2",
    "encoder.positions": "whisper",
    "encoder.left_context": None,
    "encoder.right_context": None,
    "encoder.routing.kind": "dense",
    "decoder.activation": "gelu",
    "decoder.positions": "learned",
    "decoder.tie_embeddings": True,
    "decoder.routing.kind": "dense",
    "ctc": False,
    "bandwidth_token": False,
}
"""What all sizes of Whisper have in common."""


def graphs_of(config: ModelConfig) -> dict[str, bytes]:
    """The ONNX files by name, for whatever weights of this shape; raises MissingExtra where it is
    not one of Whisper's."""
    check_shape(config)
    return {ENCODER: encoder_graph(config), DECODER: decoder_graph(config)}


def check_shape(config: ModelConfig) -> None:
    """Raise MissingExtra, naming the first thing that Whisper's shapes do not have."""
    for place, wanted in SHAPE.items():
        found = reduce(getattr, place.split("."), config)
        if found != wanted:
            raise MissingExtra(
                f"{place} is {shown(found)}, and in every Whisper {shown(wanted)}: graphs of other "
                "shapes are written by 'turnout export', which",
                "train",
            )


def encoder_graph(config: ModelConfig) -> bytes:
    """Log-mel frames -> the hidden frames' mask, keys and values of the cross-attention."""
    encoder, decoder = config.encoder, config.decoder
    graph = Graph("encoder")
    hidden, layers, mask = subsampled(graph, config)
    added = mask_dimension(layers, mask)
    for index in range(encoder.num_layers):
        block = f"encoder.blocks.{index}"
        normed, attention = layers.norm(hidden, f"{block}.attention_norm"), f"{block}.attention"
        queries = layers.linear(normed, f"{attention}.query")
        keys = layers.linear(normed, f"{attention}.key", bias=False)
        values = layers.linear(normed, f"{attention}.value")
        mixed = fused_attention(layers, queries, keys, values, added)
        hidden = graph.add("Add", hidden, layers.linear(mixed, f"{attention}.output"))
        hidden = layers.feed_forward(hidden, block, encoder.d_feedforward)
    hidden = layers.norm(hidden, "encoder.norm")
    graph.output(mask, "hidden_mask", "bool", "batch", "hidden")
    crossing = replace(layers, heads=decoder.num_heads)
    for name, kind in zip(CROSS_NAMES[:2], ("key", "value"), strict=True):
        places = [f"decoder.blocks.{i}.cross_attention.{kind}" for i in range(decoder.num_layers)]
        projected = [layers.linear(hidden, place, bias=kind == "value") for place in places]
        found = stacked(graph, [crossing.split(each) for each in projected])
        sizes = cross_sizes(config, "hidden")
        graph.output(found, name, "float", decoder.num_layers, "batch", *sizes)
    return graph.to_bytes()


def subsampled(graph: Graph, config: ModelConfig) -> tuple[str, Layers, str]:
    """The hidden frames with their positions, the layers that take them, their mask."""
    mels, width = config.features.num_mels, config.encoder.d_model
    mel = graph.input("log_mel", "float", "batch", "frames", mels)
    mask = graph.input("frame_mask", "bool", "batch", "frames")
    hidden_mask = graph.add("Slice", mask, [0], [2**62], [1], [2])
    layers = Layers(graph, width, config.encoder.num_heads, graph.add("Shape", hidden_mask))
    there = unsqueezed(graph, graph.add("Cast", mask, to=KINDS["float"]), 1)
    # Padding is zero before each convolution looks at it: the first one's bias makes it something.
    mixed = graph.add("Mul", graph.add("Transpose", mel, perm=[0, 2, 1]), there)
    mixed = layers.convolution(mixed, "encoder.subsampling.first", mels, 1)
    mixed = graph.add("Mul", mixed, there)
    mixed = layers.convolution(mixed, "encoder.subsampling.second", width, 2)
    mixed = graph.add("Transpose", mixed, perm=[0, 2, 1])
    hidden = graph.add("Add", mixed, sinusoids(graph, hidden_mask, width))
    return layers.joined(hidden), layers, hidden_mask


def cross_sizes(config: ModelConfig, frames: str) -> list[Size]:
    """The dimensions of an utterance's keys or values in the cross-attention."""
    heads = config.decoder.num_heads
    return [heads, frames, config.encoder.d_model // heads]


@dataclass(frozen=True)
class Inputs:
    """Those of the decoder, by their names in `turnout.backends.onnx`."""

    tokens: str
    counts: str
    positions: str
    allowed: str
    scored: str
    ranks: str
    cross: list[tuple[str, str]]
    """Keys and values of each layer."""
    cross_mask: str
    past: list[str]
    """Keys and values of all layers."""
    past_mask: str


def decoder_inputs(graph: Graph, config: ModelConfig) -> Inputs:
    """Add them to the graph."""
    decoder = config.decoder
    heads, dim = decoder.num_heads, config.encoder.d_model // decoder.num_heads
    sizes = cross_sizes(config, "frames")

    def attended(layer: int) -> tuple[str, str]:
        keys, values = (
            graph.input(of_layer(name, layer), "float", ENTRIES, *sizes) for name in CROSS_NAMES[:2]
        )
        return keys, values

    return Inputs(
        tokens=graph.input("tokens", "int64", "rows", "new"),
        counts=graph.input("counts", "int64", "rows"),
        positions=graph.input("positions", "int64", "rows", "asked"),
        allowed=graph.input("allowed", "bool", "rows", config.vocabulary.size),
        scored=graph.input("scored", "int64", "rows", "asked"),
        ranks=graph.input("ranks", "int64", "best"),
        cross=[attended(layer) for layer in range(decoder.num_layers)],
        cross_mask=graph.input(CROSS_NAMES[2], "bool", ENTRIES, "frames"),
        past=[
            graph.input(name, "float", decoder.num_layers, "rows", heads, "slots", dim)
            for name in PAST_NAMES[:2]
        ],
        past_mask=graph.input(PAST_NAMES[2], "bool", "rows", "slots"),
    )


def decoder_graph(config: ModelConfig) -> bytes:
    """New tokens and what came before -> the likeliest next tokens, the grown cache, and the
    weights of the alignment heads where the shape has such."""
    decoder, graph = config.decoder, Graph("decoder")
    given = decoder_inputs(graph, config)
    layers = Layers(
        graph, config.encoder.d_model, decoder.num_heads, graph.add("Shape", given.tokens)
    )
    hidden, grown_mask = embedded(layers, given, config)
    added = added_by_masks(graph, given)
    sharing = sharing_rows(layers, given)
    grown, weights = [], []
    for index in range(decoder.num_layers):
        hidden, cache = attend_to_past(layers, hidden, index, given.past, added[0])
        hidden, weight = attend_to_frames(sharing, hidden, index, given.cross[index], added[1])
        hidden = layers.feed_forward(hidden, f"decoder.blocks.{index}", decoder.d_feedforward)
        grown.append(cache)
        weights.append(weight)
    answer(layers, hidden, given, config)
    sizes: list[Size] = [layers.heads, "grown", layers.dim]
    for name, parts in zip(GROWN_NAMES[:2], zip(*grown, strict=True), strict=True):
        graph.output(stacked(graph, parts), name, "float", decoder.num_layers, "rows", *sizes)
    graph.output(grown_mask, GROWN_NAMES[2], "bool", "rows", "grown")
    if decoder.alignment_heads:
        heads = [graph.add("Gather", weights[i], [j], axis=1) for i, j in decoder.alignment_heads]
        # [entries, heads, sharing, new, frames] -> [rows, heads, new, frames]
        found = graph.add("Transpose", graph.add("Concat", *heads, axis=1), perm=[0, 2, 1, 3, 4])
        whole = graph.add("Concat", [-1], graph.add("Shape", found, start=2), axis=0)
        found = graph.add("Reshape", found, whole)
        graph.output(found, ATTENTION, "float", "rows", len(heads), "new", "frames")
    return graph.to_bytes()


def embedded(layers: Layers, given: Inputs, config: ModelConfig) -> tuple[str, str]:
    """The new tokens with their positions, and which slots of the grown cache hold a token."""
    graph, count = layers.graph, config.decoder.max_tokens
    new = indices(graph, given.tokens, 1)
    there = graph.add("Less", unsqueezed(graph, new, 0), unsqueezed(graph, given.counts, 1))
    known = graph.add("Cast", given.past_mask, to=KINDS["int64"])
    places = graph.add("Add", graph.add("ReduceSum", known, [1], keepdims=1), new)
    # Only padding comes to lie beyond the last position, and its output is never read.
    places = graph.add("Min", places, count - 1)
    positions = graph.weight("decoder.positions.weight", count, layers.width)
    hidden = graph.add(
        "Add",
        graph.add("Gather", embedding(layers, config), given.tokens),
        graph.add("Gather", positions, places),
    )
    return layers.joined(hidden), graph.add("Concat", given.past_mask, there, axis=1)


def embedding(layers: Layers, config: ModelConfig) -> str:
    """Of the tokens, which is the output layer too."""
    name = "decoder.embedding.weight"
    return layers.graph.weight(name, config.vocabulary.size, layers.width)


def added_by_masks(graph: Graph, given: Inputs) -> tuple[str, str]:
    """What is added to the scores of the tokens before, [rows, 1, new, slots + new], and of the
    frames, [entries, 1, 1, 1, frames]: a token sees the cache and the new tokens up to itself."""
    new = indices(graph, given.tokens, 1)
    before = graph.add("LessOrEqual", unsqueezed(graph, new, 0), unsqueezed(graph, new, 1))
    shape = graph.add("Concat", graph.add("Shape", given.tokens), [1], axis=0)
    # [rows, new, 1]: both masks are made as large as this, so that they can stand side by side.
    column = graph.add("Expand", 0.0, shape)
    past = graph.add("Add", unsqueezed(graph, far(graph, given.past_mask), 1), column)
    parts = graph.add("Concat", past, graph.add("Add", far(graph, before), column), axis=2)
    return unsqueezed(graph, parts, 1), unsqueezed(graph, far(graph, given.cross_mask), 1, 2, 3)


def attend_to_past(
    layers: Layers, hidden: str, index: int, past: list[str], added: str
) -> tuple[str, tuple[str, str]]:
    """`hidden` with what it takes from the tokens up to itself, and their keys and values."""
    graph, block = layers.graph, f"decoder.blocks.{index}"
    attention = f"{block}.self_attention"
    normed = layers.norm(hidden, f"{block}.self_norm")
    queries = layers.split(scaled_queries(layers, normed, attention))
    keys, values = (
        graph.add(
            "Concat",
            graph.add("Gather", held, index),
            layers.split(layers.linear(normed, f"{attention}.{kind}", bias=kind == "value")),
            axis=2,
        )
        for held, kind in zip(past, ("key", "value"), strict=True)
    )
    mixed, _ = weighted(graph, queries, keys, values, added)
    mixed = layers.joined(graph.add("Transpose", mixed, perm=[0, 2, 1, 3]))
    return graph.add("Add", hidden, layers.linear(mixed, f"{attention}.output")), (keys, values)


def sharing_rows(layers: Layers, given: Inputs) -> Layers:
    """The layers whose hidden tokens are parted as [entries, sharing, new, ...]: as many rows in
    succession attend to an utterance as there are more rows than utterances."""
    graph = layers.graph
    entries = graph.add("Shape", given.cross_mask, start=0, end=1)
    new = graph.add("Shape", given.tokens, start=1, end=2)
    return replace(layers, shape=graph.add("Concat", entries, [-1], new, axis=0))


def attend_to_frames(
    layers: Layers, hidden: str, index: int, cross: tuple[str, str], added: str
) -> tuple[str, str]:
    """`hidden` with what it takes from the frames, and how much from each:
    [entries, heads, sharing, new, frames]."""
    graph, block = layers.graph, f"decoder.blocks.{index}"
    attention = f"{block}.cross_attention"
    normed = layers.norm(hidden, f"{block}.cross_norm")
    queries = layers.apart(scaled_queries(layers, normed, attention), layers.heads, layers.dim)
    queries = graph.add("Transpose", queries, perm=[0, 3, 1, 2, 4])
    keys, values = (unsqueezed(graph, part, 2) for part in cross)
    mixed, weights = weighted(graph, queries, keys, values, added)
    mixed = layers.joined(graph.add("Transpose", mixed, perm=[0, 2, 3, 1, 4]))
    return graph.add("Add", hidden, layers.linear(mixed, f"{attention}.output")), weights


def scaled_queries(layers: Layers, hidden: str, attention: str) -> str:
    """Queries whose products with keys are the scores."""
    return layers.graph.add("Mul", layers.linear(hidden, f"{attention}.query"), layers.dim**-0.5)


def weighted(graph: Graph, queries: str, keys: str, values: str, added: str) -> tuple[str, str]:
    """The values by the weights that scaled queries give them, and those weights.

    ONNX Runtime has a kernel that multiplies one query by keys as they lie while it reads them, and
    takes it for products without a factor alone.
    """
    scores = graph.add("FusedMatMul", queries, keys, domain=CONTRIB, transB=1)
    weights = graph.add("Softmax", graph.add("Add", scores, added), axis=-1)
    return graph.add("MatMul", weights, values), weights


def answer(layers: Layers, hidden: str, given: Inputs, config: ModelConfig) -> None:
    """Give out the best of the allowed tokens and what is known of the scored ones."""
    graph, size = layers.graph, config.vocabulary.size
    # Before the output layer: a prompt's logits over the vocabulary cost more than all else.
    places = unsqueezed(graph, given.positions, 2)
    hidden = graph.add("GatherND", layers.apart(hidden, layers.width), places, batch_dims=1)
    normed = layers.joined(layers.norm(hidden, "decoder.norm"))
    logits = graph.add("Gemm", normed, embedding(layers, config), transB=1)
    asked = replace(layers, shape=graph.add("Shape", given.positions))
    known = graph.add("LogSoftmax", asked.apart(logits, size), axis=-1)
    scored = graph.add("GatherElements", known, unsqueezed(graph, given.scored, 2), axis=2)
    allowed = graph.add("Where", unsqueezed(graph, given.allowed, 1), known, -math.inf)
    best, index = graph.add_all("TopK", 2, allowed, graph.add("Shape", given.ranks))
    graph.output(index, STEP_NAMES[0], "int64", "rows", "asked", "best")
    graph.output(best, STEP_NAMES[1], "float", "rows", "asked", "best")
    graph.output(graph.add("Squeeze", scored, [2]), STEP_NAMES[2], "float", "rows", "asked")
