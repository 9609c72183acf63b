"""What experts cost on CUDA in bfloat16, beside the dense model and what people use now.

    scripts/bench experts_cuda [--seconds 60] [--results FILE] [--device cpu --quick]

One feed-forward (silu, top-1, router and dispatch included) in a padded batch of 16 utterances:
width 256, inner width 1024 and 1,920 valid frames; width 1024, inner width 4096 and 16,384 or
65,536. Weights and frames in float32, products under autocast in bfloat16, for every system. Before
them steps of training of whole encoders of 12 layers, width 256, dense and with 8 experts, these by
either way.

"dense" leaves padding out, which waits for the device to say where it is; "dense, padding computed"
does not. "turnout" is the grouped way of a bank, whether its rule takes it or not. Before anything
is timed each system's output is held against the static loop in float32, and so are turnout's
gradients; what is apart is said, and ends the script with an error where it is turnout's.

Of a row every system runs once a round, in an order that rotates, on one of some batches made
before; a run is five calls, and then waits for the device. Rounds go on for the row's share of
`--seconds`. Ratios are of medians over rounds, intervals of 95 % by drawing rounds again; the dense
twin runs twice, which is the control. `--quick` says that it runs, not how fast.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import expert_layers as layers
import torch
from cuda_layers import Size, batches, held_against_truth, systems, wrong
from origin import origin
from ratios import compared, rotated

from turnout.experts.bank import ExpertBank

SEED = 0
CALLS, WARM = 5, 2
LEAST_ROUNDS, MOST_ROUNDS = 5, 200
MODEL_SHARE = 0.3
"""Of the time, for whole encoders and what they import."""
SIZES = (
    Size(width=256, inner=1024, valid=1920, experts=(2, 4, 8, 32)),
    Size(width=1024, inner=4096, valid=16384, experts=(2, 8, 32)),
    Size(width=1024, inner=4096, valid=65536, experts=(2, 8, 32)),
)
QUICK_SIZES = (Size(width=32, inner=64, valid=64, experts=(2, 8)),)


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(
    made: dict[str, layers.Made], given: list[layers.Frames], until: float, *, train: bool
) -> dict[str, list[float]]:
    """Seconds of a call by system and round; the first rounds are not counted."""
    device = given[0].hidden.device
    found: dict[str, list[float]] = {name: [] for name in made}
    for number in range(WARM + MOST_ROUNDS):
        if number >= WARM + LEAST_ROUNDS and time.perf_counter() > until:
            break
        for place, name in enumerate(rotated(list(made), number)):
            frames = given[(number + place) % len(given)]
            layer, module = made[name]
            act = layers.prepared((layer, module), frames, train=train, bfloat16=True)
            wait(device)
            began = time.perf_counter()
            for _ in range(CALLS):
                act()
                module.zero_grad(set_to_none=True)
            wait(device)
            if number >= WARM:
                found[name].append((time.perf_counter() - began) / CALLS)
    return found


def rows(
    asked: argparse.Namespace, device: torch.device, ends: float, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Every comparison of layers."""
    sizes = QUICK_SIZES if asked.quick else SIZES
    left = 2 * sum(len(size.experts) for size in sizes)
    for size in sizes:
        given = batches(size, device)
        for experts in size.experts:
            made, missing = systems(size, experts, device)
            alike = held_against_truth(made, given[0])
            for train in (False, True):
                now = time.perf_counter()
                seconds = timed(made, given, now + max(0.0, ends - now) / left, train=train)
                left -= 1
                yield {
                    "width": size.width,
                    "inner": size.inner,
                    "valid": size.valid,
                    "padded": round(1 - float(given[0].mask.float().mean()), 3),
                    "experts": experts,
                    "pass": "forward + backward" if train else "forward",
                    "rounds": len(seconds["dense"]),
                    "systems": compared(seconds),
                    "alike": alike,
                    "missing": missing,
                }
            say(f"width {size.width}, {size.valid} frames, {experts} experts: {alike['turnout']}")
            del made
            gc.collect()


def whole_models(asked: argparse.Namespace, device: torch.device, ends: float) -> dict[str, Any]:
    """Steps of training."""
    import expert_models as models  # noqa: PLC0415 - needs more than the rows of layers do

    sizes = models.QUICK if asked.quick else models.FULL
    asks = {
        "dense": "dense, bf16",
        "again": "dense, bf16",
        "experts": "experts, bf16",
        "experts, sorted loop": "experts, bf16",
    }
    with models.prepared(sizes, 1, train=True, device=device.type) as (_, prepare, _):
        found: dict[str, list[float]] = {name: [] for name in asks}
        for number in range(WARM + MOST_ROUNDS):
            if number >= WARM + LEAST_ROUNDS and time.perf_counter() > ends:
                break
            for name in rotated(list(found), number):
                act = prepare(asks[name], number)
                loop = patch.object(ExpertBank, "groups", lambda *_: False)
                with loop if name.endswith("loop") else nullcontext():
                    wait(device)
                    began = time.perf_counter()
                    act()
                    wait(device)
                if number >= WARM:
                    found[name].append(time.perf_counter() - began)
    return {
        "what": "training step",
        "rounds": len(found["again"]),
        "systems": compared(found),
    }


def table(found: dict[str, Any]) -> str:
    """Where it comes from, and the rows as Markdown: time of the dense twin, and of it the
    others'."""
    names: list[str] = []
    for row in found["layers"]:
        names += [name for name in row["systems"] if name not in (*names, "dense", "again")]
    head = ["width", "frames", "experts", "pass", "dense, ms", *names, "control", "rounds"]
    lines = [head, ["---"] * len(head), *(line_of(row, names) for row in found["layers"])]
    whole = [
        f"12 layers, {row['what']}, {name}: {1e3 * told['seconds']:.2f} ms, "
        f"{with_interval(told)} of dense ({row['rounds']} rounds)"
        for row in found["models"]
        for name, told in row.get("systems", {}).items()
    ]
    missing = {name: why for row in found["layers"] for name, why in row["missing"].items()}
    lacking = [f"Not measured: {name} ({why})." for name, why in missing.items()]
    marked = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    where = (
        f"`{found['command']}`, seed {found['seed']}, commit {found['commit'][:10]}, "
        f"{found['machine']}, {found['device']}, CUDA {found['cuda']}."
    )
    return "\n\n".join([where, marked, *whole, *lacking])


def line_of(row: dict[str, Any], names: list[str]) -> list[str]:
    """One row; intervals of turnout's own and of the control."""
    told = row["systems"]
    ratios = [
        "-"
        if name not in told
        else with_interval(told[name])
        if name.startswith("turnout")
        else f"{told[name]['ratio']:.2f}"
        for name in names
    ]
    dense = f"{1e3 * told['dense']['seconds']:.2f}"
    place = [f"{row['width']}", f"{row['valid']:,}", f"{row['experts']}", row["pass"], dense]
    return [*place, *ratios, with_interval(told["again"]), f"{row['rounds']}"]


def with_interval(told: dict[str, Any]) -> str:
    """A ratio and its interval."""
    low, high = told["interval"]
    return f"{told['ratio']:.2f} ({low:.2f} to {high:.2f})"


def words() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--results", type=Path, help="where what is found is written")
    parser.add_argument("--commit", help="of these files, where git is not at hand")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="that it runs, not how fast")
    parser.add_argument("--table", action="store_true", help="print the table of --results")
    asked = parser.parse_args()
    if asked.table and not asked.results:
        parser.error("--table prints what lies in --results FILE: say which")
    return asked


def run(asked: argparse.Namespace) -> dict[str, Any]:
    """Measure all; what is found is written after every row, so that a run cut short leaves it."""
    began = time.perf_counter()
    device = torch.device(asked.device)
    cuda = device.type == "cuda"
    torch.manual_seed(SEED)
    found: dict[str, Any] = {
        **origin(SEED, "torch", "numpy"),
        **({"commit": asked.commit} if asked.commit else {}),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "capability": torch.cuda.get_device_capability() if cuda else None,
        "cuda": torch.version.cuda,
        "layers": [],
        "models": [],
    }

    def keep() -> None:
        if asked.results:
            asked.results.write_text(json.dumps(found, indent=1) + "\n", "utf-8")

    def say(line: str) -> None:
        print(f"{time.perf_counter() - began:5.1f} s  {line}", flush=True)

    try:
        share = began + asked.seconds * MODEL_SHARE
        found["models"].append(whole_models(asked, device, share))
    except Exception as error:  # the rows of layers are whole without it
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        found["models"].append({"what": "training step", "failed": reason})
        say(f"no whole encoders: {reason}")
    keep()
    say("whole encoders")
    for row in rows(asked, device, began + asked.seconds, say):
        found["layers"].append(row)
        keep()
    return found


def main() -> None:
    asked = words()
    if asked.table:
        print(table(json.loads(asked.results.read_text("utf-8"))))
        return
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no device 'cuda': PyTorch sees no GPU; --device cpu --quick tries it out")
    found = run(asked)
    print(table(found))
    for row in found["layers"]:
        if bad := wrong(row["alike"]):
            raise SystemExit(f"{', '.join(bad)} with {row['experts']} experts: not as the loop")


if __name__ == "__main__":
    main()
