"""What `trainable` can name: parts of a model, modules, shell patterns over names of parameters.

Names alone, without tensors: a plan counts what is trained of a model that nobody has built.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from turnout.config import ModelConfig
from turnout.errors import ConfigError

EXPERTS = r"{}\.blocks\.({})\.\w+\.bank\.experts\.({})\."
ATTENTION = r"{}\.blocks\.\d+\.(self_|cross_)?attention\."
NORMS = r"{}\.(blocks\.\d+\.\w*)?norm\."


def trained_names(
    config: ModelConfig, names: Sequence[str], patterns: Sequence[str]
) -> frozenset[str]:
    """Which of a model's parameters, by name, are trained; all of them without any pattern.

    Raises ConfigError for a pattern that names nothing, and where they name everything.
    """
    if not patterns:
        return frozenset(names)
    parts = parts_of(config)
    trained: set[str] = set()
    for pattern in patterns:
        found = [name for name in names if is_named(name, pattern, parts)]
        if not found:
            raise ConfigError(f"trainable names '{pattern}', {instead(pattern, parts, names)}")
        trained.update(found)
    if len(trained) == len(names):
        raise ConfigError(
            "trainable names every parameter of this model: leave it out, and all of it is trained"
        )
    return frozenset(trained)


def parts_of(config: ModelConfig) -> dict[str, str]:
    """The names of a model's parts, each with a regular expression for the beginning of those of
    its parameters."""
    parts: dict[str, str] = {}
    for stack in ("encoder", "decoder"):
        shape = getattr(config, stack)
        if not shape.num_layers:
            continue
        parts[f"{stack}.experts"] = EXPERTS.format(stack, r"\d+", r"\d+")
        routing = shape.routing
        layers = "|".join(str(i) for i in range(shape.num_layers) if routing.routes(i))
        experts = config.expert_map(routing)
        size = routing.num_experts if routing.learned else 1
        for group in range(experts.num_groups if routing.guided and layers else 0):
            group_of = "|".join(str(group * size + place) for place in range(size))
            place = EXPERTS.format(stack, layers, group_of)
            parts[f"{stack}.experts.{experts.name(group)}"] = place
        parts[f"{stack}.attention"] = ATTENTION.format(stack)
        parts[f"{stack}.norms"] = NORMS.format(stack)
    return parts


def is_named(name: str, pattern: str, parts: Mapping[str, str]) -> bool:
    """Whether a pattern means a parameter: the name of a part, a module's, or a shell pattern."""
    if pattern in parts:
        return re.match(parts[pattern], name) is not None
    return name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)


def instead(pattern: str, parts: Mapping[str, str], names: Sequence[str]) -> str:
    """The end of a message: what could have been meant."""
    close = get_close_matches(pattern, list(parts), n=1, cutoff=0.75)
    if close:
        return f"which is no part of this model: did you mean '{close[0]}'?"
    return (
        f"which is no part of this model: there are {', '.join(parts)}, and shell patterns over "
        f"the names of its {len(names)} parameters, such as '{names[0].rpartition('.')[0]}.*'"
    )
