"""A model folder's files in a precision: its tensors rounded or as they are stored, and for int8
the graphs and the configuration that say so."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from turnout.errors import ModelFolderError
from turnout.hub.int8_graphs import int8_graphs, norms_in
from turnout.hub.stored import StoredTensor
from turnout.hub.weights import Part, Watched, float_parts, int8_parts, weights_parts
from turnout.model_folder import CONFIG, DECODER, ENCODER, INT8_VERSION, WEIGHTS

Precision = Literal["stored", "float16", "int8"]
"""'stored' keeps float32 and float16 as they are."""
Files = Mapping[str, bytes]
EXPERT = re.compile(r"\.experts\.\d+\.")


def in_precision(
    files: Files,
    tensors: Mapping[str, StoredTensor],
    precision: Precision,
    *,
    place: Path,
    watched: Watched = lambda names: names,
) -> dict[str, bytes | Iterable[bytes]]:
    """The files of a model folder, which are all but its weights, with those.

    Raises ModelFolderError, which names `place`, where graphs that int8 is for are not there.
    """
    if precision != "int8":
        parts = float_parts(tensors, half=precision == "float16")
        return {**files, WEIGHTS: weights_parts(parts, watched=watched)}
    graphs, parts = in_int8(files, tensors, place)
    return {
        **files,
        **graphs,
        CONFIG: of_version(files[CONFIG], INT8_VERSION),
        WEIGHTS: weights_parts(parts, watched=watched),
    }


def in_int8(
    files: Files, tensors: Mapping[str, StoredTensor], place: Path
) -> tuple[dict[str, bytes], dict[str, Part]]:
    """Graphs on int8 and the tensors that they take; raises as `in_precision` does."""
    floats = {name: files[name] for name in (ENCODER, DECODER) if name in files}
    graphs, matrices = int8_graphs(floats)
    if not matrices:
        raise ModelFolderError(
            f"model folder {place}: has no graphs, or such as hold their weights, which int8 is "
            "for: write them with 'turnout export'"
        )
    # A dense graph serves every expert, whose tensors it is handed under the names of the first.
    first = {name: EXPERT.sub(".experts.0.", name) for name in tensors}
    taken = {name for name in tensors if name in matrices or first[name] in matrices}
    norms = {
        norm: frozenset(name for name in taken if name in behind or first[name] in behind)
        for norm, behind in norms_in(floats).items()
        if tensors.keys() >= {*norm, *behind}
    }
    return graphs, int8_parts(tensors, taken, norms)


def of_version(config: bytes, version: int) -> bytes:
    """The content of config.json, of another version of the format."""
    content = {**json.loads(config), "format_version": version}
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
