"""A small Whisper's folder, models that were trained from it, and their adapters."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests import whispers
from turnout.adapters.folder import AdapterFolder
from turnout.adapters.making import Making
from turnout.adapters.stored import safetensors_of, weights_of
from turnout.config import RoutingConfig
from turnout.guidance import Guide
from turnout.hub.convert import convert
from turnout.hub.making import Sources, make_adapter
from turnout.model_folder import CONFIG, WEIGHTS, ModelFolder, config_bytes, write_folder

Arrays = dict[str, NDArray[np.float32]]
FRAMES = 2 * whispers.POSITIONS
WHISPER_BASE = "c7c485d54cf23b60c4043340609893c62844da93751d1f8e8ffd7a6e278b88f2"
"""The digest of whisper-base's weights."""


def base_in(folder: Path) -> Path:
    """A dense model, its graphs built without torch."""
    source = whispers.save_transformers(folder / "transformers", whispers.whisper())
    return convert(source, folder / "base")


def experts_of(stack: str) -> Callable[[str], bool]:
    """Which tensors are the feed-forwards of a stack."""
    return lambda name: name.startswith(f"{stack}.") and ".experts." in name


def moved(folder: Path, chosen: Callable[[str], bool], seed: int) -> Arrays:
    """The folder's tensors, those that are chosen trained a little."""
    random = np.random.default_rng(seed)
    tensors = weights_of(ModelFolder.open(folder))
    for name in filter(chosen, sorted(tensors)):
        noise = random.normal(0, 0.3, tensors[name].shape)
        tensors[name] = (tensors[name] + noise).astype(np.float32)
    return tensors


def with_tensors(base: Path, place: Path, tensors: Arrays) -> Path:
    """The same model with other weights."""
    files = ModelFolder.open(base).files()
    write_folder(place, {**files, WEIGHTS: safetensors_of(tensors)})
    return place


def trained(base: Path, place: Path, chosen: Callable[[str], bool], seed: int = 1) -> Path:
    """A dense model that was trained from the base."""
    return with_tensors(base, place, moved(base, chosen, seed))


def adapter(base: Path, model: Path, place: Path, **making: object) -> Path:
    """The adapter that makes a trained model of its base; `making` has guides and their values,
    and what `Making` takes."""
    when = {Guide(name): str(making.pop(name)) for name in list(making) if name in list(Guide)}
    settings = {"name": place.name, "when": when, **making}
    make_adapter(Sources(base=base, trained=model), place, Making(**settings))  # type: ignore[arg-type]
    return place


def supervised(base: Path, place: Path, routings: Mapping[str, RoutingConfig]) -> Path:
    """The base upcycled by hand, each expert beside the first moved a little: its dense graphs stay
    as they are."""
    folder = ModelFolder.open(base)
    config = folder.config
    for stack, routing in routings.items():
        config = replace(config, **{stack: replace(getattr(config, stack), routing=routing)})
    tensors = dict(weights_of(folder))
    for stack, routing in routings.items():
        for expert in range(1, config.expert_map(routing).num_groups):
            own = moved(base, experts_of(stack), seed=expert)
            for name in filter(experts_of(stack), own):
                if routing.routes(int(name.split(".")[2])):
                    tensors[name.replace(".experts.0.", f".experts.{expert}.")] = own[name]
    files = {**folder.files(), CONFIG: config_bytes(config, folder.tokenizer)}
    write_folder(place, {**files, WEIGHTS: safetensors_of(tensors)})
    return place


def opened(path: Path) -> AdapterFolder:
    """Verified."""
    return AdapterFolder.open(path)
