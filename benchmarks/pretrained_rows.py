"""The arms of the benchmark from a pretrained start: what differs of recipes/teach.yaml in each.

All begin as the same checkpoint: each expert is a copy of its feed-forward. Steps, order of data,
seeds and active parameters are the same, and so is what is trained: the feed-forwards, or all.
"""

from collections.abc import Mapping
from typing import Any

from multitask_rows import routed
from pretrained_speech import TAUGHT

from turnout.guidance import Guide

STACKS = ("encoder", "decoder")
GUIDES = {"encoder": Guide.BANDWIDTH, "decoder": Guide.TASK}
OWN = tuple(dict.fromkeys(code for code, _ in TAUGHT))
"""Languages with an expert of their own; all others share the base, which nothing is taught."""
FEED_FORWARDS, EVERYTHING = "feed-forwards", "everything"


def arm(encoder: str | None, decoder: str | None) -> dict[str, Any]:
    """Experts by bandwidth in the encoder, by task in the decoder; dense where it is None."""
    found = routed(encoder, decoder)
    for stack, kind in zip(STACKS, (encoder, decoder), strict=True):
        if kind is not None:
            found[f"model.{stack}.routing.guided_by"] = [GUIDES[stack].value]
        if kind == "hybrid":  # copies do what the checkpoint does
            found[f"model.{stack}.routing.gate"] = "straight_through"
    return found


def by_language() -> dict[str, Any]:
    """Experts by language in both."""
    own = {"kind": "supervised", "guided_by": [Guide.LANGUAGE.value], "experts_for": list(OWN)}
    return {f"model.{stack}.routing.{key}": value for stack in STACKS for key, value in own.items()}


ARMS: dict[str, dict[str, Any]] = {
    # In order of worth.
    "hard": arm(None, None),
    "smoe": arm("supervised", "supervised"),
    "smoe-language": by_language(),
    "smoe-encoder": arm("supervised", None),
    "smoe-decoder": arm(None, "supervised"),
    "hybrid": arm("hybrid", "hybrid"),
}
"""Changes of the recipe, by dotted key, by the name of the row."""


def trainable(changes: Mapping[str, Any], trained: str) -> list[str]:
    """The parts that are trained. A base that nobody is sent to would still lose weight to AdamW,
    and is left out."""
    if trained == EVERYTHING:
        return []
    names = []
    for stack in STACKS:
        own = changes.get(f"model.{stack}.routing.experts_for")
        names += [f"{stack}.experts.{name}" for name in own] if own else [f"{stack}.experts"]
    return names


def changes_of(row: str, trained: str) -> dict[str, Any]:
    """What differs of the recipe."""
    return {**ARMS[row], "trainable": trainable(ARMS[row], trained)}


def check_active(active: Mapping[str, int]) -> None:
    """Raise SystemExit where a row has other active parameters than another, by more than 2 %."""
    least, most = min(active, key=active.__getitem__), max(active, key=active.__getitem__)
    if active[most] > 1.02 * active[least]:
        raise SystemExit(
            f"{most} has {active[most]:,} active parameters and {least} {active[least]:,}: rows of "
            "one table may differ by 2 %"
        )
