"""Graphs -> ONNX Runtime sessions, which are handed the graphs' weights in memory.

The weights of a model lie on the disk once, in `model.safetensors`. An initializer of a graph that
holds no values is external and carries a tensor's name there; what is done to a tensor before it is
used, such as a transposition, is a node of the graph, which ONNX Runtime computes once. Graphs of
format version 1 hold their weights, and want none. Nothing here knows a model.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from onnxruntime import InferenceSession, OrtValue

from turnout.errors import ModelFolderError, shown

GRAPH, INITIALIZER, NAME, EXTERNAL_DATA = 7, 5, 8, 13
"""Field numbers of onnx.proto: in a model, a graph, a tensor and a tensor."""
INPUT, INPUT_NAME = 11, 1
"""In a graph and a value."""
WHOLE_NUMBERS = b"MatMulIntegerToFloat"
"""Operator of graphs on int8."""
EXACT = "session.x64quantprecision"
"""ONNX Runtime's `kOrtSessionOptionsAvx2PrecisionMode`: uint8 by uint8, which never overflows."""
CPU_FLAGS = Path("/proc/cpuinfo")
Tensors = Mapping[str, NDArray[Any]]
Weights = Callable[[], bytes | Tensors]


def open_sessions(
    graphs: Mapping[str, bytes], weights: Weights, threads: int | None, place: str
) -> dict[str, InferenceSession]:
    """A session on the CPU for each graph. Threads are as many as there are cores where None.

    `weights` gives the content of model.safetensors, or tensors by name, of which those are looked
    up that a graph wants; it is asked only where one wants some.
    Raises ModelFolderError, which names `place`, where they do not fit, and what ONNX Runtime
    raises of graphs that it cannot take.
    """
    wanted = {name: weight_names(graph) for name, graph in graphs.items()}
    given = weights() if any(wanted.values()) else {}
    tensors = given if isinstance(given, Mapping) else read_weights(given, place)

    def opened(name: str) -> InferenceSession:
        values = [value_of(tensors, one, place) for one in wanted[name]]
        options = options_for(graphs[name], threads)
        # Copied into the session, and gone from here with `values`: kept, they would lie in memory
        # twice, and no session could share them.
        options.add_external_initializers(wanted[name], values)
        return InferenceSession(graphs[name], options, providers=["CPUExecutionProvider"])

    with ThreadPoolExecutor(len(graphs)) as pool:
        return dict(zip(graphs, pool.map(opened, graphs), strict=True))


def options_for(graph: bytes, threads: int | None) -> onnxruntime.SessionOptions:
    """How a graph is opened."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # Threads that wait for the next product at full speed take the cores from what reads ahead.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # its errors are raised: printed, they would be said twice
    # One block for all that a run needs, of a size remembered for every shape that was ever seen:
    # batches and steps have new ones all the time, and the blocks of old sizes stay in memory.
    options.enable_mem_pattern = False
    # Transposes the weights once; fusing more takes longer than a short recording does.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    if WHOLE_NUMBERS in graph and sums_in_16_bits():
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.add_session_config_entry(EXACT, "1")  # done by what is fused there alone
    return options


def sums_in_16_bits() -> bool:
    """Whether uint8 times int8 may overflow: on x86-64 without VNNI, or where nobody says that it
    is there."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        return "vnni" not in CPU_FLAGS.read_text("ascii", "replace")
    except OSError:
        return True


def weight_names(graph: bytes) -> list[str]:
    """Names of the weights that a graph wants; none where it is no graph: ONNX Runtime says so."""
    names: dict[str, None] = {}  # a hostile graph may want one twice, which ends in no good error
    for number, content in graph_fields(graph):
        if number == INITIALIZER:
            tensor = dict(fields(content))
            if EXTERNAL_DATA in tensor and NAME in tensor:
                names[bytes(tensor[NAME]).decode("utf-8", "replace")] = None
    return list(names)


def input_names(graph: bytes) -> list[str]:
    """Names of a graph's inputs; none where it is no graph: ONNX Runtime says so."""
    values = (dict(fields(content)) for number, content in graph_fields(graph) if number == INPUT)
    return [bytes(value.get(INPUT_NAME, b"")).decode("utf-8", "replace") for value in values]


def graph_fields(graph: bytes) -> Iterator[tuple[int, memoryview]]:
    """The fields of a model's graph."""
    contents = [content for number, content in fields(memoryview(graph)) if number == GRAPH]
    return chain(*map(fields, contents))


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of a protobuf message's fields that have a length, up to where it is
    damaged: all that is needed here of the onnx package, which the runtime does without."""
    place = 0
    try:
        while place < len(message):
            key, place = varint(message, place)
            length = {0: 0, 1: 8, 5: 4}.get(key & 7)  # by wire type; others have a length
            if length is None:
                length, place = varint(message, place)
                yield key >> 3, message[place : place + length]
            elif not length:
                _, place = varint(message, place)
            place += length
    except IndexError:
        return


def varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of at most 64 bits and where it ends; raises IndexError where there is none."""
    value = 0
    for shift in range(0, 64, 7):
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise IndexError("a number of more than 64 bits")


def read_weights(data: bytes, place: str) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file by name; raises ModelFolderError, which names `place`."""
    try:
        return safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise ModelFolderError(f"{place}: {error}") from error
    except KeyError as error:
        raise ModelFolderError(
            f"{place} holds numbers of type {error}, which NumPy has not: store float16 or float32"
        ) from error


def value_of(tensors: Tensors, name: str, place: str) -> OrtValue:
    """A tensor as ONNX Runtime takes it; raises ModelFolderError, which names `place`, where there
    is none of that name."""
    if name not in tensors:
        raise ModelFolderError(f"{place} lacks the tensor {shown(name)} that a graph wants")
    tensor = tensors[name]
    # ONNX Runtime takes no float16 for float32, in which everything is computed.
    tensor = tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
    return OrtValue.ortvalue_from_numpy(tensor)
