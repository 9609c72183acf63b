"""What a feed-forward costs where one expert takes every frame: plain, and through the dispatch.

    python benchmarks/feed_forward.py [--runs 100] [--seconds 4] [--utterances 8]

Both ways over the same batch with the shipped widths, in turns; of each the fastest run, since
other work of the machine only ever adds. Forward alone, and a step of training (forward and
backward); without padding, and with a twentieth of the frames padded. Writes
results/feed_forward.json beside this file.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from origin import origin
from torch import Tensor

from turnout.experts.bank import ExpertBank

WIDTH, INNER, FRAMES_PER_SECOND = 144, 288, 25
PADDED = 0.05
Way = Callable[[Tensor, Tensor], Tensor]


def ways() -> dict[str, Way]:
    """The two ways through one bank of one expert."""
    bank = ExpertBank(1, WIDTH, INNER, "silu")
    return {
        "plain": bank.plain,
        "dispatched": lambda hidden, mask: bank.dispatched(
            hidden, torch.zeros(mask.shape, dtype=torch.int64), mask
        ),
    }


def batch(utterances: int, seconds: float, padded: float) -> tuple[Tensor, Tensor]:
    """Hidden frames of utterances, each up to twice `padded` shorter than the longest."""
    frames = round(seconds * FRAMES_PER_SECOND)
    hidden = torch.randn(utterances, frames, WIDTH)
    lengths = torch.linspace(1 - 2 * padded, 1, utterances) * frames
    return hidden, torch.arange(frames) < lengths.unsqueeze(1)


def seconds_of(way: Way, hidden: Tensor, mask: Tensor, *, train: bool) -> float:
    """How long one run takes."""
    given = hidden.clone().requires_grad_(train)
    started = time.perf_counter()
    with torch.set_grad_enabled(train):
        output = way(given, mask)
        if train:
            output.sum().backward()
    return time.perf_counter() - started


def compared(hidden: Tensor, mask: Tensor, runs: int, *, train: bool) -> dict[str, Any]:
    """The fastest run of each way, in milliseconds, and what the dispatch costs beside plain."""
    both = ways()
    fastest = dict.fromkeys(both, float("inf"))
    for _ in range(runs):
        for name, way in both.items():
            fastest[name] = min(fastest[name], seconds_of(way, hidden, mask, train=train))
    ratio = fastest["dispatched"] / fastest["plain"]
    return {**{f"{n}_ms": round(s * 1e3, 3) for n, s in fastest.items()}, "ratio": round(ratio, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--utterances", type=int, default=8)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    # As a run sets it: the gradient of gathered rows takes another way then.
    torch.use_deterministic_algorithms(True)
    result: dict[str, Any] = origin(0, "torch")
    for padded in (0.0, PADDED):
        hidden, mask = batch(arguments.utterances, arguments.seconds, padded)
        result[f"padded_{padded:g}"] = {
            what: compared(hidden, mask, arguments.runs, train=what == "training_step")
            for what in ("forward", "training_step")
        }
    path = Path(__file__).parent / "results" / "feed_forward.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
