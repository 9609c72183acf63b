"""Another model's weights into this one: a dense feed-forward into every expert."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

EXPERT = re.compile(r"\.experts\.(\d+)\.")


@dataclass(frozen=True)
class Fitted:
    """What became of a state: names of this model's tensors (`unexpected`: of the source's)."""

    copied: list[str] = field(default_factory=list)
    """Experts that were filled with a dense model's feed-forward."""
    missing: list[str] = field(default_factory=list)
    """Left as they were: the source has no such tensor."""
    mismatched: list[str] = field(default_factory=list)
    """Left as they were: the source's has another shape."""
    unexpected: list[str] = field(default_factory=list)


def fit_state(model: nn.Module, state: Mapping[str, Tensor]) -> Fitted:
    """Copy into `model` every tensor of `state` that fits.

    Where the source has one expert (it is dense) and the model several, each of them becomes its
    copy: exact at step 0 for supervised routing, and for a learned one with the gate
    'straight_through'.
    """
    fitted, used = Fitted(), set[str]()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            # With a second expert the source is no dense model, and its experts keep their places.
            dense = EXPERT.search(name) and EXPERT.sub(".experts.1.", name) not in state
            source = EXPERT.sub(".experts.0.", name) if dense else name
            used.add(source)
            if source not in state:
                fitted.missing.append(name)
            elif state[source].shape != tensor.shape:
                fitted.mismatched.append(name)
            else:
                tensor.copy_(state[source])
                if source != name:
                    fitted.copied.append(name)
    fitted.unexpected.extend(name for name in state if name not in used)
    return fitted


def shortened(names: Iterable[str], others: Collection[str]) -> list[str]:
    """Tensors for people: a part whose tensors are all among them is named in their place
    ("decoder.*"), where `others` are those that are not."""
    parts = {prefix for other in others for prefix in prefixes(other)}
    found = (
        next((f"{part}.*" for part in prefixes(name) if part not in parts), name) for name in names
    )
    return sorted(set(found))


def prefixes(name: str) -> list[str]:
    """The parts that a tensor lies in, from the outermost."""
    levels = name.split(".")
    return [".".join(levels[:depth]) for depth in range(1, len(levels))]
