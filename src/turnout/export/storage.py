"""A traced graph -> the bytes of an ONNX file: small, and free of traces of where it was made.

Weights that float16 holds exactly are stored so and cast to float32 when they are used, so a folder
whose weights are float16 has the same values in its graphs; everything is computed in float32.
"""

import numpy as np
import onnx_ir as ir

SMALLEST = 16
"""Values of a tensor from which on a cast costs less than it saves."""


def graph_bytes(model: ir.Model) -> bytes:
    """The content of the file; the model is changed."""
    strip(model)
    share_equal(model.graph)
    for name in list(model.graph.initializers):
        store_half(model.graph, name)
    model.producer_name, model.producer_version = "turnout", None
    return ir.to_proto(model).SerializeToString()


def strip(model: ir.Model) -> None:
    """Drop what the exporter notes of source files and of its own passes."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.doc_string = None
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        values.extend(node.outputs)
    for value in values:
        value.metadata_props.clear()
        value.doc_string = None


def share_equal(graph: ir.Graph) -> None:
    """Let initializers of the same content be one."""
    first: dict[tuple[object, ...], ir.Value] = {}
    for name, value in list(graph.initializers.items()):
        array = content(value)
        key = (value.dtype, array.shape, array.tobytes())
        same = first.setdefault(key, value)
        if same is not value:
            value.replace_all_uses_with(same)
            del graph.initializers[name]


def store_half(graph: ir.Graph, name: str) -> None:
    """Store an initializer as float16, and cast it, where that loses nothing."""
    value = graph.initializers[name]
    array = content(value)
    if value.dtype is not ir.DataType.FLOAT or array.size < SMALLEST:
        return
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if not np.array_equal(half.astype(np.float32), array):
        return
    stored = ir.Value(
        name=f"{name}.half",
        const_value=ir.tensor(half, name=f"{name}.half"),
        shape=value.shape,
        type=ir.TensorType(ir.DataType.FLOAT16),
    )
    cast = ir.node("Cast", [stored], {"to": int(ir.DataType.FLOAT)}, name=f"{name}.cast")
    graph.insert_before(graph[0], cast)
    value.replace_all_uses_with(cast.outputs[0])
    del graph.initializers[name]
    cast.outputs[0].name = name
    graph.initializers[f"{name}.half"] = stored


def content(value: ir.Value) -> np.ndarray:
    """An initializer's values."""
    assert value.const_value is not None
    return value.const_value.numpy()
