"""A CTranslate2 folder, as faster-whisper has them -> a checkpoint: model.bin, read here.

The format (ctranslate2/specs/model_spec.py; numbers are little-endian): version, name and revision
of the specification, count; for each variable its name, dimensions, type, size and bytes; pairs of
names of which the first is an alias of the second. Integers are rows that were multiplied by a
scale each, a variable of its own.
"""

import re
import struct
from dataclasses import replace
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from turnout.errors import shown
from turnout.files import open_regular
from turnout.hub.checkpoint import Checkpoint, Facts, checked, head_list, id_list
from turnout.hub.names import stacked_names
from turnout.hub.stored import (
    INTEGERS,
    KINDS,
    StoredTensor,
    read_list,
    read_object,
    read_small,
    refused,
)
from turnout.hub.tokenizer_files import read_tokenizer_file
from turnout.text.whisper import END, NO_TIMESTAMPS, START

MODEL, CONFIG = "model.bin", "config.json"
SPEC = "WhisperSpec"
VERSION, REVISION = 6, 3
TYPES = ("F32", "I8", "I16", "I32", "F16", "BF16")
SIZES = (4, 1, 2, 4, 2, 2)
WHOLE_NUMBERS = ("I8", "I16", "I32")
MOST_VARIABLES = 100_000
"""large-v3 has 1,100."""
SETTINGS = {"decoder/activation": 3, "decoder/pre_norm": 1, "decoder/scale_embeddings": 0}
"""Whisper's: GELU, norms first, embeddings as they are."""
EMBEDDING, PROJECTION = "decoder/embeddings/weight", "decoder/projection/weight"
SCALE = "_scale"


class Variables(NamedTuple):
    """What a model.bin has, its numbers not read yet."""

    tensors: dict[str, StoredTensor]
    """Those that have dimensions, aliases among them."""
    settings: dict[str, int]
    """Those that have none, and are whole numbers."""


def read_ctranslate2(folder: Path) -> Checkpoint:
    """The checkpoint of a folder; raises ModelFolderError."""
    path = folder / MODEL
    variables = read_variables(path)
    for name, wanted in SETTINGS.items():
        if variables.settings.get(name, wanted) != wanted:
            raise refused(path, f"{name} is {variables.settings[name]}: Whisper's is {wanted}")
    config = read_object(folder / CONFIG) if (folder / CONFIG).exists() else {}
    facts = facts_of(folder, variables, config)
    tensors: dict[str, StoredTensor] = {}
    for name, tensor in variables.tensors.items():
        tensors.update(unstacked(path, name, tensor))
    tokenizer = read_tokenizer_file(folder)
    return checked(folder, "CTranslate2", tensors, facts, (tokenizer, None))


def facts_of(folder: Path, variables: Variables, config: dict[str, Any]) -> Facts:
    """What the variables' sizes, the configuration and the vocabulary say."""
    path, tensors = folder / MODEL, variables.tensors

    def size(name: str, dimension: int) -> int:
        if name not in tensors or dimension >= len(tensors[name].shape):
            raise refused(path, f"has no {name} of {dimension + 1} dimensions or more")
        return tensors[name].shape[dimension]

    def setting(name: str) -> int:
        if variables.settings.get(name, 0) < 1:
            raise refused(path, f"has no {name} above 0")
        return variables.settings[name]

    def layers(stack: str) -> int:
        found = (re.match(rf"{stack}/layer_\d+/", name) for name in tensors)
        return len({match[0] for match in found if match is not None})

    return Facts(
        num_mels=size("encoder/conv1/weight", 1),
        vocabulary_size=size(EMBEDDING, 0),
        d_model=size(EMBEDDING, 1),
        encoder_layers=layers("encoder"),
        encoder_heads=setting("encoder/num_heads"),
        encoder_feedforward=size("encoder/layer_0/ffn/linear_0/weight", 0),
        decoder_layers=layers("decoder"),
        decoder_heads=setting("decoder/num_heads"),
        decoder_feedforward=size("decoder/layer_0/ffn/linear_0/weight", 0),
        max_positions=size("encoder/position_encodings/encodings", 0),
        max_tokens=size("decoder/position_encodings/encodings", 0),
        # An alias of the embedding lies where the embedding does.
        tied=tensors.get(PROJECTION, tensors[EMBEDDING]) == tensors[EMBEDDING],
        multilingual=None,
        suppressed=id_list(folder / CONFIG, config, "suppress_ids"),
        suppressed_first=id_list(folder / CONFIG, config, "suppress_ids_begin"),
        alignment_heads=head_list(folder / CONFIG, config),
        special=special_ids(folder),
    )


def special_ids(folder: Path) -> dict[str, int]:
    """The ids of some special tokens in the vocabulary that lies beside model.bin, if one does."""
    pieces: list[Any] = []
    if (folder / "vocabulary.json").exists():
        pieces = read_list(folder / "vocabulary.json")
    elif (folder / "vocabulary.txt").exists():
        text = read_small(folder / "vocabulary.txt").decode("utf-8", "replace")
        pieces = text.split("\n")
    return {name: pieces.index(name) for name in (START, END, NO_TIMESTAMPS) if name in pieces}


def unstacked(path: Path, name: str, tensor: StoredTensor) -> dict[str, StoredTensor]:
    """What a variable holds, by this project's names; raises ModelFolderError."""
    names = stacked_names(name)
    if not names:
        raise refused(path, f"has the variable {shown(name)}, which Whisper has not")
    rows, rest = divmod(tensor.shape[0], len(names))
    if rest or not rows:
        raise refused(path, f"{shown(name)} has {tensor.shape[0]} rows for {len(names)} tensors")
    parts = {part: tensor.rows(i * rows, (i + 1) * rows) for i, part in enumerate(names)}
    for part in [part for part in parts if part.endswith(".key.bias")]:
        if parts.pop(part).read().any():
            raise refused(path, f"{shown(name)} gives the keys a bias, which Whisper has not")
    return parts


def read_variables(path: Path) -> Variables:
    """The variables of a model.bin; raises ModelFolderError."""
    try:
        with open_regular(path) as file:
            return Reader(path, file).variables()
    except OSError as error:
        raise refused(path, f"cannot be read: {(error.strerror or str(error)).lower()}") from error


class Reader:
    """A model.bin, read once from its beginning to its end."""

    def __init__(self, path: Path, file: BufferedReader) -> None:
        self.path = path
        self.file = file
        self.size = file.seek(0, 2)
        file.seek(0)

    def take(self, size: int) -> bytes:
        """The next bytes."""
        data = self.file.read(size)
        if len(data) < size:
            raise refused(self.path, "is cut off: fetch it again")
        return data

    def number(self, kind: str) -> int:
        """The next whole number: 'B', 'H' or 'I', of 1, 2 or 4 bytes."""
        (found,) = struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))
        return found

    def text(self) -> str:
        """The next string, which ends with a zero."""
        return self.take(self.number("H")).removesuffix(b"\0").decode("utf-8", "replace")

    def variables(self) -> Variables:
        """All there are."""
        version, name, revision = self.number("I"), self.text(), self.number("I")
        if (version, name, revision) != (VERSION, SPEC, REVISION):
            raise refused(
                self.path,
                f"is version {version} of the format, with {shown(name)} of revision {revision}: "
                f"version {VERSION} with {SPEC} of revision {REVISION} is read: convert the "
                "checkpoint anew with a current CTranslate2, or take its Transformers folder",
            )
        found = Variables({}, {})
        for _ in range(self.count()):
            self.variable(found)
        for _ in range(self.count()):
            alias, original = self.text(), self.text()
            if original not in found.tensors:
                raise refused(self.path, f"{shown(alias)} stands for {shown(original)}: none such")
            self.put(found, alias, found.tensors[original])
        if self.file.tell() != self.size:
            raise refused(self.path, "has more than its header says: fetch it again")
        return found._replace(tensors=with_scales(self.path, found.tensors))

    def count(self) -> int:
        """How many things come."""
        found = self.number("I")
        if found > MOST_VARIABLES:
            raise refused(self.path, f"says that it has {found} variables: it is damaged")
        return found

    def variable(self, found: Variables) -> None:
        """Read past one."""
        name = self.text()
        shape = tuple(self.number("I") for _ in range(self.number("B")))
        kind, size = self.number("B"), self.number("I")
        if kind >= len(TYPES) or size != prod(shape) * SIZES[kind]:
            raise refused(self.path, f"says of {shown(name)} what cannot be: it is damaged")
        if not shape:
            value = self.take(size)
            if TYPES[kind] in WHOLE_NUMBERS:
                found.settings[name] = int.from_bytes(value, "little", signed=True)
            elif name.endswith(SCALE):
                offset = self.file.tell() - size
                self.put(found, name, StoredTensor(self.path, offset, TYPES[kind], shape))
            return
        if TYPES[kind] not in KINDS or not size:
            raise refused(self.path, f"{shown(name)} holds no numbers of a model: it is damaged")
        self.put(found, name, StoredTensor(self.path, self.file.tell(), TYPES[kind], shape))
        if self.file.seek(size, 1) > self.size:
            raise refused(self.path, "is cut off: fetch it again")

    def put(self, found: Variables, name: str, tensor: StoredTensor) -> None:
        """Keep a tensor under a name that has none yet."""
        if name in found.tensors:
            raise refused(self.path, f"has {shown(name)} twice: it is damaged")
        found.tensors[name] = tensor


def with_scales(path: Path, tensors: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The tensors without the scales, which lie inside those that they belong to; an alias has its
    original's. Raises ModelFolderError."""
    scales = {
        (tensors[name].path, tensors[name].offset): tensors[f"{name}{SCALE}"]
        for name in tensors
        if f"{name}{SCALE}" in tensors
    }
    found: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            continue
        scale = scales.get((tensor.path, tensor.offset))
        fits = scale is not None and scale.shape in ((), tensor.shape[:1])
        if tensor.kind in INTEGERS and not fits:
            raise refused(path, f"{shown(name)} holds whole numbers, and no scale that fits them")
        found[name] = replace(tensor, scale=scale) if tensor.kind in INTEGERS else tensor
    return found
