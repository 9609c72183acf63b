import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from turnout.export.storage import graph_bytes

EXACT = np.arange(32, dtype=np.float32).reshape(4, 8) / 8
INEXACT = EXACT + np.float32(1e-4)


def model(**weights: np.ndarray) -> ir.Model:
    """x @ first + x @ second + ..."""
    x = ir.Value(name="x", shape=ir.Shape(["rows", 4]), type=ir.TensorType(ir.DataType.FLOAT))
    nodes, sums = [], []
    for name, array in weights.items():
        value = ir.Value(
            name=name,
            const_value=ir.tensor(array, name=name),
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.FLOAT),
        )
        weights[name] = value  # type: ignore[assignment]
        nodes.append(ir.node("MatMul", [x, value], name=f"times_{name}"))
        sums.append(nodes[-1].outputs[0])
    nodes.append(ir.node("Sum", sums, name="sum"))
    output = nodes[-1].outputs[0]
    output.name, output.type = "y", ir.TensorType(ir.DataType.FLOAT)
    output.shape = ir.Shape(["rows", 8])
    for node in nodes:
        node.metadata_props["pkg.torch.onnx.stack_trace"] = "File /somewhere/model.py"
    graph = ir.Graph(
        [x], [output], nodes=nodes, initializers=list(weights.values()), opset_imports={"": 20}
    )  # type: ignore[arg-type]
    return ir.Model(graph, ir_version=9, producer_name="pytorch")


def stored(data: bytes) -> dict[str, str]:
    proto = ir.from_proto(__import__("onnx").ModelProto.FromString(data))
    return {name: str(value.dtype) for name, value in proto.graph.initializers.items()}


def run(data: bytes, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def test_weights_that_float16_holds_are_stored_so_and_nothing_is_lost() -> None:
    data = graph_bytes(model(first=EXACT, second=INEXACT))
    assert stored(data) == {"first.half": "FLOAT16", "second": "FLOAT"}
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(run(data, x), x @ EXACT + x @ INEXACT, rtol=1e-6)


@pytest.mark.parametrize("value", [1e6, 1e-9])
def test_weights_beyond_float16_stay(value: float) -> None:
    array = EXACT.copy()
    array[0, 0] = value
    assert stored(graph_bytes(model(first=array))) == {"first": "FLOAT"}


def test_equal_weights_are_stored_once() -> None:
    data = graph_bytes(model(first=EXACT, second=EXACT.copy(), third=INEXACT))
    assert stored(data) == {"first.half": "FLOAT16", "third": "FLOAT"}
    x = np.ones((1, 4), dtype=np.float32)
    np.testing.assert_allclose(run(data, x), 2 * x @ EXACT + x @ INEXACT, rtol=1e-6)


def test_no_trace_of_where_it_was_made() -> None:
    data = graph_bytes(model(first=EXACT))
    assert b"somewhere" not in data
    assert b"stack_trace" not in data
