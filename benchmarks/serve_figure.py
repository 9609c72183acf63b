"""The figure of benchmarks/serve.py: throughput and latency by clients, and memory over a soak."""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

COLOURS = ("#4477aa", "#ee7733", "#228833", "#aa3377")


def part(path: Path, name: str) -> Any:
    """What was found; None where it was not looked for."""
    content = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return content[name]["found"] if name in content else None


def named(row: dict[str, Any]) -> str:
    """A system as the figure calls it."""
    if row["system"] != "turnout":
        return row["system"]
    return "turnout" if row["batching"] else "turnout, no batching"


def bars(axes: Axes, rows: list[dict[str, Any]], title: str) -> None:
    """Seconds of sound per second, by system and clients; p95 above each bar."""
    systems = list(dict.fromkeys(map(named, rows)))
    clients = list(dict.fromkeys(row["clients"] for row in rows))
    width = 0.8 / len(systems)
    for number, system in enumerate(systems):
        own = {row["clients"]: row for row in rows if named(row) == system}
        places = [i + (number - (len(systems) - 1) / 2) * width for i in range(len(clients))]
        heights = [own[count]["audio_seconds_per_second"] for count in clients]
        axes.bar(places, heights, width * 0.95, label=system, color=COLOURS[number])
        for place, height, count in zip(places, heights, clients, strict=True):
            p95 = own[count]["p95_seconds"]
            told = "-" if p95 is None else f"{p95:.2g} s"
            axes.text(place, height, told, ha="center", va="bottom", fontsize=7)
    axes.set_xticks(range(len(clients)), [f"{n} client{'s' * (n > 1)}" for n in clients])
    axes.margins(y=0.12)
    axes.set_ylabel("seconds of sound per second")
    axes.set_title(f"{title} (above: p95)", fontsize=10)
    axes.legend(fontsize=8)


def memory(axes: Axes, found: dict[str, Any]) -> None:
    """Of the soak, and of the one with the planted leak."""
    for name, colour in (("sound", COLOURS[0]), ("leaking", COLOURS[1])):
        looks = found[name]["looks"]
        label = {"sound": "turnout serve", "leaking": "with a planted leak"}[name]
        axes.plot([one[1] for one in looks], [one[2] for one in looks], color=colour, label=label)
    axes.set_xlabel("requests, a tenth of them bad")
    axes.set_ylabel("memory in MB")
    axes.set_ylim(bottom=0)
    axes.set_title("soak", fontsize=10)
    axes.legend(fontsize=8)


def draw(results: Path, target: Path) -> None:
    """Whatever was found so far; nothing where there is none of it."""
    own, whisper = results / "serve.json", results / "serve_whisper.json"
    loads = [
        (rows, title)
        for rows, title in (
            (part(own, "load"), "shipped model"),
            (part(whisper, "load"), "whisper-base"),
        )
        if rows is not None
    ]
    soaked = part(own, "soak")
    count = len(loads) + (soaked is not None)
    if not count:
        return
    figure, axes = plt.subplots(1, count, figsize=(5 * count, 3.6), squeeze=False)
    for place, (rows, title) in zip(axes[0], loads, strict=False):
        bars(place, rows, title)
    if soaked is not None:
        memory(axes[0][-1], soaked)
    figure.tight_layout()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150)
    plt.close(figure)
