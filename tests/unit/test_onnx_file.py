"""What is written is what the onnx package reads."""

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as some
from onnx import helper, numpy_helper

from turnout.backends.sessions import fields, weight_names
from turnout.backends.sessions import varint as read_varint
from turnout.onnx_file import LOCATION, Graph, field, varint


def written() -> onnx.ModelProto:
    graph = Graph("a graph")
    tokens = graph.input("tokens", "int64", "rows", 3)
    table = graph.weight("table.weight", 300, 8)
    assert graph.weight("table.weight", 300, 8) == table
    rows = graph.add("Gather", table, tokens, axis=-2)
    turned = graph.add("Transpose", rows, perm=[0, 2, 1])
    scaled = graph.add("FusedMatMul", rows, turned, domain="com.microsoft", alpha=0.25)
    graph.output(graph.add("Add", scaled, 1.5), "sums", "float", "rows", 3, 3)
    graph.add("Add", scaled, 1.5)
    found = graph.add_all("Split", 2, tokens, [1, -2], axis=1)
    assert len(set(found)) == 2
    return onnx.ModelProto.FromString(graph.to_bytes())


def test_the_package_reads_nodes_and_values() -> None:
    model = written()
    assert (model.producer_name, model.graph.name) == ("turnout", "a graph")
    assert [(one.domain, one.version) for one in model.opset_import] == [
        ("", 20),
        ("com.microsoft", 1),
    ]
    gather, _, product, _, *_ = model.graph.node
    assert (gather.op_type, list(gather.input)) == ("Gather", ["table.weight", "tokens"])
    assert product.domain == "com.microsoft"
    attributes = {
        one.name: helper.get_attribute_value(one)
        for node in model.graph.node
        for one in node.attribute
    }
    assert attributes == {"axis": 1, "perm": [0, 2, 1], "alpha": 0.25}
    assert helper.get_attribute_value(gather.attribute[0]) == -2
    sizes = [
        one.dim_param or one.dim_value for one in model.graph.input[0].type.tensor_type.shape.dim
    ]
    assert sizes == ["rows", 3]
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT64
    assert model.graph.output[0].name == "sums"


def test_weights_lie_outside_and_a_constant_once_inside() -> None:
    model = written()
    weight, *constants = model.graph.initializer
    assert (weight.name, list(weight.dims)) == ("table.weight", [300, 8])
    assert weight.data_location == onnx.TensorProto.EXTERNAL
    assert {one.key: one.value for one in weight.external_data} == {"location": LOCATION}
    assert weight_names(model.SerializeToString()) == ["table.weight"]
    arrays = [numpy_helper.to_array(one) for one in constants]
    assert [(one.dtype, one.tolist()) for one in arrays] == [
        (np.float32, 1.5),
        (np.int64, [1, -2]),
    ]


def test_nothing_is_written_that_the_package_does_not_know() -> None:
    """Fields of a wrong number would be kept as unknown ones, and lost here."""
    model = written()
    model.DiscardUnknownFields()
    assert model == written()


@given(some.integers(min_value=0, max_value=2**64 - 1))
def test_numbers_come_back(value: int) -> None:
    assert read_varint(memoryview(varint(value)), 0) == (value, len(varint(value)))


def test_a_negative_number_is_one_of_64_bits() -> None:
    assert read_varint(memoryview(varint(-1)), 0) == (2**64 - 1, 10)


@given(some.binary(max_size=300), some.integers(min_value=1, max_value=500))
def test_messages_come_back(content: bytes, number: int) -> None:
    ((found, read),) = fields(memoryview(field(number, content)))
    assert (found, bytes(read)) == (number, content)
