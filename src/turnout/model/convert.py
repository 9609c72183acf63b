"""Another model's weights into this one; a dense feed-forward goes into every expert."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

EXPERT = re.compile(r"\.experts\.(\d+)\.")


@dataclass(frozen=True)
class Fitted:
    """What became of a state: names of this model's tensors (`unexpected`: of the source's)."""

    loaded: tuple[str, ...]
    copied: tuple[str, ...]
    """Experts that were filled with a dense model's feed-forward."""
    missing: tuple[str, ...]
    """Left as they were: the source has no such tensor."""
    mismatched: tuple[str, ...]
    """Left as they were: the source's has another shape."""
    unexpected: tuple[str, ...]


def fit_state(model: nn.Module, state: Mapping[str, Tensor]) -> Fitted:
    """Copy into `model` every tensor of `state` that fits.

    Where the source has one expert (it is dense) and the model several, each of them becomes its
    copy: exact at step 0 for supervised routing, and for a learned one with the gate
    'straight_through'.
    """
    groups: dict[str, list[str]] = {"loaded": [], "copied": [], "missing": [], "mismatched": []}
    used: set[str] = set()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            source = source_name(name, state)
            if source not in state:
                groups["missing"].append(name)
                continue
            used.add(source)
            if state[source].shape != tensor.shape:
                groups["mismatched"].append(name)
                continue
            tensor.copy_(state[source])
            groups["loaded" if source == name else "copied"].append(name)
    unexpected = tuple(name for name in state if name not in used)
    return Fitted(**{key: tuple(names) for key, names in groups.items()}, unexpected=unexpected)


def source_name(name: str, state: Mapping[str, Tensor]) -> str:
    """Where a tensor comes from: itself, or expert 0 of a source whose bank has only that one."""
    if EXPERT.search(name) and EXPERT.sub(".experts.1.", name) not in state:
        return EXPERT.sub(".experts.0.", name)
    return name
