"""What the graphs of Whisper's encoder and decoder are both built of.

Weights go in as they are stored, under the names that they have in the state dict of a
SpeechModel: a linear map is a Gemm that takes its [out, in] matrix turned.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from turnout.onnx_file import CONTRIB, KINDS, Graph

EPSILON = 1e-5
"""PyTorch's own, of a LayerNorm."""
FAR = 1e9
"""Taken off the score of what is masked: nothing of its weight is left in float32."""


@dataclass(frozen=True)
class Layers:
    """Parts of a graph. Hidden frames or tokens, of `width` numbers, lie one after the other:
    [rows * places, width]. `shape` is the value that says [rows, places]."""

    graph: Graph
    width: int
    heads: int
    shape: str

    @property
    def dim(self) -> int:
        """Of a head."""
        return self.width // self.heads

    def linear(
        self, hidden: str, name: str, sizes: tuple[int, int] | None = None, *, bias: bool = True
    ) -> str:
        """W x + b; `sizes` are those of W, [out, in], where they are not the width."""
        out, taken = sizes or (self.width, self.width)
        weights = [self.graph.weight(f"{name}.weight", out, taken)]
        weights += [self.graph.weight(f"{name}.bias", out)] if bias else []
        return self.graph.add("Gemm", hidden, *weights, transB=1)

    def norm(self, hidden: str, name: str) -> str:
        """LayerNorm."""
        weights = [self.graph.weight(f"{name}.{kind}", self.width) for kind in ("weight", "bias")]
        return self.graph.add("LayerNormalization", hidden, *weights, axis=-1, epsilon=EPSILON)

    def convolution(self, mel: str, name: str, taken: int, stride: int) -> str:
        """[rows, taken, frames] -> [rows, width, frames / stride]: width 3, GELU."""
        weight = self.graph.weight(f"{name}.weight", self.width, taken, 3)
        bias = self.graph.weight(f"{name}.bias", self.width)
        mixed = self.graph.add("Conv", mel, weight, bias, pads=[1, 1], strides=[stride])
        return self.graph.add("Gelu", mixed)

    def feed_forward(self, hidden: str, block: str, inner: int) -> str:
        """`hidden` and what the block's feed-forward makes of it."""
        expert = f"{block}.feed_forward.bank.experts.0"
        normed = self.norm(hidden, f"{block}.feed_forward_norm")
        mixed = self.graph.add("Gelu", self.linear(normed, f"{expert}.up", (inner, self.width)))
        mixed = self.linear(mixed, f"{expert}.down", (self.width, inner))
        return self.graph.add("Add", hidden, mixed)

    def split(self, hidden: str) -> str:
        """[rows, heads, places, dim]."""
        apart = self.apart(hidden, self.heads, self.dim)
        return self.graph.add("Transpose", apart, perm=[0, 2, 1, 3])

    def apart(self, hidden: str, *sizes: int) -> str:
        """The same numbers as [rows, places, *sizes]."""
        return self.graph.add(
            "Reshape", hidden, self.graph.add("Concat", self.shape, sizes, axis=0)
        )

    def joined(self, hidden: str) -> str:
        """[rows * places, width], of whatever has these numbers in this order."""
        return self.graph.add("Reshape", hidden, [-1, self.width])


def unsqueezed(graph: Graph, value: str, *axes: int) -> str:
    """The value with new dimensions of one."""
    return graph.add("Unsqueeze", value, axes)


def indices(graph: Graph, value: str, axis: int) -> str:
    """0, 1, ... along a dimension of the value."""
    return graph.add("Range", 0, graph.add("Gather", graph.add("Shape", value), axis), 1)


def far(graph: Graph, mask: str) -> str:
    """What a mask adds to scores: 0 where it is True, and elsewhere what leaves no weight."""
    return graph.add("Where", mask, 0.0, -FAR)


def stacked(graph: Graph, values: Sequence[str]) -> str:
    """The values one after the other, in a new first dimension."""
    return graph.add("Concat", *(unsqueezed(graph, value, 0) for value in values), axis=0)


def sinusoids(graph: Graph, mask: str, width: int) -> str:
    """[hidden, width], as `turnout.model.layers.sinusoids` has Whisper's: computed for each batch,
    in a thousandth of its time, since a table would be of megabytes."""
    half = width // 2
    steps = graph.add("Range", 0.0, float(half), 1.0)
    rates = graph.add("Exp", graph.add("Mul", steps, -math.log(10000.0) / max(half - 1, 1)))
    index = graph.add("Cast", indices(graph, mask, 1), to=KINDS["float"])
    angles = graph.add("Mul", unsqueezed(graph, index, 1), rates)
    return graph.add("Concat", graph.add("Sin", angles), graph.add("Cos", angles), axis=1)


def mask_dimension(layers: Layers, mask: str) -> tuple[str, str]:
    """What `fused_attention` wants of a mask [rows, places] of keys."""
    graph = layers.graph
    shape = graph.add("Concat", layers.shape, [layers.heads, 1], axis=0)
    added = unsqueezed(graph, far(graph, mask), 2, 3)
    return graph.add("Expand", 1.0, shape), graph.add("Expand", added, shape)


def fused_attention(
    layers: Layers, queries: str, keys: str, values: str, mask: tuple[str, str]
) -> str:
    """Attention among the places of a row: [rows * places, width] goes in and comes out.

    ONNX Runtime's kernel, which never holds the places x places scores, takes no mask. So each head
    has a dimension more: queries are 1 there, and keys what the mask adds to their scores.
    """
    graph, wider = layers.graph, layers.width + layers.heads
    whole = []
    for projected, more in zip((queries, keys), mask, strict=True):
        heads = graph.add("Concat", layers.apart(projected, layers.heads, layers.dim), more, axis=3)
        whole.append(layers.apart(heads, wider))
    mixed = graph.add(
        "MultiHeadAttention",
        *(*whole, layers.apart(values, layers.width)),
        domain=CONTRIB,
        num_heads=layers.heads,
        scale=layers.dim**-0.5,
    )
    return layers.joined(mixed)
