"""What a graph wants of the weights, and what it is handed."""

import gc
import random
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from turnout.backends.sessions import open_sessions, weight_names
from turnout.errors import ModelFolderError

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3) / 8


def graph(*, external: bool = True) -> bytes:
    """x times the transposed weight, plus one."""
    weight = numpy_helper.from_array(WEIGHT, "head.weight")
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="anywhere")
    nodes = [
        helper.make_node("Transpose", ["head.weight"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "turned"], ["product"]),
        helper.make_node("Add", ["product", "one"], ["y"]),
    ]
    made = helper.make_graph(
        nodes,
        "times",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 4])],
        [weight, numpy_helper.from_array(np.float32(1), "one")],
    )
    opset = helper.make_opsetid("", 20)
    return helper.make_model(made, opset_imports=[opset], ir_version=9).SerializeToString()


def bfloat16() -> bytes:
    """A file with one number of a type that NumPy does not have."""
    head = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    return len(head).to_bytes(8, "little") + head + bytes(2)


def weights(**changes: np.ndarray) -> Callable[[], bytes]:
    return lambda: save({"head.weight": WEIGHT, "elsewhere": np.ones(2, np.float32), **changes})


def test_weights_are_wanted_by_name() -> None:
    assert weight_names(graph()) == ["head.weight"]
    assert weight_names(graph(external=False)) == []


def test_a_graph_may_name_a_weight_twice() -> None:
    proto = onnx.ModelProto.FromString(graph())
    proto.graph.initializer.append(proto.graph.initializer[0])
    assert weight_names(proto.SerializeToString()) == ["head.weight"]


def test_names_are_looked_for_in_anything() -> None:
    """What is damaged is ONNX Runtime's to refuse."""
    noise = random.Random(0)
    data = graph()
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[noise.randrange(len(data))] = noise.randrange(256)
        assert len(weight_names(bytes(damaged))) <= 2
        weight_names(noise.randbytes(500))
    # A number without an end must not grow without an end.
    assert weight_names(b"\xff" * 2_000_000) == []


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_the_sessions_compute_with_the_weights(kind: type[np.floating]) -> None:
    stored = weights(**{"head.weight": WEIGHT.astype(kind)})
    sessions = open_sessions({"a": graph(), "b": graph()}, stored, 1, "place")
    gc.collect()
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    for session in sessions.values():
        np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ WEIGHT.T + 1, rtol=1e-6)


def test_a_session_keeps_nothing_of_what_it_was_handed() -> None:
    """So nobody else has to: an array that changes, or goes, is not the session's."""
    handed = WEIGHT.copy()
    options = onnxruntime.SessionOptions()
    options.add_external_initializers(
        ["head.weight"], [onnxruntime.OrtValue.ortvalue_from_numpy(handed)]
    )
    session = onnxruntime.InferenceSession(graph(), options, providers=["CPUExecutionProvider"])
    handed[:] = np.nan
    x = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ WEIGHT.T + 1, rtol=1e-6)


def test_a_graph_that_holds_its_weights_asks_for_none() -> None:
    sessions = open_sessions({"a": graph(external=False)}, pytest.fail, 1, "place")
    x = np.ones((1, 3), np.float32)
    np.testing.assert_allclose(sessions["a"].run(None, {"x": x})[0], x @ WEIGHT.T + 1)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (lambda: save({"elsewhere": WEIGHT}), "place lacks the tensor 'head.weight' that a graph"),
        (lambda: b"nonsense", "place: Error while deserializing"),
        (bfloat16, "place holds numbers of type 'BF16', which NumPy has not: store"),
    ],
)
def test_weights_that_are_none_are_refused(stored: Callable[[], bytes], message: str) -> None:
    with pytest.raises(ModelFolderError, match=message):
        open_sessions({"a": graph()}, stored, 1, "place")


def test_weights_of_another_shape_are_refused() -> None:
    turned = weights(**{"head.weight": WEIGHT.T.copy()})
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="dimensions"):
        open_sessions({"a": graph()}, turned, 1, "place")


def test_without_the_weights_a_graph_is_of_no_use() -> None:
    assert not onnx.ModelProto.FromString(graph()).graph.initializer[0].raw_data
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="External data"):
        onnxruntime.InferenceSession(graph(), providers=["CPUExecutionProvider"])
