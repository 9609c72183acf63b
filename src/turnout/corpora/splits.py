"""Speakers dealt out to splits, so that nobody is heard in two of them."""

import random
from collections import defaultdict
from collections.abc import Mapping
from typing import Literal

from turnout.errors import UsageError

ADVICE = {
    "speaker": "name fewer splits, or leave the speakers out: then recordings are dealt",
    "recording": "name fewer splits",
}


def deal(
    seconds: Mapping[str, float],
    shares: Mapping[str, float],
    seed: int,
    unit: Literal["speaker", "recording"] = "speaker",
) -> dict[str, str]:
    """The split of each speaker: the shares of the audio as nearly as whole speakers allow.

    `seconds` is each speaker's audio (or each recording's, where `unit` says so). Every split gets
    at least one of them. The same speakers, shares and seed give the same splits, in whatever
    order they come. Raises UsageError where there are fewer speakers than splits.
    """
    if len(seconds) < len(shares):
        raise UsageError(
            f"--split names {len(shares)} splits and the corpus has {len(seconds)} "
            f"{unit}{'s' * (len(seconds) != 1)}: no {unit} may stand in two splits, so "
            f"{ADVICE[unit]}"
        )
    order = sorted(seconds)
    random.Random(seed).shuffle(order)
    total = sum(seconds.values())
    given: defaultdict[str, float] = defaultdict(float)
    result: dict[str, str] = {}
    for position, speaker in enumerate(order):
        empty = [name for name in shares if name not in result.values()]
        # the last speakers are kept for splits that have none yet
        choices = empty if len(empty) >= len(order) - position else list(shares)
        result[speaker] = max(choices, key=lambda name: shares[name] * total - given[name])
        given[result[speaker]] += seconds[speaker]
    return result
