"""A SpeechModel -> its ONNX files, without weights and free of traces of where they were made.

Every weight is an external initializer with the name that it has in the model's state dict, so in
`model.safetensors`; what is done to it before it is used, such as a transposition, stays a node of
the graph. Only constants of a few values lie inside.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir
import torch
import torch.onnx.errors
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from onnxscript.optimizer import optimize_ir

from turnout.errors import ExportError
from turnout.export.graphs import Plan, decoder_plan, encoder_plan
from turnout.model.speech_model import SpeechModel
from turnout.model_folder import DECODER, ENCODER
from turnout.onnx_file import LOCATION

OPSET = 20


def graphs_of(model: SpeechModel) -> dict[str, bytes]:
    """The ONNX files of a model by name."""
    files = {ENCODER: graph_bytes(encoder_plan(model))}
    if model.decoder is not None:
        files[DECODER] = graph_bytes(decoder_plan(model))
    return files


def graph_bytes(plan: Plan) -> bytes:
    """The content of the file; raises ExportError where PyTorch cannot trace the model."""
    # A graph's module holds the model as `model`.
    names = {name: name.removeprefix("model.") for name in plan.module.state_dict()}
    with quiet():
        model = traced(plan)
        weights = [value for name, value in model.graph.initializers.items() if name in names]
        # Without values none is folded into a constant that has no name any more, and none takes
        # the place of another that happens to equal it: norms and biases before any training.
        for value in weights:
            value.const_value = None
        optimize_ir(model)
        strip(model)
    for value in weights:
        assert value.dtype is not None and value.shape is not None
        value.name = names[value.name or ""]
        value.const_value = ir.ExternalTensor(
            LOCATION, None, None, value.dtype, shape=value.shape, name=value.name
        )
    model.producer_name, model.producer_version = "turnout", None
    return ir.to_proto(model).SerializeToString()


def traced(plan: Plan) -> ir.Model:
    """The graph as PyTorch traces it; raises ExportError where it cannot."""
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                plan.module.eval(),
                kwargs=plan.inputs,
                dynamic_shapes=plan.dynamic,
                input_names=list(plan.inputs),
                output_names=list(plan.outputs),
                opset_version=OPSET,
                dynamo=True,
                optimize=False,  # done by `graph_bytes`
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ExportError(f"PyTorch cannot trace the model: {reason[:300]}") from error
    assert program is not None
    return program.model


@contextmanager
def quiet() -> Iterator[None]:
    """A context in which exporter and optimiser do not speak of their own internals."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def strip(model: ir.Model) -> None:
    """Drop what the exporter notes of source files and of its own passes."""
    ClearMetadataAndDocStringPass()(model)
    model.metadata_props.clear()
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    for value in (*values, *(value for node in model.graph for value in node.outputs)):
        value.metadata_props.clear()
