"""An ONNX file, written without the onnx package: nodes one after the other, weights outside.

What a graph of plain operators needs of onnx.proto, whose numbers of fields and types stand here
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). Nothing here knows a model.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

IR_VERSION, OPSET = 10, 20
LOCATION = "model.safetensors, by name"
"""Where a graph says that its weights are. No file has this name: what knows no better fails, and
does not take the file's first bytes for each of them."""
CONTRIB = "com.microsoft"
"""ONNX Runtime's own operators."""
Kind = Literal["float", "uint8", "int8", "int64", "bool"]
KINDS: dict[Kind, int] = {"float": 1, "uint8": 2, "int8": 3, "int64": 7, "bool": 9}
CONSTANTS: dict[str, tuple[Kind, str]] = {"f4": ("float", "<f4"), "u1": ("uint8", "u1")}
"""Numbers in NumPy's words -> how they are written; all others as int64."""
EXTERNAL = 1
Size = int | str
"""Of a dimension: a number, or the name of one that differs from call to call."""
Value = str | float | Sequence[int] | NDArray[Any]
"""The name of a value, or a constant: float32, uint8 where NumPy says so, or int64."""
Attribute = int | float | Sequence[int]


class Graph:
    """A graph that grows node by node; what a node gives is known by the name of that value."""

    def __init__(self, name: str, prefix: str = "") -> None:
        """`prefix` is what the names of values begin with."""
        self._name, self._prefix = name, prefix
        self._values = 0
        self._parts: list[bytes] = []
        self._tensors: dict[bytes, str] = {}

    def input(self, name: str, kind: Kind, *sizes: Size) -> str:
        """An input of the graph."""
        self._parts.append(field(11, typed(name, kind, sizes)))
        return name

    def output(self, value: str, name: str, kind: Kind, *sizes: Size) -> None:
        """Give a value out, under a name."""
        self._parts += [node("Identity", [value], [name]), field(12, typed(name, kind, sizes))]

    def weight(self, name: str, *sizes: int, kind: Kind = "float") -> str:
        """A tensor that lies outside, under its own name; it may be asked for again."""
        place = field(1, "location") + field(2, LOCATION)
        return self._tensor(name, tensor(kind, sizes) + field(13, place) + field(14, EXTERNAL))

    def copy(self, part: bytes) -> None:
        """A field of another graph, as it is."""
        self._parts.append(part)

    def add(self, operator: str, *inputs: Value, domain: str = "", **attributes: Attribute) -> str:
        """A node that gives one value."""
        return self.add_all(operator, 1, *inputs, domain=domain, **attributes)[0]

    def add_all(
        self, operator: str, count: int, *inputs: Value, domain: str = "", **attributes: Attribute
    ) -> list[str]:
        """A node that gives `count` values."""
        taken = [item if isinstance(item, str) else self._constant(item) for item in inputs]
        given = [self._new(operator) for _ in range(count)]
        self._parts.append(node(operator, taken, given, domain, attributes))
        return given

    def to_bytes(self) -> bytes:
        """The content of the file."""
        graph = b"".join(self._parts) + field(2, self._name)
        opsets = [field(2, OPSET), field(1, CONTRIB) + field(2, 1)]
        head = field(1, IR_VERSION) + field(2, "turnout")
        return head + field(7, graph) + b"".join(field(8, opset) for opset in opsets)

    def _constant(self, value: Any) -> str:
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        kind, written = CONSTANTS.get(array.dtype.str[1:], ("int64", "<i8"))
        content = tensor(kind, array.shape) + field(9, array.astype(written).tobytes())
        # The same constant is asked for by every layer.
        return self._tensors.get(content) or self._tensor(self._new("constant"), content)

    def _tensor(self, name: str, content: bytes) -> str:
        if name not in self._tensors.values():
            self._tensors[content] = name
            self._parts.append(field(5, content + field(8, name)))
        return name

    def _new(self, kind: str) -> str:
        self._values += 1
        return f"{self._prefix}{kind}_{self._values}"


def typed(name: str, kind: Kind, sizes: Sequence[Size]) -> bytes:
    """A ValueInfoProto."""
    shape = b"".join(field(1, field(1 if isinstance(size, int) else 2, size)) for size in sizes)
    return field(1, name) + field(2, field(1, field(1, KINDS[kind]) + field(2, shape)))


def tensor(kind: Kind, sizes: Sequence[int]) -> bytes:
    """A TensorProto without values and name."""
    return b"".join(field(1, size) for size in sizes) + field(2, KINDS[kind])


def node(
    operator: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    domain: str = "",
    attributes: dict[str, Attribute] | None = None,
) -> bytes:
    """A NodeProto, as a field of its graph."""
    parts = [field(1, name) for name in inputs] + [field(2, name) for name in outputs]
    parts += [field(4, operator), field(7, domain)]
    parts += [field(5, attribute(*item)) for item in (attributes or {}).items()]
    return field(1, b"".join(parts))


def attribute(name: str, value: Attribute) -> bytes:
    """An AttributeProto; the number of its type stands last."""
    if isinstance(value, float):
        content = key(2, 5) + struct.pack("<f", value) + field(20, 1)
    elif isinstance(value, int):
        content = field(3, value) + field(20, 2)
    else:
        content = b"".join(field(8, item) for item in value) + field(20, 7)
    return field(1, name) + content


def field(number: int, value: int | str | bytes) -> bytes:
    """A field of a protobuf message."""
    if isinstance(value, int):
        return key(number, 0) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return key(number, 2) + varint(len(data)) + data


def key(number: int, wire_type: int) -> bytes:
    """What a field begins with."""
    return varint(number << 3 | wire_type)


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; a negative number is that of 64 bits."""
    return bytes(septets(value % (1 << 64)))


def septets(value: int) -> Iterator[int]:
    """The bytes of a varint."""
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value
