"""Which experts are named as without work, and what is said of each."""

from dataclasses import replace
from typing import Literal

import numpy as np

from tests.unit.inspection.test_page import inspected, way
from tests.unit.inspection.test_picture import OMNI, record
from turnout.guidance import Guide, Task
from turnout.inspection.advice import NO_DATA, OTHER_TASK, TOO_FEW, UNUSED, advice
from turnout.inspection.record import Layout
from turnout.inspection.statistics import Statistics, statistics_of

Stack = Literal["encoder", "decoder"]


def test_dead_and_starved_experts_are_named_with_what_to_do() -> None:
    index = np.zeros((2, 100), np.int64)
    index[1, 0] = 1
    made = replace(record(OMNI), expert_index=index)
    few = [
        why for _, why in advice(statistics_of([replace(made, expert_index=index[:, :99])], OMNI))
    ]
    assert few == [TOO_FEW] * 2
    (dead, why), (starved, cure) = advice(statistics_of([made], OMNI))
    assert dead == "Expert 1 took no frame in layer 1." and "balance_weight" in why
    assert starved == "Expert 1 is starved in layer 2: at most 1.0 % of the frames."
    assert "train longer" in cure


def test_experts_whose_guidance_was_not_given_are_no_fault() -> None:
    found = inspected(record(OMNI), of=way("supervised"))
    index = np.zeros((2, 50), np.int64)
    made = inspected(replace(record(OMNI), expert_index=index), of=way("supervised"))
    assert not list(advice(found.encoder))
    ((what, why),) = advice(made.encoder)
    assert what == "Expert wideband took no frame in any layer."
    assert why.startswith("Nothing is wrong with the model")


def guided(kind: str, stack: Stack, experts: tuple[str, ...], *guides: Guide) -> Layout:
    """Of one layer."""
    group = 2 if kind == "hybrid" else None
    return Layout(("1",), experts, kind, 0.04, stack, guides, group)


def taken(layout: Layout, expert: int, task: Task = Task.TRANSCRIBE) -> Statistics:
    """All that was counted went to one expert."""
    made = record(OMNI)
    index = np.full((1, 100), expert, np.int64)
    tokens = np.eye(len(layout.experts), dtype=np.float32)[index]
    known = replace(made.guidance, task=task)
    return statistics_of(
        [replace(made, expert_index=index, decoder_index=index, guidance=known,
                 token_probabilities=tokens)], layout,
    )  # fmt: skip


def test_who_waits_for_another_kind_is_told_apart_from_who_waits_for_another_task() -> None:
    tasks = ("transcribe", "translate")
    ((what, why),) = advice(taken(guided("supervised", "encoder", tasks, Guide.TASK), 0))
    assert (what, why) == ("Expert translate took no frame in layer 1.", OTHER_TASK)
    ((_, why),) = advice(taken(guided("supervised", "decoder", ("ar", "en"), Guide.LANGUAGE), 0))
    assert why == NO_DATA
    ((what, why),) = advice(
        taken(guided("supervised", "decoder", tasks, Guide.TASK), 1, Task.TRANSLATE)
    )
    assert what.startswith("Expert transcribe took") and why == OTHER_TASK
    names = tuple(f"{task}+{one} {i}" for task in tasks for one in ("ar", "en") for i in (0, 1))
    both = guided("hybrid", "decoder", names, Guide.TASK, Guide.LANGUAGE)
    assert list(advice(taken(both, 0))) == [
        ("Expert transcribe+ar 1 took no token in layer 1.", UNUSED),
        ("Experts transcribe+en 0, transcribe+en 1 took no token in layer 1.", NO_DATA),
        (f"Experts {', '.join(names[4:])} took no token in layer 1.", OTHER_TASK),
    ]
