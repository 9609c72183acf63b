"""A model folder -> one with other routing: a dense stack's feed-forwards copied into experts, or
one path of a routed model cut out. Tensors go by their names, one at a time, without torch.

An expert's tensors are named like those of a dense model, whose feed-forwards are all expert 0.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from turnout.adapters.compose import Adapted, dense_weights
from turnout.adapters.folder import AdapterFolder
from turnout.adapters.stored import safetensors_of, weights_of
from turnout.config import ModelConfig
from turnout.config.cutting import Cut, dense_twin, stacks_of
from turnout.config.routing import routing_words
from turnout.errors import UsageError
from turnout.hub.card import SOURCE, license_of, remade
from turnout.hub.stored import StoredTensor
from turnout.hub.transformers_folder import read_header
from turnout.hub.weights import float_parts, weights_parts
from turnout.hub.whisper_graphs import graphs_of
from turnout.model_folder import (
    CARD,
    CONFIG,
    DECODER,
    ENCODER,
    TOKENIZERS,
    WEIGHTS,
    ModelFolder,
    config_bytes,
    files_of_model,
    write_folder,
)

Tensors = Mapping[str, StoredTensor]
EXPERT = re.compile(r"(?P<head>(encoder|decoder)\.blocks\.(\d+)\..*\.experts\.)(\d+)(?P<tail>\..*)")
ROUTER = re.compile(r"(encoder|decoder)\.routers\.\d+\.linear\.\w+")
OWN = (CONFIG, WEIGHTS, ENCODER, DECODER, CARD, SOURCE)
"""Files that are made anew, or that tell of other weights; all others go along, licences and
notices among them."""


@dataclass(frozen=True, kw_only=True)
class Writing:
    """Where a model is written, and what is made beside its tensors."""

    output: Path
    title: str
    """Of its card."""
    said: Sequence[str]
    """For the card: what it was made of, and how."""
    graphs: Callable[[ModelConfig], dict[str, bytes]]
    """The ONNX files of a configuration."""
    check: Callable[[Path], None] | None = None
    """Called with the whole folder before it takes its place."""


def upcycle(folder: ModelFolder, config: ModelConfig, writing: Writing) -> None:
    """Write the model with the supervised experts of `config`, each a copy of what the folder's
    dense stack has.

    Raises ModelFolderError, MissingExtra where its graphs need PyTorch, and StorageError.
    """
    tensors = with_copies(stored(folder), folder.config, config)
    write(folder, config, tensors, writing)


def specialise(folder: ModelFolder, cut: Cut, writing: Writing) -> None:
    """Write one path of the model alone; raises as `upcycle` does."""
    write(folder, cut.config, of_path(stored(folder), folder.config, cut), writing)


def specialise_adapted(
    folder: ModelFolder,
    adapted: Adapted,
    cut: Cut,
    writing: Writing,
    adapters: Sequence[AdapterFolder],
) -> None:
    """Write one path of a dense model with adapters, beside it the licences and cards of those that
    are on it; raises as `upcycle` does."""
    whole = dense_weights(weights_of(folder), adapted, cut.guidance[0])
    told, papers = papers_of(folder, on_path(adapted, cut, adapters))
    writing = replace(writing, said=(*writing.said, *told))
    licences = {license_of(one.path) for one in (folder, *on_path(adapted, cut, adapters))}
    files = files_beside(folder, cut.config, writing, mixed=len(licences) > 1)
    weights = {name: np.ascontiguousarray(values) for name, values in whole.items()}
    write_folder(
        writing.output, {**files, **papers, WEIGHTS: safetensors_of(weights)}, writing.check
    )


def on_path(adapted: Adapted, cut: Cut, adapters: Sequence[AdapterFolder]) -> list[AdapterFolder]:
    """The adapters whose experts the path takes."""
    taken = [
        getattr(adapted, stack)[number - 1]
        for stack, number in cut.path._asdict().items()
        if number
    ]
    whose = [(one.adapter, one.name, one.when) for one in taken]
    return [
        folder
        for folder in adapters
        if any((folder.facts.name, one.name, one.when) in whose for one in folder.facts.experts)
    ]


def papers_of(
    folder: ModelFolder, adapters: Sequence[AdapterFolder]
) -> tuple[list[str], dict[str, bytes]]:
    """What the card says of the adapters, and their licences, notices and cards by names that
    nothing else has."""
    said: list[str] = []
    found: dict[str, bytes] = {}
    for adapter in adapters:
        papers, end = adapter.papers(), adapter.facts.name
        number = 1
        while any(with_end(name, end) in {*folder.digests, *found} for name in papers):
            number += 1
            end = f"{adapter.facts.name}-{number}"
        own = {with_end(name, end): data for name, data in papers.items()}
        found |= own
        said.append(f"adapter: {adapter.facts.name} ({', '.join(own) or 'without a licence'})")
    return said, found


def with_end(name: str, end: str) -> str:
    """The name of a file with that of an adapter before its suffix."""
    stem, dot, suffix = name.partition(".")
    return f"{stem}-{end}{dot}{suffix}"


def stored(folder: ModelFolder) -> dict[str, StoredTensor]:
    """The folder's tensors, unread; raises ModelFolderError, for int8 too."""
    folder.require(WEIGHTS)
    folder.require_floats("'turnout upcycle' and 'turnout specialise' take")
    return read_header(folder.path / WEIGHTS)


def with_copies(tensors: Tensors, before: ModelConfig, after: ModelConfig) -> Tensors:
    """The tensors of a model whose stacks are routed as in `after`: a routed layer's feed-forward
    once for each expert, and its values stored each time."""
    routed = {
        name: (routing, after.expert_map(routing).num_groups)
        for name, routing in stacks_of(after).items()
        if routing != stacks_of(before)[name]
    }
    found: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        match = EXPERT.fullmatch(name)
        if match is None or match[2] not in routed or not routed[match[2]][0].routes(int(match[3])):
            found[name] = tensor
            continue
        for expert in range(routed[match[2]][1]):
            found[f"{match['head']}{expert}{match['tail']}"] = tensor
    return found


def of_path(tensors: Tensors, config: ModelConfig, cut: Cut) -> Tensors:
    """The tensors of one path: its expert, or group with its part of the routers, by the names that
    a model has them under that knows no other."""
    found: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        expert, router = EXPERT.fullmatch(name), ROUTER.fullmatch(name)
        match = expert or router
        stack = match[2 if expert else 1] if match else ""
        routing = stacks_of(config).get(stack)
        if match is None or routing is None or not routing.guided:
            found[name] = tensor
            continue
        size = routing.num_experts if routing.learned else 1
        first = getattr(cut.path, stack) * size
        if router:
            found[name] = tensor.rows(first, first + size)
        elif not routing.routes(int(match[3])):
            found[name] = tensor
        elif first <= int(match[4]) < first + size:
            found[f"{match['head']}{int(match[4]) - first}{match['tail']}"] = tensor
    return found


def plain_graphs(config: ModelConfig) -> dict[str, bytes]:
    """Graphs of a model of Whisper's shape. A supervised one has those of a dense model: each of
    its paths is one. Raises MissingExtra for other shapes."""
    supervised = all(one.kind in ("dense", "supervised") for one in stacks_of(config).values())
    return graphs_of(dense_twin(config) if supervised else config)


def write(folder: ModelFolder, config: ModelConfig, tensors: Tensors, writing: Writing) -> None:
    """Write a model folder with the files of another, whole or not at all."""
    files = files_beside(folder, config, writing)
    parts = weights_parts(float_parts(tensors, half=False))
    write_folder(writing.output, {**files, WEIGHTS: parts}, writing.check)


def files_beside(
    folder: ModelFolder, config: ModelConfig, writing: Writing, *, mixed: bool = False
) -> dict[str, bytes | Iterable[bytes]]:
    """All files but the weights; raises UsageError and StorageError where they cannot be written
    there, before any work. The licence is `mixed` where not all is under that of the folder."""
    check_output(folder, writing.output)
    read = TOKENIZERS[folder.tokenizer.kind].read
    graphs = writing.graphs(config) if folder.has_graphs else {}
    return {
        **{name: folder.read(name) for name in folder.digests if name not in OWN},
        CONFIG: config_bytes(config, read(folder.tokenizer_bytes, config.vocabulary)),
        CARD: card_of(folder, config, writing, mixed).encode(),
        **graphs,
    }


def card_of(folder: ModelFolder, config: ModelConfig, writing: Writing, mixed: bool) -> str:
    """What was done, before the card of the model that it was done to."""
    stacks = (f"{name}: {routing_words(one)}" for name, one in stacks_of(config).items())
    text = folder.card().get(CARD, b"").decode("utf-8", "replace")
    now, before = config.vocabulary.all_languages, folder.config.vocabulary.all_languages
    languages = None if now == before else now
    return remade(text, writing.title, [*writing.said, *stacks], mixed=mixed, languages=languages)


def check_output(folder: ModelFolder, output: Path) -> None:
    """Raise UsageError where a model would be written over itself, and StorageError where there is
    something that is no model."""
    if output.resolve() == folder.path.resolve():
        raise UsageError(f"{output} is the model itself: choose another folder with -o")
    files_of_model(output)
