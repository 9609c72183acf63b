"""What benchmarks/experts.py found, as the tables of docs/speed.md and as a figure."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import expert_models as models
import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

TIE = 0.03
"""How far to either side of 1 the control's interval may reach."""
PEERS = ("sort, split, loop", "Switch block of transformers", "F.grouped_mm", "static loop")
COLOURS = ("#4477aa", "#ee7733", "#228833", "#aa3377", "#888888")
Found = dict[str, Any]


def close(control: Found) -> bool:
    """Whether the control says that 3 % can be told apart."""
    low, high = control["interval"]
    return low >= 1 - TIE and high <= 1 + TIE


def verdict(own: Found, most: float | None, control: Found) -> str:
    """Whether a ratio keeps to its target; a tie where the control is too wide to say."""
    if most is None:
        return ""
    if not close(control):
        return "tie"
    return "met" if own["ratio"] <= most else f"short by {own['ratio'] - most:.2f}"


def with_interval(found: Found) -> str:
    """A ratio and its interval."""
    low, high = found["interval"]
    return f"{found['ratio']:.2f} ({low:.2f} to {high:.2f})"


def written(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def layer_rows(found: Found) -> Iterator[list[str]]:
    """A line for each row of layers."""
    for row in found["layers"]:
        systems = row["systems"]
        own, dense, control = systems["turnout"], systems["dense"], systems["again"]
        share = row["operations"] / own["seconds"] / found["ceiling"][row["precision"]]
        yield [
            row["what"],
            row["pass"],
            f"{1e3 * dense['seconds']:.2f}",
            with_interval(own),
            "" if row["most"] is None else f"{row['most']:.2f}",
            verdict(own, row["most"], control),
            *(f"{systems[name]['ratio']:.2f}" if name in systems else "-" for name in PEERS),
            with_interval(control),
            f"{share:.0%}",
        ]


def model_rows(found: Found) -> Iterator[list[str]]:
    """A line for each whole encoder."""
    for row in found["models"]:
        systems = row["systems"]
        for name in ("dense", "experts", "dense, bf16", "experts, bf16"):
            own, low = systems[name], name.endswith("bf16")
            most = models.MOST[row["what"]] if name == "experts" else None
            faster = own.get("float32 over bfloat16")
            told = verdict(own, most, systems["again"])
            if faster and row["what"] == "training step":
                short = models.FASTER - faster["ratio"]
                told = "met" if short <= 0 else f"short by {short:.2f}"
            ceiling = found["ceiling"]["bfloat16" if low else "float32"]
            yield [
                f"{row['what']}, {name}",
                f"{own['seconds']:.3f}",
                with_interval(own),
                with_interval(faster) if faster else "",
                f"at most {most:.2f}" if most else f"at least {models.FASTER:g}" if told else "",
                told,
                f"{row['operations'] / own['seconds'] / ceiling:.0%}",
            ]
        yield [f"{row['what']}, control", "", with_interval(systems["again"]), "", "", "", ""]


def part_rows(found: Found) -> Iterator[list[str]]:
    """A line for each thing that was tried."""
    for part in found["parts"]:
        after, control = part["systems"]["after"], part["systems"]["again"]
        before = f"{1e3 * part['systems']['before']['seconds']:.2f}"
        told = ("kept" if part["kept"] else "left") + ("" if close(control) else ", a tie")
        yield [part["what"], before, with_interval(after), with_interval(control), told]


def tables(found: Found) -> str:
    """Where it comes from, the tables, and which peers are missing."""
    own = ("layer", "pass", "dense, ms", "turnout of dense", "at most", "")
    layers = written((*own, *PEERS, "control", "of the ceiling"), layer_rows(found))
    whole = written(
        ("12 layers", "s", "of dense", "float32 over bfloat16", "target", "", "of the ceiling"),
        model_rows(found),
    )
    tried = written(("tried", "before, ms", "after, of before", "control", ""), part_rows(found))
    ceiling = ", ".join(f"{name} {1e-9 * speed:.0f}" for name, speed in found["ceiling"].items())
    said = (
        f"`{found['command']}`, seed {found['seed']}, commit {found['commit'][:10]}, "
        f"{found['machine']}, {found['threads']} threads, {found['clock']} clock, "
        f"{found['rounds']} rounds of layers and {found['model_rounds']} of encoders. "
        f"Matrix products of 2048 by 2048, the ceiling, in GFLOP/s: {ceiling}."
    )
    missing = {name: why for row in found["layers"] for name, why in row["missing"].items()}
    lacking = "".join(f"\n\nNot measured: {name} ({why})." for name, why in missing.items())
    return f"{said}\n\n{layers}\n\n{whole}\n\n{tried}{lacking}"


def draw(found: Found, target: Path) -> None:
    """Time of the dense twin by the number of experts, each system a line; targets dashed."""
    figure, both = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axes, which in zip(both, ("forward", "forward + backward"), strict=True):
        own = [
            row
            for row in found["layers"]
            if row["pass"] == which and row["what"].endswith(" experts")
        ]
        counts = [int(row["what"].split()[0]) for row in own]
        for name, colour in zip(("turnout", *PEERS), COLOURS, strict=True):
            held = [row["systems"].get(name) for row in own]
            if not all(held):
                continue
            heights = [one["ratio"] for one in held]
            ends = [one["interval"] for one in held]
            axes.plot(counts, heights, "o-", color=colour, label=name)
            axes.fill_between(counts, *zip(*ends, strict=True), color=colour, alpha=0.2)
        axes.plot(counts, [row["most"] for row in own], "k--", label="target")
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_xlabel("experts")
        axes.set_title(which, fontsize=10)
    both[0].set_ylabel("time, dense = 1")
    both[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(target, dpi=120)
    plt.close(figure)
