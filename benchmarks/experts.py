"""What experts cost beside the dense model of the same width, and beside what people use now.

    scripts/bench experts [--rounds 100] [--model-rounds 20] [--threads 2] [--quick]
    scripts/bench experts --table

One feed-forward (width 256, inner width 1024, silu): 1,920 valid frames in a padded batch of 16,
and one utterance of 100 frames, without padding (inference). Top-1, router and dispatch included,
against the dense twin, which is given the same frames and leaves the same padding out. Then whole
encoders of 12 layers: a step of training (loss, backward pass, clipping, AdamW, as
`turnout train` takes it) and inference, float32 and bfloat16, dense and with 8 experts. And what
was tried for all this, one thing at a time, kept or not.

Of each row every system runs once a round, in an order that rotates, each on frames of its own, so
that other numbers of rows reach its experts every time: what is prepared for a number of rows, as
products of bfloat16 are, is prepared by whoever first needs it. Ratios are of medians over
rounds; intervals of 95 % by drawing rounds again. The dense twin runs twice: the ratio of its two
is the control, and a row whose control's interval is not within 3 % is called a tie. Rounds before
the first are not counted. `--clock process` counts the CPU time of this process in place of time:
for a machine that does other things too, with `--threads 1`. Nothing is timed in a test.

About 10 minutes on two quiet cores at the default sizes; seconds with `--quick`, whose figures mean
nothing and are kept only where `--results` says. Writes results/experts.json and
docs/images/experts.png (`--results`, `--figure`); `--table` prints what is written there as the
tables of docs/speed.md, and times nothing.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import expert_layers as layers
import expert_models as models
import expert_parts as parts
import expert_table
import torch
from origin import ROOT, origin
from ratios import compared, ratio, rotated

SEED = 0
CLOCKS = {"wall": time.perf_counter, "process": time.process_time}
QUICK = {"valid": 32, "utterances": 2, "rounds": 2, "model_rounds": 1}
CONTROL = "again"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison of layers."""

    name: str
    experts: int
    train: bool
    most: float | None
    """The most that it may take, of the dense twin; None where nothing was set."""
    bfloat16: bool = False
    make: Callable[[int], tuple[dict[str, layers.Made], dict[str, str]]] = field(
        default=layers.learned
    )
    alone: bool = False
    """One utterance, not a batch."""


def rows() -> Iterator[Row]:
    """What is measured, with issue 14's targets."""
    targets = {2: (1.05, 1.1), 4: (1.05, 1.1), 8: (1.1, 1.15), 16: (1.25, 1.35), 32: (1.5, 1.7)}
    for train in (False, True):
        for experts, most in targets.items():
            yield Row(name=f"{experts} experts", experts=experts, train=train, most=most[train])
        yield Row(name="8 experts, bf16", experts=8, train=train, most=1.4, bfloat16=True)
        yield Row(
            name="2 supervised, mixed tasks",
            experts=2,
            train=train,
            most=(1.03, 1.08)[train],
            make=layers.supervised,
        )
    for experts in (2, 8):
        yield Row(
            name=f"{experts} experts, one utterance",
            experts=experts,
            train=False,
            most=None,
            alone=True,
        )


def timed(
    names: Sequence[str],
    prepare: Callable[[str, int], Callable[[], object]],
    rounds: int,
    clock: Callable[[], float],
) -> dict[str, list[float]]:
    """Seconds of every round by system; the round before the first is not counted. `prepare` is
    told a number that it was never told before."""
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for place, name in enumerate(rotated(names, number)):
            act = prepare(name, number * len(names) + place)
            began = clock()
            act()
            taken = clock() - began
            if number:
                seconds[name].append(taken)
    return seconds


def measured(row: Row, rounds: int, valid: int, asked: argparse.Namespace) -> dict[str, Any]:
    """One row: every system's seconds and ratios, what is missing and why."""
    made, missing = row.make(row.experts)
    utterances = 1 if row.alone else min(layers.UTTERANCES, valid)
    if asked.quick:
        utterances = min(utterances, QUICK["utterances"])

    def frames(number: int) -> layers.Frames:
        return layers.batch(number, utterances, valid)

    layers.check_alike(made, frames(0))

    def prepare(name: str, number: int) -> Callable[[], object]:
        given = frames(number)
        return layers.prepared(made[name], given, train=row.train, bfloat16=row.bfloat16)

    systems = compared(timed(list(made), prepare, rounds, CLOCKS[asked.clock]))
    return {
        "what": row.name,
        "pass": "forward + backward" if row.train else "forward",
        "precision": "bfloat16" if row.bfloat16 else "float32",
        "most": row.most,
        "operations": layers.operations(valid, train=row.train),
        "padded": round(1 - float(frames(1).mask.float().mean()), 3),
        "systems": systems,
        "missing": missing,
    }


def ceiling(size: int, precision: torch.dtype, clock: Callable[[], float]) -> float:
    """Operations a second of the fastest of some products of square matrices."""
    one, other = (torch.randn(size, size).to(precision) for _ in range(2))
    seconds = []
    for _ in range(8):
        began = clock()
        torch.mm(one, other)
        seconds.append(clock() - began)
    return 2.0 * size**3 / min(seconds)


def all_layers(asked: argparse.Namespace, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Every row of layers."""
    found = []
    for row in rows():
        valid = QUICK["valid"] if asked.quick else 100 if row.alone else layers.VALID
        found.append(measured(row, asked.rounds, valid, asked))
        gc.collect()
        told = found[-1]["systems"]["turnout"]
        say(f"{row.name}, {found[-1]['pass']}: {told['ratio']} of dense, {told['interval']}")
    return found


def all_parts(asked: argparse.Namespace, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """What was tried, one thing at a time."""
    found = []
    for part in parts.parts(QUICK["valid"] if asked.quick else layers.VALID):
        ways = {"before": part.before, CONTROL: part.before, "after": part.after}

        def prepare(name: str, number: int, ways: dict[str, Any] = ways) -> Callable[[], object]:
            return ways[name](number)

        seconds = timed(list(ways), prepare, asked.rounds, CLOCKS[asked.clock])
        systems = compared(seconds, "before")
        found.append({"what": part.name, "kept": part.kept, "systems": systems})
        say(f"{part.name}: {systems['after']['ratio']} of before")
    return found


def whole_models(asked: argparse.Namespace, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Steps of training and inference of whole encoders."""
    sizes = models.QUICK if asked.quick else models.FULL
    found = []
    for train in (True, False):
        with models.prepared(sizes, asked.threads, train=train) as (names, prepare, operations):
            seconds = timed(names, prepare, asked.model_rounds, CLOCKS[asked.clock])
        systems = compared(seconds)
        for name in ("dense", "experts"):
            short = f"{name}, bf16"
            systems[short]["float32 over bfloat16"] = ratio(seconds[name], seconds[short])
        what = "training step" if train else "inference"
        found.append({"what": what, "operations": operations, "systems": systems})
        say(f"{what}: {systems['experts']['ratio']} of dense")
    return found


def words() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--model-rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--quick", action="store_true", help="that it runs, not how fast")
    parser.add_argument("--table", action="store_true", help="print the tables, time nothing")
    parser.add_argument("--results", type=Path, help="another place for what is found")
    parser.add_argument("--figure", type=Path, help="another place for the figure")
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds, asked.model_rounds = QUICK["rounds"], QUICK["model_rounds"]
    else:
        asked.results = asked.results or ROOT / "benchmarks" / "results" / "experts.json"
        asked.figure = asked.figure or ROOT / "docs" / "images" / "experts.png"
    return asked


def run(asked: argparse.Namespace) -> dict[str, Any]:
    """Measure all, and say how it goes."""
    torch.manual_seed(SEED)
    torch.set_num_threads(asked.threads)
    clock, size = CLOCKS[asked.clock], 128 if asked.quick else 2048

    def say(line: str) -> None:
        print(line, flush=True)

    return {
        **origin(SEED, "torch", "numpy"),
        "threads": asked.threads,
        "clock": asked.clock,
        "rounds": asked.rounds,
        "model_rounds": asked.model_rounds,
        "ceiling": {
            "float32": ceiling(size, torch.float32, clock),
            "bfloat16": ceiling(size, torch.bfloat16, clock),
        },
        "layers": all_layers(asked, say),
        "parts": all_parts(asked, say),
        "models": whole_models(asked, say),
    }


def main() -> None:
    asked = words()
    if asked.table:
        print(expert_table.tables(json.loads(asked.results.read_text("utf-8"))))
        return
    found = run(asked)
    if asked.results:
        asked.results.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if asked.figure:
        expert_table.draw(found, asked.figure)
    print(expert_table.tables(found))


if __name__ == "__main__":
    main()
