import logging

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from turnout.backends.sessions import open_sessions, weight_names
from turnout.errors import ExportError
from turnout.experts.bank import ExpertBank
from turnout.experts.feed_forward import FeedForward
from turnout.experts.routing import Route
from turnout.export.graphs import Plan
from turnout.export.tracing import graph_bytes

pytestmark = pytest.mark.slow


class Model(nn.Module):
    """An embedding that is the output head as well, a layer, and norms with equal weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.layer = nn.Linear(8, 8)
        self.norms = nn.Sequential(nn.LayerNorm(8), nn.LayerNorm(8))

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.norms(self.layer(self.embedding(tokens))) * torch.arange(8.0).exp()
        return nn.functional.linear(hidden, self.embedding.weight)


class Graph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = Model()

    def forward(self, tokens: Tensor) -> tuple[Tensor]:
        return (self.model(tokens),)


def plan(module: nn.Module) -> Plan:
    inputs = {"tokens": torch.zeros((2, 3), dtype=torch.int64)}
    return Plan(module, inputs, {"tokens": {0: torch.export.Dim("rows")}}, ("logits",))


def test_weights_stay_outside_under_the_names_of_the_state_dict() -> None:
    module = Graph()
    data = graph_bytes(plan(module))
    state = module.model.state_dict()
    assert sorted(weight_names(data)) == sorted(state)
    inside = [
        tensor
        for tensor in onnx.ModelProto.FromString(data).graph.initializer
        if tensor.name not in state
    ]
    assert sum(int(np.prod(tensor.dims)) for tensor in inside) < 20, "more than a few constants"
    sessions = open_sessions({"a": data}, lambda: save(state), 1, "place")
    tokens = torch.tensor([[1, 4, 30], [7, 7, 49], [0, 1, 2]])
    found = sessions["a"].run(None, {"tokens": tokens.numpy()})[0]
    np.testing.assert_allclose(found, module(tokens)[0].detach(), rtol=1e-4, atol=1e-4)


def test_no_trace_of_where_it_was_made_and_not_a_word(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    data = graph_bytes(plan(Graph()))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert capfd.readouterr() == ("", "")
    assert b"test_tracing" not in data
    assert b"stack_trace" not in data


def test_what_cannot_be_traced_is_an_error() -> None:
    class Branching(Graph):
        def forward(self, tokens: Tensor) -> tuple[Tensor]:
            return (tokens if tokens.sum() > 0 else -tokens,)

    with pytest.raises(ExportError, match="PyTorch cannot trace the model: "):
        graph_bytes(plan(Branching()))


def test_a_dense_layer_is_a_plain_feed_forward_in_a_graph() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = FeedForward(ExpertBank(1, 8, 12, "silu"))

        def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor]:
            return (self.model(hidden, mask, Route(torch.zeros(hidden.shape[0]).long()))[0],)

    inputs = {"hidden": torch.randn(2, 5, 8), "mask": torch.ones(2, 5, dtype=torch.bool)}
    sizes = {0: torch.export.Dim("rows"), 1: torch.export.Dim("frames")}
    data = graph_bytes(Plan(Dense(), inputs, {"hidden": sizes, "mask": sizes}, ("output",)))
    graph = onnx.ModelProto.FromString(data)
    names = {
        node.op_type for node in [*graph.graph.node, *(n for f in graph.functions for n in f.node)]
    }
    assert {"MatMul", "Gemm"} & names
    assert not {"NonZero", "Gather", "GatherND", "ScatterND", "ScatterElements"} & names
