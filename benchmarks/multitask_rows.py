"""The arms of the multitask benchmark: what differs of recipes/multitask.yaml in each."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

SINGLE = ("wideband", "narrowband")
TASKS = ("transcribe", "translate")
GROUP = 2
"""Experts of a learned router: as many as guidance chooses of, and so as large in total."""


@dataclass(frozen=True)
class Arm:
    """One model of the table, trained once a fold; the single-task models are four."""

    name: str
    title: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Of the recipe, by dotted key."""
    cells: tuple[str, ...] | None = None
    """Bandwidth and task that it is for, "narrowband translate"; all where it is None."""
    same_active: bool = True
    """Whether it is to have as many active parameters as hard sharing."""
    share: float = 1.0
    """Of the steps of the others."""


def routed(encoder: str | None, decoder: str | None) -> dict[str, Any]:
    """The kinds of routing of the two stacks; dense where it is None."""
    found: dict[str, Any] = {}
    for stack, kind in (("encoder", encoder), ("decoder", decoder)):
        if kind is not None:
            found[f"model.{stack}.routing.kind"] = kind
        if kind in ("switch", "omni", "hybrid"):
            found[f"model.{stack}.routing.num_experts"] = GROUP
    return found


CORPORA = "corpora"
"""Of an arm's changes: how often each corpus is drawn."""
MIXED = {"arabic": 2.0, "english": 1.0}
BY_TELEPHONE = 0.25
"""Of the Arabic, recorded wideband: with the English, at 8 kHz, half of all is narrowband."""
WITHOUT_ENGLISH = 0.5
"""The same where nothing else is narrowband."""
ALONE = {"wideband": {"arabic": 1.0}, "narrowband": {"arabic": 1.0, "english": 2.0}}
"""For one bandwidth alone, in the proportions in which the mixed run hears them of it."""
UNTOLD = {"model.bandwidth_token": False, "model.task_token": False}
"""Nothing but the experts knows of bandwidth and task, and what the prompt's language says."""
LARGE = {"model.encoder.d_feedforward": 512, "model.decoder.d_feedforward": 512}


def single_tasks(ending: str, shares: Mapping[str, float]) -> list[Arm]:
    """Four models, each for one bandwidth and one task."""
    return [
        Arm(
            f"single-{bandwidth}-{task}{ending}",
            f"single task: {bandwidth}, {task}",
            {
                "data.tasks": "draw",
                "data.translate_weight": float(task == "translate"),
                "data.augment.narrowband": float(bandwidth == "narrowband"),
                CORPORA: ALONE[bandwidth],
            },
            cells=(f"{bandwidth} {task}",),
            share=shares[bandwidth],
        )
        for bandwidth in SINGLE
        for task in TASKS
    ]


TIED_SHARE = 0.6
"""On dev hard sharing begins to spell words after 600 to 1,000 of 2,500 steps; experts that part
before that, each with its share of the data, had not begun after all of them."""

ARMS: dict[str, list[Arm]] = {
    # In order of worth.
    "hard": [Arm("hard", "hard sharing")],
    "smoe": [Arm("smoe", "S-MoE, both", routed("supervised", "supervised"))],
    "hybrid": [Arm("hybrid", "hybrid", routed("hybrid", "hybrid"))],
    "smoe-tied": [
        Arm(
            "smoe-tied",
            "S-MoE, both, tied for three fifths of the steps",
            {**routed("supervised", "supervised"), "tie_experts_until": TIED_SHARE},
        )
    ],
    "smoe-untold": [
        Arm("smoe-untold", "S-MoE, no tokens", routed("supervised", "supervised") | UNTOLD)
    ],
    "hard-untold": [Arm("hard-untold", "hard sharing, no tokens", UNTOLD)],
    "smoe-encoder": [Arm("smoe-encoder", "S-MoE, encoder", routed("supervised", None))],
    "smoe-decoder": [Arm("smoe-decoder", "S-MoE, decoder", routed(None, "supervised"))],
    "hard-large": [Arm("hard-large", "hard sharing, large", LARGE, same_active=False)],
    "switch": [Arm("switch", "Switch", routed("switch", "switch"))],
    "omni": [Arm("omni", "Omni-router", routed("omni", "omni"))],
    "single": single_tasks("", dict.fromkeys(SINGLE, 0.5)),
    "single-long": single_tasks("-long", dict.fromkeys(SINGLE, 1.0)),
}
"""By the name of the row."""
TIED = "tie_experts_until"


def corpora_of(arm: Arm, corpora: Collection[str]) -> dict[str, float]:
    """How often each of these corpora is drawn; not at all those that an arm does not hear."""
    weights = arm.changes.get(CORPORA, MIXED)
    return {one: weight for one, weight in weights.items() if one in corpora}


def changes_of(arm: Arm, steps: int, corpora: Collection[str] = tuple(MIXED)) -> dict[str, Any]:
    """What differs of the recipe, for so many steps of the mixed run; but for the corpora."""
    own = round(steps * arm.share)
    narrowband = BY_TELEPHONE if "english" in corpora else WITHOUT_ENGLISH
    changes = {"data.augment.narrowband": narrowband, **arm.changes, "max_steps": own}
    changes.pop(CORPORA, None)
    if TIED in changes:
        changes[TIED] = round(changes[TIED] * own)
    return changes
