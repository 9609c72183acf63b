"""What all ranks can train on: a clip that one of them cannot read is left out by every one.

Ranks of one machine share a store. Those of several machines have disks of their own, and one of
them may lack a recording or hold another; unlike plans of batches would then leave the ranks
waiting for each other.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple

from turnout.data.store import FeatureStore

Gather = Callable[[str], list[str]]
"""Takes a rank's text, returns those of all ranks in their order; all ranks call it alike."""


def alone(text: str) -> list[str]:
    """What a single rank gathers."""
    return [text]


class Inventory(NamedTuple):
    """What a rank tells the others of its store."""

    digest: str
    clips: list[tuple[str, int]]
    """Id and frames of each clip."""
    left_out: Sequence[str]


def with_common_clips(store: FeatureStore, gather: Gather) -> FeatureStore:
    """The store without the clips that any rank lacks or has otherwise, in the first rank's order,
    and with everybody's reasons."""
    names = [clip.id for clip in store.clips]
    clips = list(zip(names, store.counts.tolist(), strict=True))
    own = json.dumps(Inventory(store.digest, clips, store.left_out))
    # Nearly always all are alike, and a digest is all that the ranks exchange.
    if len(set(gather(sha256(own.encode()).hexdigest()))) == 1:
        return store
    everybody = [
        Inventory(digest, [(name, frames) for name, frames in clips], left_out)
        for digest, clips, left_out in map(json.loads, gather(own))
    ]
    shared = set.intersection(*(set(one.clips) for one in everybody))
    places = {clip: place for place, clip in enumerate(clips)}
    return replace(
        store.subset([places[clip] for clip in everybody[0].clips if clip in shared]),
        left_out=tuple(_reasons(everybody, shared)),
        digest=sha256("".join(one.digest for one in everybody).encode()).hexdigest()[:24],
    )


def _reasons(everybody: Sequence[Inventory], shared: set[tuple[str, int]]) -> list[str]:
    """One line for each clip that is left out, and rank that cannot read it; what other ranks say
    as the first does is said once."""
    first = everybody[0]
    lines = list(first.left_out)
    for rank, one in enumerate(everybody[1:], start=1):
        lines += [f"rank {rank}: {line}" for line in one.left_out if line not in first.left_out]
    names = [{name for name, _ in one.clips} for one in everybody]
    kept = {name for name, _ in shared}
    unlike = set.intersection(*names) - kept
    lines += [f"{name}: is not the same on every rank" for name in sorted(unlike)]
    return lines
