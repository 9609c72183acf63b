"""The arms of the benchmark of shared routers, what they start from, and their routers' knobs.

What differs from a start's recipe is the routing alone: dense, Switch (a router for each layer) and
Omni-router (one for all) have the same active parameters, steps and order of data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from origin import ROOT

RECIPES = ROOT / "recipes"
EXPERTS = 4
ROUTING = "model.encoder.routing"
BASE = "dense"
"""What the learned routings are held against."""


@dataclass(frozen=True)
class Start:
    """What the trainings of a table begin from."""

    name: str
    recipe: Path
    layers: int
    """Of the encoder, unless asked for otherwise."""
    steps: int
    """So many that a run stays below 45 minutes on one core of 2026."""
    pretrained: bool
    """Whether it is a checkpoint's encoder."""


STARTS = {
    one.name: one
    for one in (
        Start("whisper", RECIPES / "ctc_whisper.yaml", 6, 800, pretrained=True),
        Start("random", RECIPES / "omni.yaml", 8, 1200, pretrained=False),
    )
}


def learned(kind: str, experts: int = EXPERTS, **more: Any) -> dict[str, Any]:
    """A learned routing."""
    return {"kind": kind, "num_experts": experts, **more}


HALF = "half"
"""Of the layers share a router, in the place of their number."""
ROWS: dict[str, dict[str, Any]] = {
    # In order of worth.
    BASE: {"kind": "dense"},
    "switch": learned("switch"),
    "omni": learned("omni"),
    "hybrid": learned("hybrid", EXPERTS // 2, guided_by=["bandwidth"]),
    "switch-2": learned("switch", 2),
    "omni-2": learned("omni", 2),
    "switch-8": learned("switch", 8),
    "omni-8": learned("omni", 8),
    "omni-blocks": learned("omni", share_layers=HALF),
}
"""Routings by the name of the row."""
KNOBS: dict[str, dict[str, Any]] = {
    "strong": {"objective.balance_weight": 0.1},
    "weak": {"objective.balance_weight": 0.001},
    "still": {f"{ROUTING}.jitter": 0.0},
    "unbiased": {f"{ROUTING}.router_bias": False},
    "probability": {f"{ROUTING}.gate": "probability"},
}
"""Changes of a learned router, by the word behind a row's + ("omni+strong"): the same for each."""
NARROWBAND = "data.augment.narrowband"


def check_row(row: str) -> None:
    """Raise ValueError for a row that is none, or whose knob is none."""
    name, plus, knob = row.partition("+")
    if name not in ROWS:
        raise ValueError(f"there is no row {name}: choose from {', '.join(ROWS)}")
    if not plus:
        return
    if knob not in KNOBS:
        raise ValueError(f"there is no knob {knob}: choose from {', '.join(KNOBS)}")
    if name == BASE:
        raise ValueError("dense has no router, and so no knob: leave out what is behind the +")


def changes_of(row: str, layers: int, frozen: int = 0) -> dict[str, Any]:
    """What differs from a start's recipe, by dotted key; the lowest `frozen` of the layers are not
    trained, and so not routed."""
    name, _, knob = row.partition("+")
    routing = dict(ROWS[name])
    if routing.get("share_layers") == HALF:
        routing["share_layers"] = (layers - frozen) // 2
    upper = list(range(frozen, layers))
    if frozen and name != BASE:
        routing["layers"] = upper
    own = {f"{ROUTING}.{key}": value for key, value in routing.items()}
    if frozen:
        routers = [] if name == BASE else ["encoder.routers"]
        blocks = [f"encoder.blocks.{layer}" for layer in upper]
        own["trainable"] = [*blocks, "encoder.norm", "ctc_head", *routers]
    return {"model.encoder.num_layers": layers, **own, **KNOBS.get(knob, {})}


def check_hybrid(rows: list[str], recipe: Mapping[str, Any]) -> None:
    """Raise ValueError where a row is guided by a bandwidth of which nothing is heard."""
    if (
        any(row.startswith("hybrid") for row in rows)
        and not recipe["data"]["augment"]["narrowband"]
    ):
        raise ValueError(
            "hybrid is guided by the bandwidth, and nothing narrowband is heard: give all rows "
            f"some of it, as --set {NARROWBAND}=0.25 --label narrow"
        )
