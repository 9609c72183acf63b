"""Dense graphs with several sets of weights: a session for each path of a stack, opened when it is
first needed.

The graphs of Whisper's shapes know no experts, and need none: what guides is known before the first
frame, so the sessions of a path are handed its expert's tensors under the names of the dense ones.
A session keeps its weights to itself. The file is read again for each path, rather than kept.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

from numpy.typing import NDArray

from turnout.adapters.compose import STACKS, Adapted, Stack, stack_of
from turnout.adapters.stored import Tensors
from turnout.backends.onnx import OnnxBackend, its_graphs
from turnout.backends.paths import PathBackend, Paths
from turnout.backends.sessions import input_names, read_weights, weight_names
from turnout.config import ModelConfig
from turnout.config.cutting import dense_twin
from turnout.decoding.backend import Backend
from turnout.errors import ModelFolderError
from turnout.model_folder import DECODER, ENCODER, WEIGHTS, ModelFolder

GRAPHS: dict[Stack, str] = {"encoder": ENCODER, "decoder": DECODER}
EXPERT = re.compile(r"((?:encoder|decoder)\.blocks\.(\d+)\..*\.experts\.)0(\..*)")
PathTensors = Callable[[Stack, int, Tensors], Tensors]


def open_onnx(
    folder: ModelFolder, threads: int | None = None, adapted: Adapted | None = None
) -> Backend:
    """The folder's graphs, with the experts of its adapters where there are such; raises
    ModelFolderError."""
    config = folder.config
    if adapted is not None:
        return open_paths(folder, adapted.config, adapted.path, threads, adapted)
    supervised = any(getattr(config, stack).routing.kind == "supervised" for stack in STACKS)
    if not supervised or not is_dense(folder):
        return OnnxBackend.open(folder, threads)

    def path(stack: Stack, number: int, tensors: Tensors) -> Tensors:
        return Renamed(tensors, config, stack, number)

    return open_paths(folder, config, path, threads)


def is_dense(folder: ModelFolder) -> bool:
    """Whether none of the folder's graphs can be told which expert to take."""
    with its_graphs(folder) as (graphs, _):
        return not any("guide" in input_names(graph) for graph in graphs.values())


def open_paths(
    folder: ModelFolder,
    config: ModelConfig,
    path: PathTensors,
    threads: int | None,
    adapted: Adapted | None = None,
) -> PathBackend:
    """The folder's graphs as paths of a model of this `config`. The first ones are opened here, so
    that graphs that cannot be are refused before any work."""
    dense = dense_twin(config)
    if adapted is not None:
        with its_graphs(folder) as (graphs, place):
            check_wanted(place, adapted, graphs)

    def stored() -> Tensors:
        return read_weights(folder.read(WEIGHTS), f"model folder {folder.path}: {WEIGHTS}")

    def opened(stack: Stack, number: int, read: Callable[[], Tensors] = stored) -> Backend:
        with its_graphs(folder) as (graphs, place):
            graph = {GRAPHS[stack]: graphs[GRAPHS[stack]]}
            return OnnxBackend(
                dense, graph, lambda: path(stack, number, read()), threads, place=place
            )

    once = cache(stored)
    paths = {
        stack: Paths(partial(opened, stack), opened(stack, 0, once))
        for stack in STACKS[: 1 + bool(config.decoder.num_layers)]
    }
    return PathBackend(config, paths["encoder"], paths.get("decoder"))


def check_wanted(place: str, adapted: Adapted, graphs: Mapping[str, bytes]) -> None:
    """Raise ModelFolderError where a graph would not notice an expert."""
    wanted = {name: set(weight_names(graph)) for name, graph in graphs.items()}
    for stack in STACKS:
        for name in (name for expert in getattr(adapted, stack) for name in expert.changes):
            takers = {graph for graph, names in wanted.items() if name in names}
            if takers != {GRAPHS[stack_of(name)]}:
                raise ModelFolderError(
                    f"{place}its graphs take {name} from nowhere else than "
                    "themselves, so no adapter can change it: write them with 'turnout export'"
                )


class Renamed(Mapping[str, NDArray[Any]]):
    """The tensors of a supervised model, those of one expert under the names of a dense model's."""

    def __init__(self, tensors: Tensors, config: ModelConfig, stack: Stack, expert: int) -> None:
        self._tensors = tensors
        self._routing = getattr(config, stack).routing
        self._expert = expert

    def __getitem__(self, name: str) -> NDArray[Any]:
        found = EXPERT.fullmatch(name)
        routed = found is not None and self._routing.routes(int(found[2]))
        return self._tensors[f"{found[1]}{self._expert}{found[3]}" if found and routed else name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
