"""Whisper's tensors under this project's names, from those of Transformers and of CTranslate2."""

import re
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import TypeVar

from turnout.config import ModelConfig

T = TypeVar("T")
SINUSOIDS = "encoder.positions.weight"
"""Stored by others, computed here."""
OUTPUT = "decoder.output.weight"
"""Stored where it is not the embedding."""
RULES: tuple[tuple[str, str], ...] = (
    (r"^model\.", ""),
    (r"^proj_out\.", "decoder.output."),
    (r"^encoder\.conv1\.", "encoder.subsampling.first."),
    (r"^encoder\.conv2\.", "encoder.subsampling.second."),
    (r"^encoder\.layer_norm\.", "encoder.norm."),
    (r"^decoder\.layer_norm\.", "decoder.norm."),
    (r"^decoder\.embed_tokens\.", "decoder.embedding."),
    (r"\.embed_positions\.", ".positions."),
    (r"\.layers\.(\d+)\.", r".blocks.\1."),
    # The norms first, since their names begin with those of what they stand before.
    (r"^(encoder\.blocks\.\d+)\.self_attn_layer_norm\.", r"\1.attention_norm."),
    (r"^(encoder\.blocks\.\d+)\.self_attn\.", r"\1.attention."),
    (r"\.self_attn_layer_norm\.", ".self_norm."),
    (r"\.self_attn\.", ".self_attention."),
    (r"\.encoder_attn_layer_norm\.", ".cross_norm."),
    (r"\.encoder_attn\.", ".cross_attention."),
    (r"\.final_layer_norm\.", ".feed_forward_norm."),
    (r"\.fc1\.", ".feed_forward.bank.experts.0.up."),
    (r"\.fc2\.", ".feed_forward.bank.experts.0.down."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.out_proj\.", ".output."),
)
"""Names of Transformers' `WhisperForConditionalGeneration` (arXiv 2212.04356), in turn."""
FEED_FORWARD: dict[str, tuple[str, ...]] = {
    "ffn/layer_norm": ("feed_forward_norm",),
    "ffn/linear_0": ("feed_forward.bank.experts.0.up",),
    "ffn/linear_1": ("feed_forward.bank.experts.0.down",),
}
LAYERS: dict[str, dict[str, tuple[str, ...]]] = {
    "encoder": {
        "self_attention/layer_norm": ("attention_norm",),
        "self_attention/linear_0": ("attention.query", "attention.key", "attention.value"),
        "self_attention/linear_1": ("attention.output",),
        **FEED_FORWARD,
    },
    "decoder": {
        "self_attention/layer_norm": ("self_norm",),
        "self_attention/linear_0": (
            "self_attention.query",
            "self_attention.key",
            "self_attention.value",
        ),
        "self_attention/linear_1": ("self_attention.output",),
        "attention/layer_norm": ("cross_norm",),
        "attention/linear_0": ("cross_attention.query",),
        "attention/linear_1": ("cross_attention.key", "cross_attention.value"),
        "attention/linear_2": ("cross_attention.output",),
        **FEED_FORWARD,
    },
}
"""CTranslate2's names inside a layer -> what is stacked there, by rows."""
WHOLE: dict[str, str] = {
    "encoder/conv1": "encoder.subsampling.first",
    "encoder/conv2": "encoder.subsampling.second",
    "encoder/layer_norm": "encoder.norm",
    "encoder/position_encodings": "encoder.positions",
    "decoder/embeddings": "decoder.embedding",
    "decoder/position_encodings": "decoder.positions",
    "decoder/layer_norm": "decoder.norm",
    "decoder/projection": "decoder.output",
}
"""The same outside the layers."""
ENDS = {
    "weight": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "encodings": "weight",
}
LAYER = re.compile(r"(encoder|decoder)/layer_(0|[1-9]\d{0,5})/(.+)")


def own_name(name: str) -> str:
    """This project's name of a tensor of Transformers' Whisper; others come out as something that
    no model of ours has."""
    return reduce(lambda found, rule: re.sub(*rule, found), RULES, name)


def whisper_state(state: Mapping[str, T]) -> dict[str, T]:
    """A state of Transformers' Whisper under this project's names, for a model whose output layer
    is the embedding: that, and the encoder's sinusoids, which are computed here, are left out."""
    named = {own_name(name): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in named.items() if name not in (SINUSOIDS, OUTPUT)}


def stacked_names(name: str) -> tuple[str, ...]:
    """This project's names of what a variable of CTranslate2's WhisperSpec holds, by rows; none
    where it is no such."""
    place, _, end = name.rpartition("/")
    if end not in ENDS:
        return ()
    if found := LAYER.fullmatch(place):
        stack, layer, inside = found.groups()
        parts = LAYERS[stack].get(inside, ())
        return tuple(f"{stack}.blocks.{layer}.{part}.{ENDS[end]}" for part in parts)
    return (f"{WHOLE[place]}.{ENDS[end]}",) if place in WHOLE else ()


def tensor_shapes(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor of a dense model in Whisper's settings, in order of depth.

    One after the other: a configuration may speak of more layers than memory has room for names.
    """
    width, stack = config.encoder.d_model, config.encoder
    for name, inputs in (("first", config.features.num_mels), ("second", width)):
        yield f"encoder.subsampling.{name}.weight", (width, inputs, 3)
        yield f"encoder.subsampling.{name}.bias", (width,)
    for layer in range(stack.num_layers):
        block = f"encoder.blocks.{layer}."
        yield from _attention(f"{block}attention", width)
        yield from _norm(f"{block}attention_norm", width)
        yield from _feed_forward(block, width, stack.d_feedforward)
    yield from _norm("encoder.norm", width)
    decoder = config.decoder
    yield "decoder.embedding.weight", (config.vocabulary.size, width)
    yield "decoder.positions.weight", (decoder.max_tokens, width)
    for layer in range(decoder.num_layers):
        block = f"decoder.blocks.{layer}."
        for name in ("self", "cross"):
            yield from _attention(f"{block}{name}_attention", width)
            yield from _norm(f"{block}{name}_norm", width)
        yield from _feed_forward(block, width, decoder.d_feedforward)
    yield from _norm("decoder.norm", width)
    if not decoder.tie_embeddings:
        yield OUTPUT, (config.vocabulary.size, width)


Shapes = Iterator[tuple[str, tuple[int, ...]]]


def _norm(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _attention(name: str, width: int) -> Shapes:
    for part in ("query", "key", "value", "output"):
        yield f"{name}.{part}.weight", (width, width)
        if part != "key":  # which Whisper gives no bias
            yield f"{name}.{part}.bias", (width,)


def _feed_forward(block: str, width: int, inner: int) -> Shapes:
    yield from _norm(f"{block}feed_forward_norm", width)
    place = f"{block}feed_forward.bank.experts.0."
    yield f"{place}up.weight", (inner, width)
    yield f"{place}up.bias", (inner,)
    yield f"{place}down.weight", (width, inner)
    yield f"{place}down.bias", (width,)
