"""Graphs of float32 -> the same graphs on int8: no torch, no weights.

The matrices of matrix products, experts' and a shared embedding included, are taken as int8 with a
scale for each of their rows, `NAME` and `NAME.scale`: value = int8 x scale. What they are
multiplied with is rounded to 8 bits too, and never with a scale that depends on another frame or
token than its own: so no batch-mate moves it. Two forms, by what each is quick at:
`docs/decisions/0024-int8.md`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from turnout.backends.sessions import EXTERNAL_DATA, GRAPH, INITIALIZER, NAME, varint
from turnout.model_folder import DECODER
from turnout.onnx_file import CONTRIB, KINDS, Graph, attribute, node

SCALE = ".scale"
"""Behind the name of a tensor of int8: that of its scales."""
NODE, GRAPH_NAME, DIMENSIONS, TYPE = 1, 2, 1, 2
"""Field numbers of onnx.proto: in a graph, a graph, a tensor and a tensor."""
TURNED = {attribute("perm", [1, 0])}
TAKES_TURNED = {attribute("transB", 1)}
USUAL = {
    *(attribute("alpha", 1.0), attribute("beta", 1.0)),
    *(attribute("transA", 0), attribute("axis", 0)),
}
"""What an operator does where it is told nothing."""
MIDDLE = np.array(128, dtype=np.uint8)
"""The uint8 that stands for zero."""
LARGEST = 127
SMALLEST = 1e-30
"""A row of zeros has a scale, too."""
LONGEST_BLOCK = 128
SHORTEST_BLOCK = 16
"""ONNX Runtime's shortest."""
Sizes = tuple[int, ...]
Norms = Mapping[tuple[str, str], frozenset[str]]
"""Weight and bias of a LayerNorm -> the matrices that take what it gives, where nothing else
does, and that take nothing else."""
Content = int | memoryview


class Node(NamedTuple):
    """A node of a graph."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: set[bytes]
    """But those that say the usual."""

    @property
    def is_product(self) -> bool:
        """Whether it multiplies with a matrix as it is stored, [out, in]."""
        return self.operator == "Gemm" and self.attributes == TAKES_TURNED

    @property
    def turns(self) -> bool:
        """Whether it turns a matrix."""
        return self.operator == "Transpose" and self.attributes == TURNED

    @property
    def looks_up(self) -> bool:
        """Whether it takes rows of a matrix."""
        return self.operator == "Gather" and not self.attributes


def norms_in(graphs: Mapping[str, bytes]) -> Norms:
    """The norms of all graphs; none of those that two have."""
    read = [ReadGraph.of(graph) for graph in graphs.values()]
    wanted = Counter(name for one in read for name in one.weights)
    return {
        norm: behind
        for one in read
        for norm, behind in one.norms.items()
        if all(wanted[name] == 1 for name in (*norm, *behind))
    }


def int8_graphs(graphs: Mapping[str, bytes]) -> tuple[dict[str, bytes], frozenset[str]]:
    """Graphs by the names of their files -> the same on int8, and the names of the tensors that
    they want as int8."""
    read = {name: ReadGraph.of(graph) for name, graph in graphs.items()}
    kept = {name for one in read.values() for name in one.weights.keys() - one.matrices}
    matrices = frozenset(name for one in read.values() for name in one.matrices - kept)
    return {
        name: Rewriting(one, matrices, blocks=name == DECODER).to_bytes()
        for name, one in read.items()
    }, matrices


@dataclass(frozen=True)
class ReadGraph:
    """What of a graph must be known to write it anew."""

    parts: list[tuple[int, Content, bytes]]
    """Number, content and whole of each of its fields."""
    weights: dict[str, Sizes]
    """The tensors that lie outside, by name."""
    matrices: set[str]
    """Those of them with which everything multiplies, or looks up rows in."""
    turned: dict[str, str]
    """Values that are a weight turned -> that weight."""
    norms: Norms

    @classmethod
    def of(cls, graph: bytes) -> "ReadGraph":
        """A graph that `turnout` wrote."""
        whole = next(content for number, content, _ in parts_of(graph) if number == GRAPH)
        assert isinstance(whole, memoryview)
        parts = list(parts_of(whole))
        weights = dict(weights_in(parts))
        nodes = [node_of(content) for number, content, _ in parts if number == NODE]
        turned = {
            one.outputs[0]: one.inputs[0]
            for one in nodes
            if one.turns and len(weights.get(one.inputs[0], ())) == 2
        }
        matrices = matrices_in(nodes, weights, turned)
        return cls(parts, weights, matrices, turned, norms_of(nodes, matrices, turned))


def parts_of(message: bytes | memoryview) -> Iterator[tuple[int, Content, bytes]]:
    """Number, content and whole of a protobuf message's fields."""
    message, place = memoryview(message), 0
    while place < len(message):
        begin = place
        key, place = varint(message, place)
        content: Content
        if key & 7 == 0:
            content, place = varint(message, place)
        else:
            fixed = {1: 8, 5: 4}.get(key & 7)
            length, place = (fixed, place) if fixed else varint(message, place)
            content, place = message[place : place + length], place + length
        yield key >> 3, content, bytes(message[begin:place])


def texts(parts: Iterable[tuple[int, Content, bytes]], wanted: int) -> list[str]:
    """The content of all fields of a number."""
    return [bytes(content).decode() for number, content, _ in parts if number == wanted and content]


def weights_in(parts: Iterable[tuple[int, Content, bytes]]) -> Iterator[tuple[str, Sizes]]:
    """Name and sizes of a graph's tensors that lie outside."""
    for number, content, _ in parts:
        if number == INITIALIZER and isinstance(content, memoryview):
            tensor = list(parts_of(content))
            if any(one == EXTERNAL_DATA for one, _, _ in tensor):
                sizes = [size for one, size, _ in tensor if one == DIMENSIONS]
                yield texts(tensor, NAME)[0], tuple(size for size in sizes if isinstance(size, int))


def node_of(content: Content) -> Node:
    """A NodeProto."""
    assert isinstance(content, memoryview)
    names: dict[int, list[str]] = {1: [], 2: [], 4: [""], 7: [""]}
    attributes: set[bytes] = set()
    for number, part, _ in parts_of(content):
        if number == 5:
            assert isinstance(part, memoryview)
            attributes.add(bytes(part))
        elif number in names and isinstance(part, memoryview):
            names[number].append(bytes(part).decode())
    operator = ".".join(name for name in (names[7][-1], names[4][-1]) if name)
    return Node(operator, names[1], names[2], attributes - USUAL)


def matrices_in(
    nodes: Iterable[Node], weights: Mapping[str, Sizes], turned: Mapping[str, str]
) -> set[str]:
    """The weights of products that nothing else takes but what looks up rows. Of a router none:
    which expert is taken must not hang on a rounding."""
    products: set[str] = set()
    others = {name for name in weights if ".routers." in name}
    for one in nodes:
        for place, name in enumerate(one.inputs):
            if name in turned and one.operator == "MatMul" and place == 1:
                products.add(turned[name])
            elif name in turned:
                others.add(turned[name])
            elif name in weights and place == 1 and one.is_product:
                products.add(name)
            elif name in weights and not (place == 0 and (one.turns or one.looks_up)):
                others.add(name)
    return products - others


def norms_of(nodes: Iterable[Node], matrices: set[str], turned: Mapping[str, str]) -> Norms:
    """The norms of a graph."""
    takers: dict[str, list[tuple[Node, int]]] = {}
    for one in nodes:
        for place, name in enumerate(one.inputs):
            takers.setdefault(name, []).append((one, place))

    def behind(value: str) -> frozenset[str]:
        found: set[str] = set()
        for one, place in takers.get(value, []):
            name = one.inputs[1] if len(one.inputs) > 1 else ""
            matrix = turned.get(name, name)
            once = len(takers.get(name, [])) == len(takers.get(matrix, [])) == 1
            if place or matrix not in matrices or not once:
                return frozenset()
            found.add(matrix)
        return frozenset(found)

    norms = (one for one in nodes if one.operator == "LayerNormalization" and len(one.inputs) == 3)
    found = {(one.inputs[1], one.inputs[2]): behind(one.outputs[0]) for one in norms}
    return {
        norm: matrices
        for norm, matrices in found.items()
        if matrices and all(len(takers[name]) == 1 for name in norm)
    }


@dataclass
class Rewriting:
    """A graph that is written anew, node by node."""

    read: ReadGraph
    matrices: frozenset[str]
    blocks: bool
    """Whether products are of the form that is quick for a few rows."""
    graph: Graph = field(init=False)
    rounded: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What was multiplied already -> that as uint8, and the scale of each row: queries, keys and
    values are made of the same frames."""

    def to_bytes(self) -> bytes:
        """The content of the file."""
        self.graph = Graph(texts(self.read.parts, GRAPH_NAME)[0], "int8_")
        for number, content, whole in self.read.parts:
            if number == NODE:
                self._write(node_of(content), whole)
            elif number != GRAPH_NAME and not self._is_matrix(number, content):
                self.graph.copy(whole)
        return self.graph.to_bytes()

    def _is_matrix(self, number: int, content: Content) -> bool:
        if number != INITIALIZER or not isinstance(content, memoryview):
            return False
        return texts(parts_of(content), NAME)[0] in self.matrices

    def _write(self, one: Node, whole: bytes) -> None:
        taken = self.read.turned.get(one.inputs[1], one.inputs[1]) if len(one.inputs) > 1 else ""
        if one.turns and one.inputs[0] in self.matrices:
            return
        if one.looks_up and one.inputs[0] in self.matrices:
            found = self._rows(one.inputs[0], one.inputs[1])
        elif one.operator in ("Gemm", "MatMul") and taken in self.matrices:
            found = self._product(taken, one)
        else:
            self.graph.copy(whole)
            return
        self.graph.copy(node("Identity", [found], one.outputs))

    def _matrix(self, name: str) -> tuple[str, str]:
        """A matrix as it is stored, and its scales."""
        sizes = self.read.weights[name]
        scales = self.graph.weight(name + SCALE, sizes[0])
        return self.graph.weight(name, *sizes, kind="int8"), scales

    def _rows(self, name: str, index: str) -> str:
        """Rows of a matrix, in float32."""
        graph, (matrix, scales) = self.graph, self._matrix(name)
        rows = graph.add("Cast", graph.add("Gather", matrix, index), to=KINDS["float"])
        return graph.add(
            "Mul", rows, graph.add("Unsqueeze", graph.add("Gather", scales, index), [-1])
        )

    def _product(self, name: str, one: Node) -> str:
        """Of all rows, and the bias where there is one."""
        graph, (out, taken) = self.graph, self.read.weights[name]
        bias = one.inputs[2:]
        block = block_of(taken) if self.blocks else 0
        if block:
            return self._by_blocks(name, one.inputs[0], bias, block)
        flat = one.operator == "Gemm"
        rows = one.inputs[0] if flat else graph.add("Reshape", one.inputs[0], [-1, taken])
        found = self._by_rows(name, rows)
        found = graph.add("Add", found, *bias) if bias else found
        if flat:
            return found
        shape = graph.add("Concat", graph.add("Shape", one.inputs[0], end=-1), [out], axis=0)
        return graph.add("Reshape", found, shape)

    def _by_rows(self, name: str, hidden: str) -> str:
        """[rows, in] -> [rows, out]: whole numbers throughout, each row with a scale of its own."""
        graph, (matrix, scales) = self.graph, self._matrix(name)
        rows, own = self._rounded(hidden)
        turned = graph.add("Transpose", matrix, perm=[1, 0])
        # Its own scale of the rows is one for all of them, which is what no batch-mate must share.
        found = graph.add("MatMulIntegerToFloat", rows, turned, 1.0, scales, MIDDLE, domain=CONTRIB)
        return graph.add("Mul", found, own)

    def _rounded(self, hidden: str) -> tuple[str, str]:
        """Rows as uint8, and what one of it stands for in each row, [rows, 1]."""
        if hidden not in self.rounded:
            graph = self.graph
            loudest = graph.add("ReduceMax", graph.add("Abs", hidden), [1], keepdims=1)
            own = graph.add("Mul", graph.add("Max", loudest, SMALLEST), 1 / LARGEST)
            flat = graph.add("Squeeze", own, [1])
            zeros = graph.add("Expand", MIDDLE, graph.add("Shape", flat))
            self.rounded[hidden] = graph.add("QuantizeLinear", hidden, flat, zeros, axis=0), own
        return self.rounded[hidden]

    def _by_blocks(self, name: str, hidden: str, bias: list[str], block: int) -> str:
        """[..., in] -> [..., out], by ONNX Runtime's product for a few rows, which gives each row a
        scale for every so many numbers."""
        graph, (matrix, scales) = self.graph, self._matrix(name)
        out, taken = self.read.weights[name]
        # The same bits with the highest one turned: int8 + 128 as uint8, which it wants.
        bits = graph.add("BitwiseXor", graph.add("Cast", matrix, to=KINDS["uint8"]), MIDDLE)
        each = graph.add("Expand", graph.add("Unsqueeze", scales, [1]), [out, taken // block])
        return graph.add(
            "MatMulNBits",
            *(hidden, graph.add("Reshape", bits, [out, taken // block, block]), each),
            *(("", "", *bias) if bias else ()),
            domain=CONTRIB,
            **{"K": taken, "N": out, "bits": 8, "block_size": block, "accuracy_level": 4},
        )


def block_of(taken: int) -> int:
    """The longest block that divides a row; 0 where none does."""
    block = LONGEST_BLOCK
    while block >= SHORTEST_BLOCK and taken % block:
        block //= 2
    return block if block >= SHORTEST_BLOCK else 0
