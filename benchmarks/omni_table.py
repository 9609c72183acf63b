"""The table and the figure of benchmarks/omni.py and benchmarks/pretrained.py, from the JSON that
they write.

    python benchmarks/omni_table.py results/omni-whisper-dev-800.json [--figure FILE.png]

Prints Markdown: each metric of each row by set and on average, with 95 % intervals, and what it is
beside the rows that others are held against; parameters, minutes and the training loss of the last
tenth of the steps. The figure is the training loss over steps, without the balance loss, a line for
each row (the mean of its seeds).
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Content = Mapping[str, Any]
LAST = 0.1
"""Share of the steps whose mean loss is told."""
METRICS = {"wer": "WER", "cer": "CER", "bleu": "BLEU", "chrf": "chrF"}
BESIDE = ", change to "


def shown(figures: Mapping[str, Any], name: str) -> str:
    """A figure with its interval, "12.3 [11.0, 13.9]"; "-" where there is none."""
    if figures.get(name) is None:
        return "-"
    low, high = figures[f"{name}, interval"]
    return f"{figures[name]:.1f} [{low:.1f}, {high:.1f}]"


def line(cells: Sequence[str]) -> str:
    """Of a table."""
    return f"| {' | '.join(cells)} |"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """In Markdown; all but the first column at the right."""
    yield line(head)
    yield f"|---|{'---:|' * (len(head) - 1)}"
    yield from map(line, rows)


def rates(content: Content, metric: str) -> Iterator[str]:
    """One line for each set and average that has the metric, one column for each row."""
    figures = content["figures"]
    sets = [name for name, own in next(iter(figures.values())).items() if metric in own]
    rows = [[name, *(shown(own[name], metric) for own in figures.values())] for name in sets]
    yield from table([f"{METRICS[metric]} %", *figures], rows)


def changes(content: Content, average: str) -> Iterator[str]:
    """Relative changes on an average of sets."""
    figures = content["figures"]
    known = dict.fromkeys(
        name for own in figures.values() for name in own[average] if BESIDE in name
    )
    names = [name for name in known if not name.endswith("interval")]
    head = [f"{METRICS[name.split(',')[0]]} beside {name.split(BESIDE)[1]}, %" for name in names]
    rows = [[row, *(shown(own[average], name) for name in names)] for row, own in figures.items()]
    yield from table([average, *head], rows)


def last_loss(curve: Sequence[tuple[int, float]]) -> float:
    """The mean loss of the last steps."""
    until = curve[-1][0]
    return float(np.mean([loss for step, loss in curve if step > (1 - LAST) * until]))


def trainings(content: Content) -> Iterator[str]:
    """Sizes, minutes, losses; of each seed, where they differ."""
    rows = []
    for row, runs in content["runs"].items():
        own = [runs[str(seed)] for seed in content["seeds"]]
        sizes = own[0]["parameters"]
        rows.append(
            [
                row,
                f"{sizes['total'] / 1e6:.1f}",
                f"{sizes['active'] / 1e6:.1f}",
                ", ".join("-" if run["minutes"] is None else f"{run['minutes']:g}" for run in own),
                ", ".join(f"{last_loss(run['loss']):.3f}" for run in own),
            ]
        )
    head = ["trained", "total, M", "active, M", "minutes", f"loss, last {LAST:.0%} of the steps"]
    yield from table(head, rows)


def origins(content: Content) -> str:
    """Where the rows were made, in a line."""
    runs = [run for of_row in content["runs"].values() for run in of_row.values()]
    processors = sorted({run["processor"] for run in runs})
    commits = sorted({run["commit"][:10] for run in runs})
    return (
        f"`{content['setting']}`, {content['split']}, seeds {', '.join(map(str, content['seeds']))}"
        f"; trained at {', '.join(commits)} on {', '.join(processors)}; `{content['command']}`"
    )


def draw(content: Content, path: Path) -> None:
    """The losses over steps."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - the table needs none of it

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for row, runs in content["runs"].items():
        curves = [runs[str(seed)]["loss"] for seed in content["seeds"]]
        steps = [step for step, _ in curves[0]]
        axes.plot(steps, np.mean([[loss for _, loss in curve] for curve in curves], 0), label=row)
    axes.set(xlabel="steps", ylabel="loss per token", yscale="log")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("result", type=Path, help="JSON of one of these benchmarks")
    parser.add_argument("--figure", type=Path, help="PNG of the losses")
    arguments = parser.parse_args()
    content = json.loads(arguments.result.read_text("utf-8"))
    sets = next(iter(content["figures"].values())).values()
    known = [metric for metric in METRICS if any(metric in own for own in sets)]
    parts = [changes(content, average) for average in content["averages"]]
    for part in (*parts, *(rates(content, metric) for metric in known)):
        print("\n".join(part), end="\n\n")
    print("\n".join(trainings(content)), end="\n\n")
    print(origins(content))
    if arguments.figure is not None:
        draw(content, arguments.figure)


if __name__ == "__main__":
    main()
